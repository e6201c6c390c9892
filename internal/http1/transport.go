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

// Transport sends requests over plain connections, each from the goroutine that calls RoundTrip. It is an http.RoundTripper for URLs of
// http://. Its fields are set before the first use; all methods may be called from any goroutine.
//
// It differs from net/http's in this: there are no proxies, no upgrades, no trailers and no headers of its own but Host and the body's
// framing; answers of 1xx are read past; and a body that a request still sends when its answer is closed is broken off with the connection.
type Transport struct {
	DialContext            func(ctx context.Context, network, address string) (net.Conn, error) // nil: a net.Dialer's
	MaxIdleConns           int                                                                  // kept for later requests; 0: none
	IdleConnTimeout        time.Duration                                                        // for which they are kept; 0: for ever
	MaxResponseHeaderBytes int                                                                  // of an answer's head; 0: 1 MB
	FreshUnlessRepeatable  bool                                                                 // a request that cannot be repeated gets a new connection

	pool      blockPool
	mu        sync.Mutex
	idle      map[string][]*clientConn // by address, the latest used last
	idleCount int
	sweeper   *time.Timer
	dropIdle  bool // what is in use is not kept either
}

// errStale says that a connection that had been idle ended without a sign of an answer: the server had most likely closed it before the request came.
var errStaleConn = errors.New("http1: the server closed an idle connection")

// RoundTrip sends a request and returns when the head of its answer has come. The answer's body must be closed. The request's context ends
// everything, the reading of the body included; its cause is what comes back then. A request that met a connection which the
// server had closed while it was idle is sent again, once and over a new one, if its body can be had again, and if nothing of it
// was taken or it may be repeated. As in net/http, it may be repeated if its method is safe or it has an Idempotency-Key header, which
// is not sent when it has no value.
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

// checkRequest refuses what cannot be written without saying something else.
func checkRequest(r *http.Request) error {
	switch {
	case r.URL == nil || r.URL.Scheme != "http" || r.URL.Host == "":
		return errors.New("http1: no URL of http://")
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

// sendable says whether a URL's request target is one word: a path is escaped when it is written, a query is written as it is.
func isWritableURL(u *url.URL) bool {
	return u.Opaque == "" && isVisible(u.RawQuery) && (u.Path == "" || u.Path[0] == '/' || u.Path == "*")
}

func hostOf(r *http.Request) string {
	if r.Host != "" {
		return r.Host
	}
	return r.URL.Host
}

// addressOf is where to connect to.
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

// rewind makes the request ready to be sent again, if that is possible.
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

// takeFor is take for a request. With FreshUnlessRepeatable, a request that cannot be repeated gets a new connection, because
// the server may be closing an idle one.
func (t *Transport) takeReusable(r *http.Request, address string) *clientConn {
	if t.FreshUnlessRepeatable && !(isReplayable(r) && (r.Body == nil || r.Body == http.NoBody || r.GetBody != nil)) {
		return nil
	}
	return t.takeAlive(address)
}

// take returns the connection to an address that was used last and still stands, nil if there is none.
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

// put keeps a connection for later.
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

// sweepLater has idle connections looked at. The caller holds the mutex.
func (t *Transport) scheduleSweepLocked(after time.Duration) {
	if t.sweeper == nil && after > 0 {
		t.sweeper = time.AfterFunc(after, t.sweepIdle)
	}
}

// sweep closes the connections that have been idle for too long.
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

// CloseIdleConnections closes the connections that are idle, and until the next request those that become so.
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
