package config

import (
	"fmt"
	"net/url"
	"path"
	"strings"
)

// checkHealth checks the health_check of a server at place: either a path that stays below the
// address, or a message with a credential.
func (d *decoder) checkHealth(s Server, place string) {
	check := s.HealthCheck
	if n, ok := d.wrote(place + ".path"); ok && check.Path != "" {
		switch {
		case !isPlainPath(check.Path):
			d.errorf(n.offset, place+".path", "%s is not a plain path: write %s", n.label(), suggestedPath(n.shown))
		case check.Model != "":
			d.errorf(n.offset, place+".path", `stands beside "model": write one of them`)
		}
	}
	if n, ok := d.wrote(place + ".model"); ok && check.Model != "" && s.Token.Empty() && d.fine(strings.TrimSuffix(place, "health_check")+"token") {
		d.warnf(n.offset, place+".model", `is sent without a credential, because "token" is missing: the refusal proves no more than a "path" would`)
	}
	if check.Enabled() || !d.fine(place+".path") || !d.fine(place+".model") {
		return
	}
	for _, name := range []string{".interval", ".jitter_percent"} {
		if n, ok := d.wrote(place + name); ok {
			d.warnf(n.offset, place+name, `is ignored without "path" or "model"`)
		}
	}
}

// isPlainPath reports whether every reader understands s, a path with or without a query, as one
// below the address that it is appended to.
func isPlainPath(s string) bool {
	u, err := url.ParseRequestURI(s)
	if err != nil || s[0] != '/' || strings.HasPrefix(s, "//") || strings.Contains(s, "#") || strings.Contains(u.Path, `\`) {
		return false
	}
	for segment := range strings.SplitSeq(u.Path, "/") {
		if segment == "." || segment == ".." {
			return false
		}
	}
	return true
}

// suggestedPath returns the quoted plain path that was probably meant, "" for a text that must not
// be shown.
func suggestedPath(shown string) string {
	u, err := url.Parse(strings.ReplaceAll(shown, `\`, "/"))
	if err != nil || path.Clean("/"+u.Path) == "/" {
		return `one such as "/health"`
	}
	plain := url.URL{Path: path.Clean("/" + u.Path), RawQuery: u.RawQuery}
	return fmt.Sprintf("%.60q", plain.String())
}
