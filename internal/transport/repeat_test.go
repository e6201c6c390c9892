package transport

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// cuttingDialer dials connections that a test can end as a server's kernel does: the client does
// not notice before its next write fails.
type cuttingDialer struct {
	mu    sync.Mutex
	dials int
	ended int // connections that end at their next write
}

type cutConn struct {
	net.Conn
	dialer *cuttingDialer
	n      int // number of the connection
}

func (d *cuttingDialer) dial(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.dials++
	return &cutConn{c, d, d.dials}, nil
}

// arm makes all connections made so far end at their next write.
func (d *cuttingDialer) arm() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ended = d.dials
}

func (c *cutConn) Write(p []byte) (int, error) {
	c.dialer.mu.Lock()
	cut := c.n <= c.dialer.ended
	c.dialer.mu.Unlock()
	if cut && c.Conn.Close() == nil { // the write succeeds although the server has gone
		return len(p), nil
	}
	if cut {
		return 0, syscall.EPIPE
	}
	return c.Conn.Write(p)
}

func (c *cutConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if err != nil {
		return n, io.EOF
	}
	return n, nil
}

// TestStaleConnection ends a kept connection after a request has been written to it, over both
// protocols.
func TestStaleConnection(t *testing.T) {
	f := func(name, method string, marked bool, body io.Reader, again bool, adjust ...func(*httptest.Server)) {
		t.Helper()
		s := newSecureServer(t, adjust...)
		d := &cuttingDialer{}
		c := s.client(t, d.dial)
		for range 2 { // over HTTP/1.1 the first request uses the connection of the handshake
			if _, err := post(t.Context(), c, s.URL); err != nil {
				t.Fatal(name, err)
			}
		}
		d.arm()
		r, err := http.NewRequestWithContext(t.Context(), method, s.URL, body)
		if err != nil {
			t.Fatal(err)
		}
		if marked {
			r.Header[idempotencyKey] = nil
		}
		res, err := c.RoundTrip(r)
		if (err == nil) != again {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil {
			_, _ = io.Copy(io.Discard, res.Body)
			res.Body.Close()
		}
		if _, kept := r.Header[idempotencyKey]; kept != marked {
			t.Errorf("%s: the caller's header was changed", name)
		}
	}
	text := func() io.Reader { return strings.NewReader("{}") }
	stream := func() io.Reader { return io.MultiReader(text()) }
	f("h2 POST", http.MethodPost, true, text(), true)
	f("h2 large POST", http.MethodPost, true, bytes.NewReader(make([]byte, 200<<10)), true)
	f("h2 GET", http.MethodGet, false, nil, true)
	f("h2 POST that must not be repeated", http.MethodPost, false, text(), false)
	f("h2 POST that cannot be repeated", http.MethodPost, true, stream(), false)
	f("HTTP/1.1 POST", http.MethodPost, true, text(), true, onlyHTTP1)
	f("HTTP/1.1 large POST", http.MethodPost, true, bytes.NewReader(make([]byte, 200<<10)), true, onlyHTTP1)
	f("HTTP/1.1 GET", http.MethodGet, false, nil, true, onlyHTTP1)
	// These requests use new connections anyway.
	f("HTTP/1.1 POST that must not be repeated", http.MethodPost, false, text(), true, onlyHTTP1)
	f("HTTP/1.1 POST that cannot be repeated", http.MethodPost, true, stream(), true, onlyHTTP1)
}

// TestStaleConnectionOnce checks that a server that closes every reused connection receives a
// request at most twice.
func TestStaleConnectionOnce(t *testing.T) {
	var mu sync.Mutex
	posts := 0
	s := newSecureServer(t, onlyHTTP1, func(s *httptest.Server) {
		next := s.Config.Handler
		s.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/deadly" {
				mu.Lock()
				posts++
				mu.Unlock()
				panic(http.ErrAbortHandler)
			}
			next.ServeHTTP(w, r)
		})
	})
	c := s.client(t, nil)
	open := openStreams(t, c, s.URL, 4) // several connections become idle
	open.cancel()
	open.done.Wait()
	var warm sync.WaitGroup
	for range 4 {
		warm.Go(func() { _, _ = post(t.Context(), c, s.URL) })
	}
	warm.Wait()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL+"/deadly", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	r.Header[idempotencyKey] = nil
	if _, err := c.RoundTrip(r); err == nil {
		t.Error("no error")
	}
	mu.Lock()
	defer mu.Unlock()
	if posts != 2 {
		t.Errorf("%d posts", posts)
	}
}

// TestStaleSpare checks a connection that was opened ahead of requests and then closed by the
// server.
func TestStaleSpare(t *testing.T) {
	s := newSecureServer(t, onlyHTTP1)
	d := &cuttingDialer{}
	c := s.client(t, d.dial)
	if err := c.Warm(); err != nil || c.spare.Load() == nil {
		t.Fatal(err)
	}
	d.arm()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL, strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	r.Header[idempotencyKey] = nil
	res, err := c.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
}
