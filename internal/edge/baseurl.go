package edge

import (
	"net/url"
	"strings"
)

// forgiveBase takes out of a path what a client has doubled there because its base URL ends in a slash, in
// /v1 or in /v1/messages: clients add these themselves.
func forgiveBase(u *url.URL) {
	path := withoutBase(u.Path)
	if path == u.Path {
		return
	}
	raw := withoutBase(u.RawPath)
	u.Path, u.RawPath = path, ""
	if unescaped, err := url.PathUnescape(raw); err == nil && unescaped == path {
		u.RawPath = raw
	}
}

// withoutBase cuts doubled beginnings off a path.
func withoutBase(path string) string {
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
			return withoutBase(rest)
		}
		if doubled := "/v1" + rest; base == "/v1/" && len(doubled) < len(path) {
			return doubled
		}
	}
	return path
}
