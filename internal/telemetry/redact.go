package telemetry

import (
	"net/http"
	"regexp"
	"slices"
	"strings"
)

const redacted = "[redacted]"

// Redactor removes credentials from what debugging shows: the ones it was told
// of, and whatever looks like one. Safe for concurrent use.
type Redactor struct {
	known   *strings.Replacer
	pattern *regexp.Regexp
}

// NewRedactor makes a redactor that knows some secrets. Secrets too short to be
// told from ordinary text are left to the pattern.
func NewRedactor(secrets []string) *Redactor {
	var pairs []string
	// Longer ones first, so that no secret survives as the rest of another.
	secrets = slices.Clone(secrets)
	slices.SortFunc(secrets, func(a, b string) int { return len(b) - len(a) })
	for _, s := range secrets {
		if len(s) >= 4 {
			pairs = append(pairs, s, redacted)
		}
	}
	return &Redactor{
		known:   strings.NewReplacer(pairs...),
		pattern: regexp.MustCompile(`\b(sk|cr|key|tok|ghp|xox[a-z])[-_][A-Za-z0-9_\-]{8,}|(?i)\bbearer\s+[A-Za-z0-9._~+/\-]{8,}=*`),
	}
}

// Text returns s without credentials.
func (r *Redactor) Text(s string) string {
	return r.pattern.ReplaceAllString(r.known.Replace(s), redacted)
}

// Header returns a copy of h in which the values of credential headers are gone
// and all others are free of credentials.
func (r *Redactor) Header(h http.Header) map[string]string {
	out := make(map[string]string, len(h))
	for name, values := range h {
		if secretHeader(name) {
			out[name] = redacted
			continue
		}
		out[name] = r.Text(strings.Join(values, ", "))
	}
	return out
}

func secretHeader(name string) bool {
	name = strings.ToLower(name)
	switch name {
	case "authorization", "proxy-authorization", "cookie", "set-cookie":
		return true
	}
	return strings.Contains(name, "api-key") || strings.Contains(name, "token") && !strings.Contains(name, "tokens") || strings.Contains(name, "secret")
}
