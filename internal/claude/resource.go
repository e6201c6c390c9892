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

// What an account keeps under an id knows no other account: batches, files, skills of
// one's own, containers (API reference of each). Ids begin with the name of what they stand for.
const (
	batchesPath = "/v1/messages/batches"
	filesPath   = "/v1/files"
	skillsPath  = "/v1/skills"
)

// maxID is longer than any id of the API.
const maxID = 128

// idPattern is an id of something that belongs to one account.
var idPattern = regexp.MustCompile(`^(?:msgbatch|file|skill|skillver|container)_[A-Za-z0-9_-]+$`)

// isID says whether s can be the id of something that belongs to one account.
func isID(s string) bool { return len(s) <= maxID && idPattern.MatchString(s) }

var longID = regexp.MustCompile(`\b((?:msgbatch|file|skill|skillver|container)_[A-Za-z0-9]{8})[A-Za-z0-9_-]+`)

// ShortenIDs cuts the ids in a text, such as a path, to what tells them apart in a log.
func ShortenIDs(text string) string {
	if strings.IndexByte(text, '_') < 0 {
		return text // nearly always
	}
	for _, kind := range [...]string{"msgbatch_", "file_", "skill_", "skillver_", "container_"} {
		if strings.Contains(text, kind) {
			return longID.ReplaceAllString(text, "$1…")
		}
	}
	return text
}

var keyLike = regexp.MustCompile(`\bsk-[A-Za-z0-9_-]{4,}`)

// RedactKeys takes out of a path what looks like a key that somebody has put there.
func RedactKeys(path string) string {
	if !strings.Contains(path, "sk-") { // nearly always
		return path
	}
	return keyLike.ReplaceAllString(path, "sk-…")
}

// Resource is what a request asks of the APIs for batches, files and skills.
type Resource struct {
	ID     string // named by the path, or by the cursor of a list; "" if none is
	List   bool   // the answer is a list
	Upload bool   // the body is a file, which may be larger than any message
	Batch  bool   // the body is a batch, which may be so too: 256 MB (API reference)
	Data   bool   // the answer is what is stored, not what is said about it
	Name   string // the path segment after the collection, in any form
	Action string // the path after that
	Prefix string // of the ids in the collection
}

// ResourceOf reads the path and query of a request. It reports false for other APIs.
func ResourceOf(method string, u *url.URL) (Resource, bool) {
	var rest, prefix string
	path := plainPath(u.Path)
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

// plainPath normalizes a path as less strict servers may read it: without empty segments, and without
// parameters after a semicolon. The spelling of a path must not change what it names here.
func plainPath(path string) string {
	if !strings.Contains(path, "//") && !strings.ContainsAny(path, `;\`) { // nearly always
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

// ResourceIDs lists the ids in an answer of these APIs: of the object itself, or of the elements of a list.
func ResourceIDs(body []byte) []string {
	var answer struct {
		ID   string `json:"id"`
		Data []struct {
			ID string `json:"id"`
		} `json:"data"`
	}
	if json.Unmarshal(body, &answer) != nil {
		return nil
	}
	var ids []string
	if isID(answer.ID) {
		ids = append(ids, answer.ID)
	}
	for _, element := range answer.Data {
		if isID(element.ID) {
			ids = append(ids, element.ID)
		}
	}
	return ids
}

var resultsURL = regexp.MustCompile(`"results_url"\s*:\s*"([^"\\]*)"`)

// RewriteResultsURLs replaces the origin in every results_url of an answer by another
// one, such as "https://lb.example": SDKs fetch results from the address that is told. It returns body itself when there is none.
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

// IDsInBatch lists what the requests of a batch name, as Prompt.IDs does for one request.
func IDsInBatch(body []byte) []string {
	var ids namedIDs
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

// namedIDs collects the ids that the body of a Messages request names, mostly each once: looking through
// all for every one of them would keep a processor busy for minutes.
type namedIDs []string

const (
	// maxNamed bounds the ids of one body: a batch has no more requests than this (API reference).
	maxNamed = 100_000
	// recentlyNamed is how many of the last ids are not named again.
	recentlyNamed = 32
)

func (n *namedIDs) add(value []byte) {
	s := scanner{text: value}
	id, ok := s.string()
	if !ok || !isID(id) || len(*n) >= maxNamed || slices.Contains((*n)[max(0, len(*n)-recentlyNamed):], id) {
		return
	}
	*n = append(*n, id)
}

// addContainer takes the value of container: an id, or an object with an id and skills. Skills
// of type anthropic are known everywhere.
func (n *namedIDs) addContainer(value []byte) {
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

// addRequest takes the body of a Messages request.
func (n *namedIDs) addRequest(s *scanner) {
	for name := range s.members {
		switch string(name) {
		case "container":
			n.addContainer(s.value())
		case "system", "messages":
			n.addWithin(s.value())
		}
	}
}

// addMember takes a member of a block: a file's id, or what may hold one further inside.
func (n *namedIDs) addMember(name, value []byte) {
	switch string(name) {
	case "file_id":
		n.add(value)
	case "input":
	default:
		n.addWithin(value)
	}
}

// addWithin takes blocks, which may hold others, as results of tools and documents
// do. The input of a tool is the tool's own affair.
func (n *namedIDs) addWithin(value []byte) {
	if len(value) > 0 && value[0] == '"' || !mayNameFile(value) {
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

// mayNameFile reports whether a value may have a member file_id: the name in quotes, which text would
// escape, or an escape of one of its letters, because a name may be spelled with escapes.
func mayNameFile(value []byte) bool {
	for _, sign := range [...]string{`"file_id"`, `\u006`, `\u005`} {
		if bytes.Contains(value, []byte(sign)) {
			return true
		}
	}
	return false
}

// MentionsResources reports whether a text that we cannot parse as JSON may name resources for another
// parser.
func MentionsResources(body []byte) bool {
	for _, sign := range [...]string{"file", "container", "skill", `\u00`} {
		if bytes.Contains(body, []byte(sign)) {
			return true
		}
	}
	return false
}
