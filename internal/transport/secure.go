package transport

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"sync/atomic"
	"time"
)

// maxRefusals limits how often HTTP/2 connections may refuse a request before the caller gets the
// error.
const maxRefusals = 6

// errHTTP1 means that there is no HTTP/2 connection, because the server chose HTTP/1.1.
var errHTTP1 = errors.New("the server speaks HTTP/1.1")

// secureTransport carries requests to one https server: over HTTP/2 if the server supports it,
// otherwise over HTTP/1.1 with net/http. Safe for concurrent use.
//
// Of net/http's own pool, only the part for HTTP/1.1 is used. Its HTTP/2 pool makes a TLS handshake
// for every request that finds no capacity, and discards all but the first of these connections.
// Requests that a peer has refused wait there for a second or more.
type secureTransport struct {
	net     netTransport // dials (perhaps through a proxy) and keeps HTTP/1.1 connections
	address string
	h2      *h2Pool

	http1 atomic.Bool                     // the server has chosen HTTP/1.1 before
	spare atomic.Pointer[http.ClientConn] // the HTTP/1.1 connection of that handshake
}

// newSecureTransport returns a transport without connections. When ctx ends, dials end.
func newSecureTransport(ctx context.Context, t *http.Transport, base *url.URL) *secureTransport {
	s := &secureTransport{net: netTransport{t}, address: net.JoinHostPort(base.Hostname(), cmp.Or(base.Port(), "443"))}
	s.h2 = &h2Pool{ctx: ctx, dial: s.dial}
	return s
}

// RoundTrip implements http.RoundTripper.
func (s *secureTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	acquire, repeated := s.h2.acquire, false
	for refusals := 0; ; refusals++ {
		if s.http1.Load() {
			return s.sendHTTP1(r)
		}
		c, err := acquire(r.Context())
		if errors.Is(err, errHTTP1) {
			continue
		}
		if err != nil {
			closeBody(r)
			return nil, err
		}
		reused, began := c.limitKnown.Load(), time.Now()
		res, err := c.RoundTrip(r)
		switch {
		case err == nil:
			s.h2.learnLimit(c)
			return res, nil
		case isRefused(err) && refusals < maxRefusals:
		case reused && !repeated && mayRepeat(r) && isClosedUnused(r, err, began):
			acquire, repeated = s.h2.dialReserved, true
		default:
			return nil, err
		}
		again, ok := rewind(r)
		if !ok {
			return nil, err
		}
		r = again
	}
}

// dial makes a connection. The server chooses the protocol in the handshake.
func (s *secureTransport) dial(ctx context.Context) (*http.ClientConn, error) {
	var protocol string // behind a TLS proxy, the last handshake is the server's
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		TLSHandshakeDone: func(state tls.ConnectionState, _ error) { protocol = state.NegotiatedProtocol },
	})
	c, err := s.net.NewClientConn(ctx, "https", s.address)
	if err != nil {
		return nil, err
	}
	if protocol == "h2" {
		return c, nil
	}
	s.http1.Store(true)
	s.keepSpare(c)
	return nil, errHTTP1
}

// keepSpare keeps an HTTP/1.1 connection for the next request, as long as net/http would.
func (s *secureTransport) keepSpare(c *http.ClientConn) {
	if old := s.spare.Swap(c); old != nil {
		old.Close()
	}
	time.AfterFunc(s.net.IdleConnTimeout, func() {
		if s.spare.CompareAndSwap(c, nil) {
			c.Close()
		}
	})
}

func (s *secureTransport) sendHTTP1(r *http.Request) (*http.Response, error) {
	if !canRepeat(r) {
		return s.net.RoundTrip(r)
	}
	c := s.spare.Swap(nil)
	if c == nil || c.Reserve() != nil {
		return s.net.RoundTrip(r)
	}
	// The connection has been idle since the handshake.
	return s.net.sendRepeatable(r, true, func(r *http.Request) (*http.Response, error) { return sendAndClose(c, r) })
}

// Warm opens a connection (TCP, TLS and the HTTP/2 preface) without sending a request.
func (s *secureTransport) Warm() error {
	if s.http1.Load() {
		return nil
	}
	if err := s.h2.warm(); !errors.Is(err, errHTTP1) {
		return err
	}
	return nil
}

// CloseIdleConnections closes the connections without requests. The others are closed after they
// have been idle for a while.
func (s *secureTransport) CloseIdleConnections() {
	s.h2.closeIdle()
	s.net.CloseIdleConnections()
	if c := s.spare.Swap(nil); c != nil {
		c.Close()
	}
}

// rewind returns r with its body from the beginning, if that is possible.
func rewind(r *http.Request) (*http.Request, bool) {
	if r.Body == nil || r.Body == http.NoBody {
		return r, true
	}
	if r.GetBody == nil {
		return nil, false
	}
	body, err := r.GetBody()
	if err != nil {
		return nil, false
	}
	again := *r
	again.Body = body
	return &again, true
}

func closeBody(r *http.Request) {
	if r.Body != nil {
		_ = r.Body.Close() // the body was only read, so the error does not matter
	}
}
