package http1

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// Transport is an http.RoundTripper for plain http:// URLs. RoundTrip sends the request from the
// goroutine that calls it. The fields must be set before the first use. All methods are safe for
// concurrent use.
//
// It differs from http.Transport: there are no proxies, no upgrades and no trailers; it adds no
// header fields except Host and those that frame the body; interim responses (1xx) are discarded;
// and closing a response while its request is still being sent closes the connection.
type Transport struct {
	// DialContext opens connections; nil: the method of a zero net.Dialer.
	DialContext func(ctx context.Context, network, address string) (net.Conn, error)
	// MaxIdleConns limits the idle connections kept for later requests, to all addresses together.
	MaxIdleConns           int
	IdleConnTimeout        time.Duration // 0: no limit
	MaxResponseHeaderBytes int           // 0: 1 MB
	// FreshUnlessRepeatable sends every request that cannot be repeated over a new connection.
	FreshUnlessRepeatable bool

	pool      blockPool
	mu        sync.Mutex
	idle      map[string][]*clientConn // by address, the most recently used last
	idleCount int
	sweeper   *time.Timer
	dropIdle  bool // connections in use are not kept either
}

// errStaleConn means that an idle connection ended before any byte of a response. Most likely the
// server had closed it before the request arrived.
var errStaleConn = errors.New("http1: the server closed an idle connection")

// RoundTrip sends a request and returns when the response header has arrived. The caller must close
// the response body. The request's context limits the whole exchange, the body included, and its
// cause is the error.
//
// A request that failed because the server had closed an idle connection is sent again, once, over
// a new connection. This requires that its body can be obtained again, and that no byte of the
// request was sent or that the request may be repeated. As in net/http, it may be repeated if its
// method is safe or it has an Idempotency-Key header. That header is not sent if it has no value.
func (t *Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	err := checkRequest(r)
	if err == nil {
		err = context.Cause(r.Context())
	}
	if err != nil {
		closeBody(r)
		return nil, err
	}
	address := dialAddress(r)
	if c := t.takeReusable(r, address); c != nil {
		began := time.Now()
		res, err := c.roundTrip(r)
		if !errors.Is(err, errStaleConn) {
			return res, err
		}
		if late := !isSafe(r.Method) && time.Since(began) > maxReplayAge; late || !rewind(&r) {
			return nil, io.EOF
		}
	}
	c, err := t.dial(r.Context(), address)
	if err != nil {
		closeBody(r)
		return nil, err
	}
	res, err := c.roundTrip(r)
	if errors.Is(err, errStaleConn) {
		err = io.EOF
	}
	return res, err
}

// checkRequest refuses requests that could be written as a different message.
func checkRequest(r *http.Request) error {
	switch {
	case r.URL == nil || r.URL.Scheme != "http" || r.URL.Host == "":
		return errors.New("http1: not an http:// URL")
	case r.Method != "" && !isToken(r.Method):
		return errors.New("http1: a malformed method")
	case !isWritableURL(r.URL):
		return errors.New("http1: a malformed URL")
	case !isHost(hostOf(r)) || hostOf(r) == "":
		return errors.New("http1: a malformed host")
	}
	for name, values := range r.Header {
		if !isToken(name) {
			return errFieldName
		}
		for _, v := range values {
			if !isFieldValue(v) {
				return errFieldValue
			}
		}
	}
	return nil
}

// isWritableURL reports whether the request target contains no blanks or control characters.
// RequestURI escapes the path, but not the query.
func isWritableURL(u *url.URL) bool {
	return u.Opaque == "" && isVisible(u.RawQuery) && (u.Path == "" || u.Path[0] == '/' || u.Path == "*")
}

func hostOf(r *http.Request) string {
	if r.Host != "" {
		return r.Host
	}
	return r.URL.Host
}

// dialAddress returns the host and port to connect to.
func dialAddress(r *http.Request) string {
	host := r.URL.Host
	if port := strings.LastIndexByte(host, ':'); port > strings.LastIndexByte(host, ']') && port < len(host)-1 {
		return host
	}
	return net.JoinHostPort(r.URL.Hostname(), "80")
}

func closeBody(r *http.Request) {
	if r.Body != nil {
		r.Body.Close()
	}
}

// rewind replaces *r by a copy with a fresh body. It returns false if the body cannot be obtained
// again.
func rewind(r **http.Request) bool {
	old := *r
	if old.Body == nil || old.Body == http.NoBody {
		return true
	}
	if old.GetBody == nil {
		return false
	}
	body, err := old.GetBody()
	if err != nil {
		return false
	}
	again := *old
	again.Body = body
	*r = &again
	return true
}

func (t *Transport) dial(ctx context.Context, address string) (*clientConn, error) {
	dial := t.DialContext
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	c, err := dial(ctx, "tcp", address)
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, err
	}
	return newClientConn(t, c, address), nil
}

// takeReusable returns an idle connection for a request, or nil. With FreshUnlessRepeatable it
// returns nil for a request that cannot be repeated, because the server may be closing an idle
// connection.
func (t *Transport) takeReusable(r *http.Request, address string) *clientConn {
	if t.FreshUnlessRepeatable && !(isReplayable(r) && (r.Body == nil || r.Body == http.NoBody || r.GetBody != nil)) {
		return nil
	}
	return t.takeAlive(address)
}

// takeAlive returns the most recently used idle connection to an address that is still alive, or
// nil.
func (t *Transport) takeAlive(address string) *clientConn {
	for {
		c := t.popIdle(address)
		if c == nil || c.isIdleAlive() {
			return c
		}
		c.sock.Close()
	}
}

func (t *Transport) popIdle(address string) *clientConn {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.dropIdle = false
	stack := t.idle[address]
	if len(stack) == 0 {
		return nil
	}
	last := len(stack) - 1
	c := stack[last]
	stack[last] = nil
	t.idle[address] = stack[:last]
	t.idleCount--
	return c
}

// putIdle keeps a connection for later requests.
func (t *Transport) putIdle(c *clientConn) {
	c.idleSince = time.Now()
	t.mu.Lock()
	keep := !t.dropIdle && t.idleCount < t.MaxIdleConns
	if keep {
		if t.idle == nil {
			t.idle = map[string][]*clientConn{}
		}
		t.idle[c.address] = append(t.idle[c.address], c)
		t.idleCount++
		t.scheduleSweepLocked(t.IdleConnTimeout)
	}
	t.mu.Unlock()
	if !keep {
		c.sock.Close()
	}
}

// scheduleSweepLocked starts the timer for sweepIdle. The caller holds the mutex.
func (t *Transport) scheduleSweepLocked(after time.Duration) {
	if t.sweeper == nil && after > 0 {
		t.sweeper = time.AfterFunc(after, t.sweepIdle)
	}
}

// sweepIdle closes the connections that have been idle for longer than IdleConnTimeout.
func (t *Transport) sweepIdle() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sweeper = nil
	now, next := time.Now(), time.Duration(0)
	for address, stack := range t.idle {
		old := 0
		for old < len(stack) && now.Sub(stack[old].idleSince) >= t.IdleConnTimeout {
			stack[old].sock.Close()
			old++
		}
		t.idleCount -= old
		if stack = append(stack[:0:0], stack[old:]...); len(stack) == 0 {
			delete(t.idle, address)
			continue
		}
		t.idle[address] = stack
		if left := t.IdleConnTimeout - now.Sub(stack[0].idleSince); next == 0 || left < next {
			next = left
		}
	}
	t.scheduleSweepLocked(next)
}

// CloseIdleConnections closes all idle connections. Until the next request, connections that become
// idle are closed as well.
func (t *Transport) CloseIdleConnections() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, stack := range t.idle {
		for _, c := range stack {
			c.sock.Close()
		}
	}
	t.idle, t.idleCount, t.dropIdle = nil, 0, true
	if t.sweeper != nil {
		t.sweeper.Stop()
		t.sweeper = nil
	}
}
