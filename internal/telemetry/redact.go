package telemetry

import (
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

const redacted = "[redacted]"

// Redactor removes credentials from debug output: the secrets that it knows, and any text that
// looks like one. Safe for concurrent use.
type Redactor struct {
	known   *strings.Replacer
	pattern *regexp.Regexp
}

// NewRedactor returns a redactor that knows the given secrets. Secrets that are too short to be
// distinguished from ordinary text are left to the pattern.
func NewRedactor(secrets []string) *Redactor {
	var pairs []string
	// Longer secrets first: otherwise part of a secret could remain after a shorter one is
	// replaced.
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

// Header returns a copy of h without the values of credential headers, and without credentials in
// all other values.
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

// URI returns path and query of a request without credentials. It removes the values of parameters
// whose names suggest a credential.
func (r *Redactor) URI(uri string) string {
	path, query, found := strings.Cut(uri, "?")
	if !found {
		return r.Text(uri)
	}
	var out strings.Builder
	out.WriteString(path + "?")
	for query != "" {
		end := strings.IndexAny(query, "&;")
		pair, separator, rest := query, "", ""
		if end >= 0 {
			pair, separator, rest = query[:end], query[end:end+1], query[end+1:]
		}
		if name, _, _ := strings.Cut(pair, "="); secretParameter(name) {
			pair = name + "=" + redacted
		}
		out.WriteString(pair + separator)
		query = rest
	}
	return r.Text(out.String())
}

func secretParameter(name string) bool {
	if plain, err := url.QueryUnescape(name); err == nil {
		name = plain
	}
	name = strings.ToLower(name)
	for _, sign := range [...]string{"key", "token", "secret", "auth", "passw", "pwd", "sig", "credential", "session", "code"} {
		if strings.Contains(name, sign) {
			return true
		}
	}
	return false
}

func secretHeader(name string) bool {
	name = strings.ToLower(name)
	switch name {
	case "authorization", "proxy-authorization", "cookie", "set-cookie":
		return true
	}
	return strings.Contains(name, "api-key") || strings.Contains(name, "token") && !strings.Contains(name, "tokens") || strings.Contains(name, "secret")
}
