package claude

import (
	"net/http"
	"strings"
)

// Path classes group the paths of the API. A failure on a path counts for its class. Requests that
// create a message have the class "", the default.
const (
	PathMessages    = ""
	PathCountTokens = "count_tokens"
	PathModels      = "models"  // the list
	PathBatches     = "batches" // of messages, with their creation
	PathFiles       = "files"
	PathSkills      = "skills"
)

// Paths of the API that the balancer treats specially. TokenCountPath and MessagesPath take POST.
const (
	MessagesPath   = "/v1/messages"
	TokenCountPath = MessagesPath + "/count_tokens"
	ModelsPath     = "/v1/models"
)

const maxPathClass = 64

// PathClass returns the class of a request. The class of an unknown path is the segment after /v1/.
// It is never empty and has a bounded length.
func PathClass(method, path string) string {
	switch {
	case method == http.MethodPost && path == MessagesPath:
		return PathMessages
	case method == http.MethodPost && path == TokenCountPath:
		return PathCountTokens
	case method == http.MethodGet && path == ModelsPath:
		return PathModels
	case below(path, batchesPath):
		return PathBatches
	case below(path, filesPath):
		return PathFiles
	case below(path, skillsPath):
		return PathSkills
	case strings.HasPrefix(path, "/v1/models/"):
		return "model"
	}
	rest := strings.TrimPrefix(path, "/v1/")
	if sub, ok := strings.CutPrefix(rest, "messages/"); ok {
		return firstSegment("messages/", sub)
	}
	return firstSegment("", rest)
}

// firstSegment appends the first segment of a path to a prefix, or "other" if the segment is long
// or may be an id.
func firstSegment(prefix, path string) string {
	segment, _, _ := strings.Cut(path, "/")
	for _, r := range segment {
		if r != '_' && r != '-' && (r < 'a' || r > 'z') {
			segment = ""
			break
		}
	}
	if segment == "" || len(segment) > maxPathClass {
		segment = "other"
	}
	return prefix + segment
}
