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

// maxRefusals is how often a request may be refused by HTTP/2 connections before that is an error.
const maxRefusals = 6

// errHTTP1 is why there is no HTTP/2 connection to a server: it does not speak HTTP/2.
var errHTTP1 = errors.New("the server speaks HTTP/1.1")

// secureTransport carries requests to one https server: over HTTP/2 where the
// server speaks it, else over HTTP/1.1 as net/http does. Safe for concurrent use.
//
// Of net/http's own pool only the part for HTTP/1.1 is used. The one for HTTP/2
// makes a TLS handshake for every request that finds no room, and throws away
// all but the first; it lets those that a peer has refused wait for a second or more.
type secureTransport struct {
	net     netTransport // dials, through a proxy where the environment says so, and keeps HTTP/1.1 connections
	address string
	h2      *connections

	http1 atomic.Bool                     // the server has chosen HTTP/1.1 once
	spare atomic.Pointer[http.ClientConn] // the HTTP/1.1 connection on which it did
}

// newSecureTransport makes one that has no connection yet. What is being dialed ends with ctx.
func newSecureTransport(ctx context.Context, t *http.Transport, base *url.URL) *secureTransport {
	s := &secureTransport{net: netTransport{t}, address: net.JoinHostPort(base.Hostname(), cmp.Or(base.Port(), "443"))}
	s.h2 = &connections{ctx: ctx, dial: s.dial}
	return s
}

// RoundTrip is that of http.RoundTripper.
func (s *secureTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	take, repeated := s.h2.take, false
	for refusals := 0; ; refusals++ {
		if s.http1.Load() {
			return s.overHTTP1(r)
		}
		c, err := take(r.Context())
		if errors.Is(err, errHTTP1) {
			continue
		}
		if err != nil {
			closeBody(r)
			return nil, err
		}
		reused, began := c.told.Load(), time.Now()
		res, err := c.RoundTrip(r)
		switch {
		case err == nil:
			s.h2.learn(c)
			return res, nil
		case refused(err) && refusals < maxRefusals:
		case reused && !repeated && isReplayable(r) && closedUnused(r, err, began):
			take, repeated = s.h2.fresh, true
		default:
			return nil, err
		}
		again, ok := rewound(r)
		if !ok {
			return nil, err
		}
		r = again
	}
}

// dial makes a connection. Of the two protocols the server chooses one, in the handshake.
func (s *secureTransport) dial(ctx context.Context) (*http.ClientConn, error) {
	var protocol string // through a proxy with TLS of its own, the last handshake is the server's
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

// keepSpare keeps an HTTP/1.1 connection for the next request, for as long as net/http would.
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

func (s *secureTransport) overHTTP1(r *http.Request) (*http.Response, error) {
	if !isRepeatable(r) {
		return s.net.RoundTrip(r)
	}
	c := s.spare.Swap(nil)
	if c == nil || c.Reserve() != nil {
		return s.net.RoundTrip(r)
	}
	// The connection has been idle since the handshake.
	return s.net.repeating(r, true, func(r *http.Request) (*http.Response, error) { return lastOn(c, r) })
}

// Warm opens a connection: TCP, TLS and the preface of HTTP/2, but sends no request.
func (s *secureTransport) Warm() error {
	if s.http1.Load() {
		return nil
	}
	if err := s.h2.warm(); !errors.Is(err, errHTTP1) {
		return err
	}
	return nil
}

// CloseIdleConnections closes what no request uses. Those in use close when they have been idle for a while.
func (s *secureTransport) CloseIdleConnections() {
	s.h2.closeIdle()
	s.net.CloseIdleConnections()
	if c := s.spare.Swap(nil); c != nil {
		c.Close()
	}
}

// rewound is r with its body from the beginning, if that can be had.
func rewound(r *http.Request) (*http.Request, bool) {
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
		_ = r.Body.Close() // of what was only to be read
	}
}
