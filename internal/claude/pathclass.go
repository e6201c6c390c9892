package claude

import (
	"net/http"
	"strings"
)

// Path classes group the endpoints of the API by what a failure there says about a server. Creating
// a message is the class "", because everything else is judged beside it.
const (
	PathMessages    = ""
	PathCountTokens = "count_tokens"
	PathModels      = "models"  // the list
	PathBatches     = "batches" // of messages, also their creation
	PathFiles       = "files"
	PathSkills      = "skills"
)

const maxPathClass = 64

// PathClass names the class of a request. Paths that are not known here are
// classed by what follows /v1/: the result is never empty and of bounded length.
func PathClass(method, path string) string {
	switch {
	case method == http.MethodPost && path == "/v1/messages":
		return PathMessages
	case method == http.MethodPost && path == "/v1/messages/count_tokens":
		return PathCountTokens
	case method == http.MethodGet && path == "/v1/models":
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

// firstSegment appends the first segment of a path, as much as is printable and not an id, to a prefix.
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
