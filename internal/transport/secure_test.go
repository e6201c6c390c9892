package transport

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// secureServer is an https server that counts its connections.
type secureServer struct {
	*httptest.Server
	accepted atomic.Int64 // accepted so far
	open     atomic.Int64 // open now
}

// newSecureServer starts a secureServer. A request for /stream gets one event and then nothing; any
// other request gets a complete response.
func newSecureServer(t *testing.T, adjust ...func(*httptest.Server)) *secureServer {
	t.Helper()
	s := &secureServer{}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			return
		}
		fmt.Fprintf(w, "data: %s\n", r.Proto)
		if r.URL.Path == "/stream" {
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}
	}))
	s.EnableHTTP2 = true
	s.Config.HTTP2 = &http.HTTP2Config{}
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			s.accepted.Add(1)
			s.open.Add(1)
		case http.StateClosed, http.StateHijacked:
			s.open.Add(-1)
		}
	}
	for _, a := range adjust {
		a(s.Server)
	}
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

func streamsPerConnection(n int) func(*httptest.Server) {
	return func(s *httptest.Server) { s.Config.HTTP2.MaxConcurrentStreams = n }
}

func onlyHTTP1(s *httptest.Server) { s.EnableHTTP2 = false }

// client returns a transport to the server. dial may be nil.
func (s *secureServer) client(t *testing.T, dial func(context.Context, string, string) (net.Conn, error)) *secureTransport {
	t.Helper()
	base, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	plain := NewNetTransport(5 * time.Second)
	plain.Proxy = nil
	plain.TLSClientConfig = s.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
	if dial != nil {
		plain.DialContext = dial
	}
	c := newSecureTransport(ctx, plain, base)
	t.Cleanup(func() { cancel(); c.CloseIdleConnections() })
	return c
}

// post sends a small request with a body and reads the complete response.
func post(ctx context.Context, rt http.RoundTripper, url string) (string, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader("{}"))
	if err != nil {
		return "", err
	}
	r.Header[idempotencyKey] = nil // as package proxy marks all but a few requests
	res, err := rt.RoundTrip(r)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return string(body), err
}

// openedStreams are streams that have received their first event.
type openedStreams struct {
	t      *testing.T
	cancel context.CancelFunc
	done   sync.WaitGroup
	ends   chan error // how each stream ended
}

// openStreams opens n streams at once and returns when each has received its first event.
func openStreams(t *testing.T, rt http.RoundTripper, url string, n int) *openedStreams {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	o := &openedStreams{t: t, cancel: cancel, ends: make(chan error, n)}
	t.Cleanup(func() { cancel(); o.done.Wait() })
	first := make(chan error, n)
	for range n {
		o.done.Go(func() {
			r, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/stream", strings.NewReader("{}"))
			if err != nil {
				first <- err
				return
			}
			res, err := rt.RoundTrip(r)
			if err != nil {
				first <- err
				return
			}
			defer res.Body.Close()
			body := bufio.NewReader(res.Body)
			_, err = body.ReadString('\n')
			first <- err
			_, err = io.Copy(io.Discard, body)
			o.ends <- err
		})
	}
	for i := range n {
		select {
		case err := <-first:
			if err != nil {
				t.Fatalf("stream: %v", err)
			}
		case <-time.After(30 * time.Second):
			t.Fatalf("%d of %d streams have had their first event", i, n)
		}
	}
	return o
}

func TestConnectionsAreReused(t *testing.T) {
	f := func(want string, adjust ...func(*httptest.Server)) {
		t.Helper()
		s := newSecureServer(t, adjust...)
		c := s.client(t, nil)
		for range 50 {
			if got, err := post(t.Context(), c, s.URL); err != nil || got != "data: "+want+"\n" {
				t.Fatalf("%q %v, want %s", got, err, want)
			}
		}
		// The connection on which a server chooses HTTP/1.1 carries a single request.
		if n := s.accepted.Load(); n > 2 || want == "HTTP/2.0" && n != 1 {
			t.Errorf("%s: 50 sequential requests took %d connections", want, n)
		}
	}
	f("HTTP/2.0")
	f("HTTP/1.1", onlyHTTP1)
}

// TestStreamsBeyondPeersLimit checks that streams beyond the peer's limit get new connections, and
// not many more than they need.
func TestStreamsBeyondPeersLimit(t *testing.T) {
	f := func(warm bool) {
		t.Helper()
		const streams, each = 150, 10
		s := newSecureServer(t, streamsPerConnection(each))
		c := s.client(t, nil)
		if warm {
			if err := c.Warm(); err != nil {
				t.Fatal(err)
			}
		}
		openStreams(t, c, s.URL, streams)
		if n := s.accepted.Load(); n < streams/each || n > 3*streams/each {
			t.Errorf("warm %t: %d streams, at most %d per connection, took %d connections", warm, streams, each, n)
		}
	}
	f(false)
	f(true)
}

func TestStreamsOverHTTP1(t *testing.T) {
	s := newSecureServer(t, onlyHTTP1)
	openStreams(t, s.client(t, nil), s.URL, 30)
	if n := s.accepted.Load(); n < 30 {
		t.Errorf("%d connections", n)
	}
}

func TestWarmConnectionServesFirstRequest(t *testing.T) {
	f := func(want string, adjust ...func(*httptest.Server)) {
		t.Helper()
		s := newSecureServer(t, adjust...)
		var dials atomic.Int64
		c := s.client(t, func(ctx context.Context, network, address string) (net.Conn, error) {
			dials.Add(1)
			return (&net.Dialer{}).DialContext(ctx, network, address)
		})
		for range 2 { // the second call has nothing to do
			if err := c.Warm(); err != nil {
				t.Fatal(err)
			}
		}
		got, err := post(t.Context(), c, s.URL)
		if err != nil || got != "data: "+want+"\n" || dials.Load() != 1 {
			t.Errorf("%q %v after %d dials, want %s after 1", got, err, dials.Load(), want)
		}
	}
	f("HTTP/2.0")
	f("HTTP/1.1", onlyHTTP1)
}

func TestIdleConnectionsAreClosed(t *testing.T) {
	s := newSecureServer(t, streamsPerConnection(10))
	c := s.client(t, nil)
	c.net.IdleConnTimeout = 50 * time.Millisecond
	o := openStreams(t, c, s.URL, 40)
	o.cancel()
	o.done.Wait()
	waitFor(t, "idle connections are closed", func() bool { return s.open.Load() == 0 && len(c.h2.conns()) == 0 })
	if got, err := post(t.Context(), c, s.URL); err != nil || got == "" {
		t.Errorf("the next request: %q %v", got, err)
	}
}

func TestDialError(t *testing.T) {
	s := newSecureServer(t)
	refused := errors.New("connection refused")
	c := s.client(t, func(context.Context, string, string) (net.Conn, error) { return nil, refused })
	if err := c.Warm(); !errors.Is(err, refused) {
		t.Errorf("warm: %v", err)
	}
	var all sync.WaitGroup
	for range 150 { // more than one connection may carry
		all.Go(func() {
			if _, err := post(t.Context(), c, s.URL); !errors.Is(err, refused) {
				t.Errorf("request: %v", err)
			}
		})
	}
	all.Wait()
}

// TestWaitingEndsWithRequest checks that a request whose context ends does not wait for a
// connection that is being dialed, and does not occupy capacity.
func TestWaitingEndsWithRequest(t *testing.T) {
	s := newSecureServer(t, streamsPerConnection(1))
	mayDial := make(chan struct{})
	c := s.client(t, func(ctx context.Context, network, address string) (net.Conn, error) {
		<-mayDial
		return (&net.Dialer{}).DialContext(ctx, network, address)
	})
	gone := errors.New("client left")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(gone)
	if _, err := post(ctx, c, s.URL); !errors.Is(err, gone) {
		t.Errorf("%v", err)
	}
	close(mayDial)
	if got, err := post(t.Context(), c, s.URL); err != nil || got == "" {
		t.Errorf("the next request: %q %v", got, err)
	}
}

// TestGoAway checks that requests move to another connection when the server closes one in an
// orderly way.
func TestGoAway(t *testing.T) {
	var asked atomic.Int64
	s := newSecureServer(t, func(s *httptest.Server) {
		inner := s.Config.Handler
		s.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if asked.Add(1)%5 == 0 {
				w.Header().Set("Connection", "close") // over HTTP/2, this sends a GOAWAY
			}
			inner.ServeHTTP(w, r)
		})
	})
	c := s.client(t, nil)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 25 {
				if got, err := post(t.Context(), c, s.URL); err != nil || got == "" {
					t.Errorf("%q %v", got, err)
				}
			}
		})
	}
	all.Wait()
	if n := s.accepted.Load(); n < 10 {
		t.Errorf("only %d connections: the server did not go away", n)
	}
}

func waitFor(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("never: " + what)
		}
	}
}
