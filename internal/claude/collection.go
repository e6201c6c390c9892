package claude

import (
	"net/http"
	"regexp"
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

// IDsAnywhere lists the strings anywhere in a JSON text that look like ids, for paths of which it is
// not known where they name something.
func IDsAnywhere(body []byte) []string {
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
