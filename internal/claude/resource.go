package claude

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// An account stores resources under ids that no other account knows: batches, files, custom skills,
// containers (API reference of each). Ids begin with the type of the resource.
const (
	batchesPath = "/v1/messages/batches"
	filesPath   = "/v1/files"
	skillsPath  = "/v1/skills"
)

// maxID is longer than any id of the API.
const maxID = 128

// idPattern matches the id of a resource that belongs to one account.
var idPattern = regexp.MustCompile(`^(?:msgbatch|file|skill|skillver|container)_[A-Za-z0-9_-]+$`)

// isID reports whether s can be the id of a resource that belongs to one account.
func isID(s string) bool { return len(s) <= maxID && idPattern.MatchString(s) }

var longID = regexp.MustCompile(`\b((?:msgbatch|file|skill|skillver|container)_[A-Za-z0-9]{8})[A-Za-z0-9_-]+`)

// ShortenIDs shortens the ids in a text, such as a path, for logs. They stay distinguishable.
func ShortenIDs(text string) string {
	if strings.IndexByte(text, '_') < 0 {
		return text // the common case
	}
	for _, kind := range [...]string{"msgbatch_", "file_", "skill_", "skillver_", "container_"} {
		if strings.Contains(text, kind) {
			return longID.ReplaceAllString(text, "$1…")
		}
	}
	return text
}

var keyLike = regexp.MustCompile(`\bsk-[A-Za-z0-9_-]{4,}`)

// RedactKeys removes everything that looks like an API key from a path.
func RedactKeys(path string) string {
	if !strings.Contains(path, "sk-") { // the common case
		return path
	}
	return keyLike.ReplaceAllString(path, "sk-…")
}

// Resource describes a request to the APIs for batches, files and skills.
type Resource struct {
	ID     string // in the path, or in the cursor of a list; or ""
	List   bool   // the response is a list
	Upload bool   // the body is a file, which may be larger than any message
	Batch  bool   // the body is a batch, which may be larger too: 256 MB (API reference)
	Data   bool   // the response is the stored content, not its description
	Name   string // the path segment after the collection, in any form
	Action string // the path after that
	Prefix string // of the ids in the collection
}

// ResourceOf parses the path and query of a request. It returns false for other APIs.
func ResourceOf(method string, u *url.URL) (Resource, bool) {
	var rest, prefix string
	path := normalizePath(u.Path)
	switch {
	case below(path, batchesPath):
		rest, prefix = path[len(batchesPath):], "msgbatch_"
	case below(path, filesPath):
		rest, prefix = path[len(filesPath):], "file_"
	case below(path, skillsPath):
		rest, prefix = path[len(skillsPath):], "skill_"
	default:
		return Resource{}, false
	}
	id, action, _ := strings.Cut(strings.Trim(rest, "/"), "/")
	last := action[strings.LastIndexByte(action, '/')+1:]
	r := Resource{Data: last == "results" || last == "content", Name: id, Action: action, Prefix: prefix}
	if isID(id) {
		r.ID = id
	}
	if id == "" || action == "versions" {
		r.List = method == http.MethodGet
		r.Batch = method == http.MethodPost && below(path, batchesPath)
		r.Upload = method == http.MethodPost && !r.Batch
	}
	if r.List && r.ID == "" {
		for _, name := range [...]string{"after_id", "before_id"} {
			if cursor := u.Query().Get(name); isID(cursor) {
				r.ID = cursor
			}
		}
	}
	return r, true
}

// normalizePath returns a path as less strict servers may read it: without empty segments, and
// without parameters after a semicolon. The spelling of a path must not change which resource it
// names.
func normalizePath(path string) string {
	if !strings.Contains(path, "//") && !strings.ContainsAny(path, `;\`) { // the common case
		return path
	}
	path = strings.ReplaceAll(path, `\`, "/")
	var out strings.Builder
	for segment := range strings.SplitSeq(path, "/") {
		if segment, _, _ = strings.Cut(segment, ";"); segment != "" {
			out.WriteString("/" + segment)
		}
	}
	return out.String()
}

// below reports whether a path is a root or below it. Servers differ in whether case matters.
func below(path, root string) bool {
	return len(path) >= len(root) && strings.EqualFold(path[:len(root)], root) && (len(path) == len(root) || path[len(root)] == '/')
}

// ResourceIDs lists the ids in a response of these APIs: of the object, or of the elements of a
// list.
func ResourceIDs(body []byte) []string {
	var response struct {
		ID   string `json:"id"`
		Data []struct {
			ID string `json:"id"`
		} `json:"data"`
	}
	if json.Unmarshal(body, &response) != nil {
		return nil
	}
	var ids []string
	if isID(response.ID) {
		ids = append(ids, response.ID)
	}
	for _, element := range response.Data {
		if isID(element.ID) {
			ids = append(ids, element.ID)
		}
	}
	return ids
}

var resultsURL = regexp.MustCompile(`"results_url"\s*:\s*"([^"\\]*)"`)

// RewriteResultsURLs replaces the origin in every results_url of a response by another one, such as
// "https://lb.example", because SDKs fetch results from that URL. It returns body itself if there
// is no results_url.
func RewriteResultsURLs(body []byte, origin string) []byte {
	found := resultsURL.FindAllSubmatchIndex(body, -1)
	if len(found) == 0 {
		return body
	}
	var out []byte
	done := 0
	for _, at := range found {
		path := bytes.Index(body[at[2]:at[3]], []byte(batchesPath+"/"))
		if path < 0 {
			continue
		}
		out = append(append(out, body[done:at[2]]...), origin...)
		done = at[2] + path
	}
	return append(out, body[done:]...)
}

// IDsInBatch lists the ids that the requests of a batch name, as Prompt.IDs does for one request.
func IDsInBatch(body []byte) []string {
	var ids resourceIDs
	s := scanner{text: body, loose: true}
	for name := range s.document {
		if string(name) != "requests" {
			continue
		}
		for range s.elements {
			for name := range s.members {
				if string(name) == "params" {
					ids.addRequest(&s)
				}
			}
		}
	}
	return ids
}

// resourceIDs collects the ids that the body of a Messages request names, most of them once. It
// compares a new id only with the last ones: comparing it with all could take minutes.
type resourceIDs []string

const (
	// maxIDs bounds the ids of one body. A batch has at most as many requests (API reference).
	maxIDs = 100_000
	// recentIDs is the number of the last ids that are not added again.
	recentIDs = 32
)

func (n *resourceIDs) add(value []byte) {
	s := scanner{text: value}
	id, ok := s.string()
	if !ok || !isID(id) || len(*n) >= maxIDs || slices.Contains((*n)[max(0, len(*n)-recentIDs):], id) {
		return
	}
	*n = append(*n, id)
}

// addContainer adds the value of container: an id, or an object with an id and skills. Skills of
// type anthropic have other ids and are the same for all accounts.
func (n *resourceIDs) addContainer(value []byte) {
	n.add(value)
	s := scanner{text: value, loose: true}
	for name := range s.members {
		switch string(name) {
		case "id":
			n.add(s.value())
		case "skills":
			for range s.elements {
				for name := range s.members {
					if string(name) == "skill_id" {
						n.add(s.value())
					}
				}
			}
		}
	}
}

// addRequest adds the ids in the body of a Messages request.
func (n *resourceIDs) addRequest(s *scanner) {
	for name := range s.members {
		switch string(name) {
		case "container":
			n.addContainer(s.value())
		case "system", "messages":
			n.addWithin(s.value())
		}
	}
}

// addMember adds a member of a block: the id of a file, or a value that may contain one.
func (n *resourceIDs) addMember(name, value []byte) {
	switch string(name) {
	case "file_id":
		n.add(value)
	case "input":
	default:
		n.addWithin(value)
	}
}

// addWithin adds the ids in blocks, which may contain other blocks, such as results of tools and
// documents. The input of a tool is content.
func (n *resourceIDs) addWithin(value []byte) {
	if len(value) > 0 && value[0] == '"' || !mayContainFileID(value) {
		return
	}
	s := scanner{text: value, loose: true}
	for name := range s.within {
		switch string(name) {
		case "file_id":
			n.add(s.value())
		case "input":
			s.skip()
		}
	}
}

// mayContainFileID reports whether a value may have a member file_id. It looks for the name in
// quotes, which a text would escape, and for an escape of one of its letters, because a name may be
// written with escapes.
func mayContainFileID(value []byte) bool {
	for _, sign := range [...]string{`"file_id"`, `\u006`, `\u005`} {
		if bytes.Contains(value, []byte(sign)) {
			return true
		}
	}
	return false
}

// MentionsResources reports whether a text that we cannot parse as JSON may name resources for
// another parser.
func MentionsResources(body []byte) bool {
	for _, sign := range [...]string{"file", "container", "skill", `\u00`} {
		if bytes.Contains(body, []byte(sign)) {
			return true
		}
	}
	return false
}
