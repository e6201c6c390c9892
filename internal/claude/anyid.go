package claude

import (
	"bytes"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// CollectionOf reads the path of a request to an API, other than those of ResourceOf, under which
// something is created and kept (API reference, managed agents). It sets ID, List, Name and Action.
func CollectionOf(method, path string) (Resource, bool) {
	rest, ok := strings.CutPrefix(strings.ToLower(plainPath(path)), "/v1/")
	if !ok {
		return Resource{}, false
	}
	root, _, _ := strings.Cut(rest, "/")
	switch root {
	case "agents", "deployments", "dreams", "environments", "memory_stores", "sessions", "user_profiles", "vaults":
	default:
		return Resource{}, false
	}
	below := plainPath(path)[len("/v1/")+len(root):]
	name, action, _ := strings.Cut(strings.Trim(below, "/"), "/")
	return Resource{Name: name, Action: action, List: method == http.MethodGet && name == "", Data: action != ""}, true
}

// anyID is what ids of the API look like.
var anyID = regexp.MustCompile(`^[a-z]+_[A-Za-z0-9_-]+$`)

// AllIDs lists all strings in a JSON text that look like ids. It serves paths for which we do
// not know where they name resources.
func AllIDs(body []byte) []string {
	s := scanner{text: body, loose: true}
	if s.peek() != '{' && s.peek() != '[' {
		return nil
	}
	var ids []string
	s.strings(func(raw []byte) {
		if len(raw) > 6*maxID || len(ids) >= maxNamed { // every character may be escaped
			return
		}
		if id := decodeString(raw); len(id) <= maxID && anyID.MatchString(id) {
			ids = append(ids, id)
		}
	})
	return ids
}

// idWithin finds what looks like an id inside a longer text.
var idWithin = regexp.MustCompile(`[A-Za-z]+_[A-Za-z0-9_-]+`)

// IDsInText lists what looks like an id in a part of an address, also where it is escaped more than
// once: some servers behind an upstream decode again.
func IDsInText(text string) (ids []string) {
	const decodings = 3
	for range decodings {
		if strings.Contains(text, "_") {
			ids = append(ids, idWithin.FindAllString(text, -1)...)
		}
		if !strings.Contains(text, "%") {
			break
		}
		plain, err := url.PathUnescape(text)
		if err != nil {
			break
		}
		text = plain
	}
	return ids
}

// FindForeignID finds an id anywhere in the body of a request for which foreign reports true, whatever
// the member is called that holds it. Texts, and the input of tools, are content and do not count.
func FindForeignID(body []byte, foreign func(id string) bool) (id string, found bool) {
	if !mentions(body, foreign) {
		return "", false
	}
	s := scanner{text: body, loose: true}
	take := func(raw []byte) {
		if len(raw) <= 6*maxID && !found { // every character may be escaped
			if text := decodeString(raw); isID(text) && foreign(text) {
				id, found = text, true
			}
		}
	}
	for name := range s.within {
		switch next := s.peek(); string(lowered(name, new([16]byte))) {
		case "text", "thinking", "data", "title", "context", "metadata", "input", "input_schema", "input_examples":
			s.skip()
		case "content":
			if next == '"' {
				s.skip()
			}
		case "file_ids", "skill_ids", "ids":
			inner := scanner{text: s.value(), loose: true}
			inner.strings(take)
		default:
			if next == '"' {
				take(s.value())
			}
		}
	}
	return id, found
}

// mentions reports whether a text holds an id for which foreign reports true, or may hold one in
// escapes.
func mentions(body []byte, foreign func(id string) bool) bool {
	for _, sign := range [...]string{`\u003`, `\u004`, `\u005`, `\u006`, `\u007`} {
		if bytes.Contains(body, []byte(sign)) {
			return true
		}
	}
	var last [8]string // most of what is found is a name such as file_path, again and again
	next := 0
	for _, prefix := range [...]string{"file_", "container_", "skill_", "skillver_", "msgbatch_"} {
		for rest := body; ; {
			at := bytes.Index(rest, []byte(prefix))
			if at < 0 {
				break
			}
			rest = rest[at:]
			end := len(prefix)
			for end < len(rest) && end < maxID && isIDByte(rest[end]) {
				end++
			}
			if !slices.ContainsFunc(last[:], func(s string) bool { return s == string(rest[:end]) }) {
				id := string(rest[:end])
				if foreign(id) {
					return true
				}
				last[next%len(last)] = id
				next++
			}
			rest = rest[end:]
		}
	}
	return false
}

func isIDByte(c byte) bool {
	return c == '_' || c == '-' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}
