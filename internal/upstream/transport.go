package upstream

import (
	"context"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/config"
	"github.com/9bingyin/claude-code-lb/internal/http1"
	"github.com/9bingyin/claude-code-lb/internal/socket"
)

const (
	idleConnTimeout = 90 * time.Second
	idleConns       = 256
	// A dead HTTP/2 connection stalls every stream on it, so it is asked for a sign of life, and may not stand still
	// while there is something to send.
	pingAfterSilence = 10 * time.Second
	pingTimeout      = 10 * time.Second
	writeStall       = 20 * time.Second
	maxHeaderBytes   = 256 << 10
)

// transport is the connection pool of one identity.
type transport interface {
	http.RoundTripper
	CloseIdleConnections()
}

// newTransport makes the connection pool of one identity: of our own engine for plain connections unless net/http is asked
// for, of net/http for TLS, HTTP/2 and proxies. It has no time-out for answers: how long an answer may take depends on the request and is the
// caller's to say, by the request's context. What is being dialed for more than
// one request ends with ctx.
func newTransport(ctx context.Context, base *url.URL, connect time.Duration, engine config.HTTPEngine) transport {
	proxy, err := http.ProxyFromEnvironment(&http.Request{URL: base})
	if base.Scheme == "http" && proxy == nil && err == nil && !engine.Standard() {
		return &http1.Transport{
			DialContext: patiently(newDialer(connect)), MaxIdleConns: idleConns, IdleConnTimeout: idleConnTimeout, MaxResponseHeaderBytes: maxHeaderBytes,
			FreshUnlessRepeatable: true,
		}
	}
	t := newNetTransport(connect)
	if engine.Standard() {
		t.DialContext = patiently(newDialer(connect)) // without the socket calls of package socket
	}
	if base.Scheme != "https" {
		return netTransport{t}
	}
	// As for every request: of what is dialed without one, net/http tells the proxy settings less.
	t.Proxy = func(*http.Request) (*url.URL, error) { return proxy, err }
	return newSecureTransport(ctx, t, base)
}

func newDialer(connect time.Duration) *net.Dialer {
	return &net.Dialer{Timeout: connect, KeepAlive: 15 * time.Second}
}

// lateDial is by how much a dial may exceed its time-out.
const lateDial = 250 * time.Millisecond

// patiently dials a second time if the first dial timed out and the process noticed it far too late. The process was
// suspended then, and the time-out says nothing about the server.
func patiently(d *net.Dialer) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		began := time.Now()
		c, err := d.DialContext(ctx, network, address)
		if err != nil && d.Timeout > 0 && ctx.Err() == nil && time.Since(began) > d.Timeout+lateDial {
			c, err = d.DialContext(ctx, network, address)
		}
		return c, err
	}
}

// dialSocket has a dialer make connections that are cheap to use.
func dialSocket(d *net.Dialer) func(ctx context.Context, network, address string) (net.Conn, error) {
	dial := patiently(d)
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return socket.New(c), nil
	}
}

// newNetTransport makes a pool of net/http's own.
func newNetTransport(connect time.Duration) *http.Transport {
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            dialSocket(newDialer(connect)),
		TLSHandshakeTimeout:    connect,
		ForceAttemptHTTP2:      true,
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: pingAfterSilence, PingTimeout: pingTimeout, WriteByteTimeout: writeStall},
		MaxIdleConns:           idleConns,
		MaxIdleConnsPerHost:    idleConns,
		IdleConnTimeout:        idleConnTimeout,
		MaxResponseHeaderBytes: maxHeaderBytes,
		// Answers pass as they are; the Transport shall not add an Accept-Encoding of its own.
		DisableCompression: true,
		// Every open stream holds both. Heads and events are shorter; bodies go past them.
		ReadBufferSize:  2 << 10,
		WriteBufferSize: 2 << 10,
	}
}

// RoundTrip sends r to the lease's endpoint. r.URL holds the path and query
// that the client asked for; they are appended to the endpoint's base URL. An
// endpoint with a credential replaces whatever credential r carries.
func (l *Lease) RoundTrip(r *http.Request) (*http.Response, error) {
	r.URL = join(l.spec.URL, r.URL)
	r.Host = ""
	l.shown.put(r.Header)
	return l.transport.RoundTrip(r)
}

// join appends a request's path to a base URL. Escapes stay as the client wrote them.
func join(base, request *url.URL) *url.URL {
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
type credential struct {
	name  string
	lines func() []string // shared by all requests; a function, for nothing prints what that returns
}

func credentialOf(kind config.AuthHeader, token string) credential {
	switch {
	case token == "":
		return credential{}
	case credentialKind(kind, token) == config.AuthHeaderXAPIKey:
		return newCredential("X-Api-Key", token)
	}
	return newCredential("Authorization", "Bearer "+token)
}

// PutCredential sets the credential of a server in h, as for every request to it.
func PutCredential(h http.Header, s config.Server) {
	credentialOf(s.AuthHeader, s.Token.Reveal()).put(h)
}

func newCredential(name, value string) credential {
	lines := []string{value}
	return credential{name, func() []string { return lines }}
}

// put replaces whatever credential h carries.
func (c credential) put(h http.Header) {
	if c.name != "" {
		dropCredentials(h)
		h[c.name] = c.lines()
	}
}

// credentialKind settles "auto": Anthropic's API keys go in x-api-key, OAuth
// access tokens and the keys of relay vendors as a bearer token.
func credentialKind(kind config.AuthHeader, token string) config.AuthHeader {
	if kind != config.AuthHeaderAuto {
		return kind
	}
	if strings.HasPrefix(token, "sk-ant-") && !strings.HasPrefix(token, "sk-ant-o") {
		return config.AuthHeaderXAPIKey
	}
	return config.AuthHeaderAuthorization
}
