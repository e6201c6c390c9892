package transport

import (
	"cmp"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
	"syscall"
	"time"
)

// replayWithin is how soon a kept connection has to end for its request to be repeated: a server
// that had closed the connection answers with a reset within a round trip, and one that ends it
// later has probably worked on the request.
const replayWithin = 10 * time.Second

// idempotencyKey, without a value, marks a request that may be repeated; see package http1.
const idempotencyKey = "Idempotency-Key"

// netTransport is net/http's pool of HTTP/1.1 connections, except that a marked request that met a
// connection which its server had closed is repeated once, over a fresh connection. By itself
// net/http would either not repeat it or try every idle connection in turn, and each of them might
// bill the request.
type netTransport struct{ *http.Transport }

// RoundTrip is that of http.RoundTripper.
func (t netTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	switch {
	case !isRepeatable(r):
		return t.overFresh(r) // an idle connection may be closing just now
	case !isMarked(r):
		return t.Transport.RoundTrip(r)
	}
	return t.repeating(r, false, t.Transport.RoundTrip)
}

// repeating sends a request, and repeats it once over a fresh connection if it met a kept
// connection that the server had closed. kept means that the connection certainly is a kept one;
// otherwise net/http reports that.
func (t netTransport) repeating(r *http.Request, kept bool, send func(*http.Request) (*http.Response, error)) (*http.Response, error) {
	var reused, answered atomic.Bool
	reused.Store(kept)
	began := time.Now()
	res, err := send(unmarked(r, &httptrace.ClientTrace{
		GotConn:              func(c httptrace.GotConnInfo) { reused.Store(c.Reused || kept) },
		GotFirstResponseByte: func() { answered.Store(true) },
	}))
	if err == nil || !reused.Load() || answered.Load() || !closedUnused(r, err, began) {
		return res, err
	}
	again, ok := rewound(r)
	if !ok {
		return nil, err
	}
	return t.overFresh(again)
}

// overFresh sends a request over a connection that is made for it and closed after it.
func (t netTransport) overFresh(r *http.Request) (*http.Response, error) {
	port := map[string]string{"http": "80", "https": "443"}[r.URL.Scheme]
	c, err := t.NewClientConn(r.Context(), r.URL.Scheme, net.JoinHostPort(r.URL.Hostname(), cmp.Or(r.URL.Port(), port)))
	if err == nil {
		err = c.Reserve()
	}
	if err != nil {
		closeBody(r)
		return nil, err
	}
	return lastOn(c, r)
}

// lastOn sends a request over a reserved connection of HTTP/1.1 that no pool has, and closes it
// when the answer has been read.
func lastOn(c *http.ClientConn, r *http.Request) (*http.Response, error) {
	c.SetStateHook(func(c *http.ClientConn) {
		if c.InFlight() == 0 {
			c.Close()
		}
	})
	return c.RoundTrip(r)
}

// isReplayable reports whether a request may be repeated although it may have been received.
func isReplayable(r *http.Request) bool {
	_, marked := r.Header[idempotencyKey]
	return marked || r.Method == http.MethodGet || r.Method == http.MethodHead || r.Method == ""
}

// isRepeatable reports whether the body of such a request also can be sent again.
func isRepeatable(r *http.Request) bool {
	return isReplayable(r) && (r.Body == nil || r.Body == http.NoBody || r.GetBody != nil)
}

// isMarked reports whether a request may be repeated and net/http would not do so by itself.
func isMarked(r *http.Request) bool {
	value, marked := r.Header[idempotencyKey]
	return marked && len(value) == 0 && r.Method != http.MethodGet && r.Method != http.MethodHead
}

// unmarked returns a copy of the request without the mark, with a trace. It copies the header,
// because another attempt may be reading it.
func unmarked(r *http.Request, trace *httptrace.ClientTrace) *http.Request {
	r = r.WithContext(httptrace.WithClientTrace(r.Context(), trace))
	r.Header = maps.Clone(r.Header)
	delete(r.Header, idempotencyKey)
	return r
}

// closedUnused reports whether an error looks as if the server had closed a kept connection before
// it read the request that was sent then.
func closedUnused(r *http.Request, err error, began time.Time) bool {
	if r.Context().Err() != nil || time.Since(began) > replayWithin {
		return false
	}
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) ||
		errors.Is(err, net.ErrClosed) || // the write that follows, once net/http has closed its side
		err.Error() == saysClosedIdle || isCleanGoAway(err)
}
