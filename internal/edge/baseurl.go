package edge

import (
	"net/url"
	"strings"
)

// removeDoubledPrefix removes a duplicate prefix from a path. Clients append /v1/… to their base URL, so a
// base URL that ends in a slash, /v1 or /v1/messages doubles it.
func removeDoubledPrefix(u *url.URL) {
	path := trimDoubledPrefix(u.Path)
	if path == u.Path {
		return
	}
	raw := trimDoubledPrefix(u.RawPath)
	u.Path, u.RawPath = path, ""
	if unescaped, err := url.PathUnescape(raw); err == nil && unescaped == path {
		u.RawPath = raw
	}
}

// trimDoubledPrefix removes duplicate prefixes from a path.
func trimDoubledPrefix(path string) string {
	for strings.HasPrefix(path, "//") {
		path = path[1:]
	}
	for _, base := range [...]string{"/v1/messages/", "/v1/"} {
		rest, ok := strings.CutPrefix(path, base)
		if !ok {
			continue
		}
		rest = "/" + strings.TrimLeft(rest, "/")
		if rest == "/v1" || strings.HasPrefix(rest, "/v1/") || base == "/v1/" && strings.HasPrefix(rest, "/api/") {
			return trimDoubledPrefix(rest)
		}
		if doubled := "/v1" + rest; base == "/v1/" && len(doubled) < len(path) {
			return doubled
		}
	}
	return path
}
