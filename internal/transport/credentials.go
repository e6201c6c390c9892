package transport

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/9bingyin/claude-code-lb/internal/config"
)

// Join appends a request's path to a base URL. Escapes remain as the client wrote them.
func Join(base, request *url.URL) *url.URL {
	u := *base
	u.Path = strings.TrimSuffix(base.Path, "/") + request.Path
	u.RawPath = strings.TrimSuffix(base.EscapedPath(), "/") + request.EscapedPath()
	u.RawQuery = request.RawQuery
	u.ForceQuery = request.ForceQuery
	return &u
}

// ClientCredentials are the values of the two headers in which a client of the Messages API sends a
// credential. The zero value has none. The values are behind a function, so that fmt and slog do
// not print them.
type ClientCredentials struct{ values func() [2][]string }

// TakeCredentials removes the client's credentials from a header, including copies of them in other
// headers, and returns them.
func TakeCredentials(h http.Header) ClientCredentials {
	authorization, key := h["Authorization"], h["X-Api-Key"]
	if authorization == nil && key == nil {
		return ClientCredentials{}
	}
	dropCredentials(h)
	c := ClientCredentials{func() [2][]string { return [2][]string{authorization, key} }}
	for name, values := range h {
		for _, value := range values {
			if c.isCopiedIn(value) {
				delete(h, name)
				break
			}
		}
	}
	return c
}

// minCopied is the minimum length of a credential whose copies are recognized. Shorter text may
// occur anywhere by chance.
const minCopied = 12

// isCopiedIn reports whether a text contains one of the credentials. Some clients repeat them in
// headers such as api-key.
func (c ClientCredentials) isCopiedIn(text string) bool {
	if c.values == nil || len(text) < minCopied {
		return false
	}
	for _, lines := range c.values() {
		for _, line := range lines {
			line = strings.TrimSpace(line)
			if secret := line[strings.LastIndexByte(line, ' ')+1:]; len(secret) >= minCopied && strings.Contains(text, secret) {
				return true
			}
		}
	}
	return false
}

// StripQuery returns a query without the parameters that contain one of the credentials.
func (c ClientCredentials) StripQuery(query string) string {
	if c.values == nil || len(query) < minCopied {
		return query
	}
	var kept []string
	parts := strings.Split(query, "&")
	for _, part := range parts {
		plain, err := url.QueryUnescape(part)
		if !c.isCopiedIn(part) && (err != nil || !c.isCopiedIn(plain)) {
			kept = append(kept, part)
		}
	}
	if len(kept) == len(parts) {
		return query
	}
	return strings.Join(kept, "&")
}

// Put restores the credentials in the headers from which they were taken.
func (c ClientCredentials) Put(h http.Header) {
	if c.values == nil {
		return
	}
	for i, name := range [...]string{"Authorization", "X-Api-Key"} {
		if lines := c.values()[i]; lines != nil {
			h[name] = lines
		}
	}
}

func dropCredentials(h http.Header) {
	delete(h, "Authorization")
	delete(h, "X-Api-Key")
}

// Credential is what the balancer sends to a server. The zero value sends nothing. The value is
// behind a function, so that fmt and slog do not print it.
type Credential struct {
	name   string
	values func() []string // shared by all requests
}

func NewCredential(kind config.AuthHeader, token string) Credential {
	switch {
	case token == "":
		return Credential{}
	case CredentialKind(kind, token) == config.AuthHeaderXAPIKey:
		return credentialIn("X-Api-Key", token)
	}
	return credentialIn("Authorization", "Bearer "+token)
}

// PutCredential sets the credential of a server in h.
func PutCredential(h http.Header, s config.Server) {
	NewCredential(s.AuthHeader, s.Token.Reveal()).Put(h)
}

func credentialIn(name, value string) Credential {
	lines := []string{value}
	return Credential{name, func() []string { return lines }}
}

// Put replaces any credential in h.
func (c Credential) Put(h http.Header) {
	if c.name != "" {
		dropCredentials(h)
		h[c.name] = c.values()
	}
}

// CredentialKind resolves "auto": Anthropic's API keys are sent in x-api-key; OAuth access tokens
// and the keys of relay vendors are sent as a bearer token.
func CredentialKind(kind config.AuthHeader, token string) config.AuthHeader {
	if kind != config.AuthHeaderAuto {
		return kind
	}
	if strings.HasPrefix(token, "sk-ant-") && !strings.HasPrefix(token, "sk-ant-o") {
		return config.AuthHeaderXAPIKey
	}
	return config.AuthHeaderAuthorization
}
