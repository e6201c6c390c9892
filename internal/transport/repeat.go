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

// repeatWithin is the time within which a kept connection must end for its request to be repeated.
// If the server had already closed the connection, a reset arrives within a round trip. If it ends
// the connection later, it has probably processed the request.
const repeatWithin = 10 * time.Second

// idempotencyKey, without a value, marks a request that may be repeated; see package http1.
const idempotencyKey = "Idempotency-Key"

// netTransport is net/http's pool of HTTP/1.1 connections, with one difference: if a marked request
// met a kept connection that the server had closed, it is repeated once, over a new connection. By
// itself net/http would either not repeat it or try every idle connection in turn, and each of
// these attempts might be billed.
type netTransport struct{ *http.Transport }

// RoundTrip implements http.RoundTripper.
func (t netTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	switch {
	case !canRepeat(r):
		return t.sendOnNewConn(r) // an idle connection may be closing at this moment
	case !isMarked(r):
		return t.Transport.RoundTrip(r)
	}
	return t.sendRepeatable(r, false, t.Transport.RoundTrip)
}

// sendRepeatable sends a request, and repeats it once over a new connection if it met a kept
// connection that the server had closed. kept is true if the connection certainly is a kept one;
// otherwise net/http reports that.
func (t netTransport) sendRepeatable(r *http.Request, kept bool, send func(*http.Request) (*http.Response, error)) (*http.Response, error) {
	var reused, responded atomic.Bool
	reused.Store(kept)
	began := time.Now()
	res, err := send(withoutMark(r, &httptrace.ClientTrace{
		GotConn:              func(c httptrace.GotConnInfo) { reused.Store(c.Reused || kept) },
		GotFirstResponseByte: func() { responded.Store(true) },
	}))
	if err == nil || !reused.Load() || responded.Load() || !isClosedUnused(r, err, began) {
		return res, err
	}
	again, ok := rewind(r)
	if !ok {
		return nil, err
	}
	return t.sendOnNewConn(again)
}

// sendOnNewConn sends a request over a new connection that is closed after it.
func (t netTransport) sendOnNewConn(r *http.Request) (*http.Response, error) {
	port := map[string]string{"http": "80", "https": "443"}[r.URL.Scheme]
	c, err := t.NewClientConn(r.Context(), r.URL.Scheme, net.JoinHostPort(r.URL.Hostname(), cmp.Or(r.URL.Port(), port)))
	if err == nil {
		err = c.Reserve()
	}
	if err != nil {
		closeBody(r)
		return nil, err
	}
	return sendAndClose(c, r)
}

// sendAndClose sends a request over a reserved HTTP/1.1 connection outside of any pool, and closes
// the connection when the response has been read. A response without a body ends before RoundTrip
// returns it, so the connection is not closed earlier than that.
func sendAndClose(c *http.ClientConn, r *http.Request) (*http.Response, error) {
	res, err := c.RoundTrip(r)
	if err != nil {
		c.Close()
		return nil, err
	}
	closeIfIdle := func(c *http.ClientConn) {
		if c.InFlight() == 0 {
			c.Close()
		}
	}
	c.SetStateHook(closeIfIdle)
	closeIfIdle(c)
	return res, nil
}

// mayRepeat reports whether a request may be repeated although the server may have received it.
func mayRepeat(r *http.Request) bool {
	_, marked := r.Header[idempotencyKey]
	return marked || r.Method == http.MethodGet || r.Method == http.MethodHead || r.Method == ""
}

// canRepeat reports whether a request may be repeated and its body can be sent again.
func canRepeat(r *http.Request) bool {
	return mayRepeat(r) && (r.Body == nil || r.Body == http.NoBody || r.GetBody != nil)
}

// isMarked reports whether a request may be repeated and net/http would not do so by itself.
func isMarked(r *http.Request) bool {
	value, marked := r.Header[idempotencyKey]
	return marked && len(value) == 0 && r.Method != http.MethodGet && r.Method != http.MethodHead
}

// withoutMark returns a copy of the request without the mark, and with a trace. It copies the
// header, because another attempt may be reading it.
func withoutMark(r *http.Request, trace *httptrace.ClientTrace) *http.Request {
	r = r.WithContext(httptrace.WithClientTrace(r.Context(), trace))
	r.Header = maps.Clone(r.Header)
	delete(r.Header, idempotencyKey)
	return r
}

// isClosedUnused reports whether an error looks as if the server had closed a kept connection
// before it read the request.
func isClosedUnused(r *http.Request, err error, began time.Time) bool {
	if r.Context().Err() != nil || time.Since(began) > repeatWithin {
		return false
	}
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) ||
		errors.Is(err, net.ErrClosed) || // the next write fails with it after net/http has closed its side
		err.Error() == textClosedIdle || isCleanGoAway(err)
}
