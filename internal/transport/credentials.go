package transport

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/9bingyin/claude-code-lb/internal/config"
)

// join appends a request's path to a base URL. Escapes stay as the client wrote them.
func Join(base, request *url.URL) *url.URL {
	u := *base
	u.Path = strings.TrimSuffix(base.Path, "/") + request.Path
	u.RawPath = strings.TrimSuffix(base.EscapedPath(), "/") + request.EscapedPath()
	u.RawQuery = request.RawQuery
	u.ForceQuery = request.ForceQuery
	return &u
}

// Credentials are what a client of the Messages API may carry in two headers. The zero value is none.
type Credentials struct{ lines func() [2][]string } // a function, for nothing prints what that returns

// TakeCredentials takes them out of a header.
func TakeCredentials(h http.Header) Credentials {
	authorization, key := h["Authorization"], h["X-Api-Key"]
	if authorization == nil && key == nil {
		return Credentials{}
	}
	dropCredentials(h)
	c := Credentials{func() [2][]string { return [2][]string{authorization, key} }}
	for name, values := range h {
		for _, value := range values {
			if c.within(value) {
				delete(h, name)
				break
			}
		}
	}
	return c
}

// minCopied is the length from which a credential is recognised where it is repeated: shorter text may stand
// anywhere by chance.
const minCopied = 12

// within reports whether a text repeats one of the credentials, as some clients do in headers such as api-key.
func (c Credentials) within(text string) bool {
	if c.lines == nil || len(text) < minCopied {
		return false
	}
	for _, lines := range c.lines() {
		for _, line := range lines {
			line = strings.TrimSpace(line)
			if secret := line[strings.LastIndexByte(line, ' ')+1:]; len(secret) >= minCopied && strings.Contains(text, secret) {
				return true
			}
		}
	}
	return false
}

// CutFrom returns a query without the parameters that repeat one of the credentials.
func (c Credentials) CutFrom(query string) string {
	if c.lines == nil || len(query) < minCopied {
		return query
	}
	var kept []string
	parts := strings.Split(query, "&")
	for _, part := range parts {
		plain, err := url.QueryUnescape(part)
		if !c.within(part) && (err != nil || !c.within(plain)) {
			kept = append(kept, part)
		}
	}
	if len(kept) == len(parts) {
		return query
	}
	return strings.Join(kept, "&")
}

// Put puts them where they were.
func (c Credentials) Put(h http.Header) {
	if c.lines == nil {
		return
	}
	for i, name := range [...]string{"Authorization", "X-Api-Key"} {
		if lines := c.lines()[i]; lines != nil {
			h[name] = lines
		}
	}
}

func dropCredentials(h http.Header) {
	delete(h, "Authorization")
	delete(h, "X-Api-Key")
}

// credential is what a server is shown. The zero value is none.
type Credential struct {
	name  string
	lines func() []string // shared by all requests; a function, for nothing prints what that returns
}

func CredentialOf(kind config.AuthHeader, token string) Credential {
	switch {
	case token == "":
		return Credential{}
	case CredentialKind(kind, token) == config.AuthHeaderXAPIKey:
		return newCredential("X-Api-Key", token)
	}
	return newCredential("Authorization", "Bearer "+token)
}

// PutCredential sets the credential of a server in h, as for every request to it.
func PutCredential(h http.Header, s config.Server) {
	CredentialOf(s.AuthHeader, s.Token.Reveal()).Put(h)
}

func newCredential(name, value string) Credential {
	lines := []string{value}
	return Credential{name, func() []string { return lines }}
}

// put replaces whatever credential h carries.
func (c Credential) Put(h http.Header) {
	if c.name != "" {
		dropCredentials(h)
		h[c.name] = c.lines()
	}
}

// credentialKind settles "auto": Anthropic's API keys go in x-api-key, OAuth
// access tokens and the keys of relay vendors as a bearer token.
func CredentialKind(kind config.AuthHeader, token string) config.AuthHeader {
	if kind != config.AuthHeaderAuto {
		return kind
	}
	if strings.HasPrefix(token, "sk-ant-") && !strings.HasPrefix(token, "sk-ant-o") {
		return config.AuthHeaderXAPIKey
	}
	return config.AuthHeaderAuthorization
}
