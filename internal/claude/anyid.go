package claude

import (
	"bytes"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// CollectionOf parses the path of a request to an API that stores resources, other than those of
// ResourceOf (API reference, managed agents). It sets List, Data, Name and Action.
func CollectionOf(method, path string) (Resource, bool) {
	rest, ok := strings.CutPrefix(strings.ToLower(normalizePath(path)), "/v1/")
	if !ok {
		return Resource{}, false
	}
	root, _, _ := strings.Cut(rest, "/")
	switch root {
	case "agents", "deployments", "dreams", "environments", "memory_stores", "sessions", "user_profiles", "vaults":
	default:
		return Resource{}, false
	}
	below := normalizePath(path)[len("/v1/")+len(root):]
	name, action, _ := strings.Cut(strings.Trim(below, "/"), "/")
	return Resource{Name: name, Action: action, List: method == http.MethodGet && name == "", Data: action != ""}, true
}

// anyID matches the ids of the API.
var anyID = regexp.MustCompile(`^[a-z]+_[A-Za-z0-9_-]+$`)

// AllIDs lists all strings in a JSON text that look like ids. It is used for paths whose body is
// not known.
func AllIDs(body []byte) []string {
	s := scanner{text: body, loose: true}
	if s.peek() != '{' && s.peek() != '[' {
		return nil
	}
	var ids []string
	s.strings(func(raw []byte) {
		if len(raw) > 6*maxID || len(ids) >= maxIDs { // every character may be escaped
			return
		}
		if id := decodeString(raw); len(id) <= maxID && anyID.MatchString(id) {
			ids = append(ids, id)
		}
	})
	return ids
}

// idWithin matches an id in a longer text.
var idWithin = regexp.MustCompile(`[A-Za-z]+_[A-Za-z0-9_-]+`)

// IDsInText lists everything that looks like an id in a part of a URL, even if it is escaped more
// than once, because some servers behind an upstream decode it again.
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

// FindForeignID returns an id in the body of a request for which foreign reports true, regardless
// of the name of its member. Texts and the input of tools are content and do not count.
func FindForeignID(body []byte, foreign func(id string) bool) (id string, found bool) {
	if !mayContainForeignID(body, foreign) {
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

// mayContainForeignID reports whether a text contains an id for which foreign reports true, or may
// contain one in escapes.
func mayContainForeignID(body []byte, foreign func(id string) bool) bool {
	for _, sign := range [...]string{`\u003`, `\u004`, `\u005`, `\u006`, `\u007`} {
		if bytes.Contains(body, []byte(sign)) {
			return true
		}
	}
	var last [8]string // most matches are the same names again, such as file_path
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
