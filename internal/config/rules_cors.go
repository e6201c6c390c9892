package config

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// checkOrigins checks the origins of pages. They are compared as text with what browsers send, so
// only that form is accepted.
func (d *decoder) checkOrigins(cfg *Config) {
	for i, origin := range cfg.CORSOrigins {
		path := fmt.Sprintf("cors_origins[%d]", i)
		n, ok := d.wrote(path)
		if !ok {
			continue
		}
		switch problem := originProblem(origin, n.shown != ""); {
		case problem != "":
			d.errorf(n.offset, path, "%s %s", n.label(), problem)
		case slices.Contains(cfg.CORSOrigins[:i], origin):
			d.warnf(n.offset, path, "is written twice: remove one")
		case origin == "*" && !cfg.Auth && d.fine("auth"):
			d.warnf(n.offset, path, `lets every web page spend the servers' tokens, because "auth" is off: list the pages, or switch "auth" on`)
		}
	}
}

// originProblem describes the problem of an origin, "" if it is valid. It quotes the origin only if
// show is set.
func originProblem(origin string, show bool) string {
	if origin == "*" || origin == "file://" { // some desktop applications send the latter
		return ""
	}
	u, err := url.Parse(origin)
	switch {
	case origin == "null":
		return `cannot be listed: every page can send it. Serve the page from an address`
	case strings.Contains(origin, "*"):
		return `has a wildcard: only "*" alone is allowed, else list each origin`
	case err != nil || u.Scheme == "" || u.Host == "" || u.User != nil || strings.ContainsFunc(origin, func(r rune) bool { return r <= ' ' || r > '~' }):
		return `is not an origin, scheme://host or scheme://host:port, such as "https://chat.example"`
	}
	want := strings.ToLower(u.Scheme + "://" + u.Host)
	for scheme, port := range map[string]string{"http": ":80", "https": ":443"} {
		if u.Scheme == scheme {
			want = strings.TrimSuffix(want, port)
		}
	}
	switch {
	case want == origin:
		return ""
	case show:
		return fmt.Sprintf("is not as browsers send it: write %q", want)
	}
	return "is not as browsers send it: lower case, without a usual port, a path or a slash at the end"
}
