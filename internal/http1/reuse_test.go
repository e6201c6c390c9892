package http1_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/http1"
)

// scripted returns a dialer. Each function serves the other end of one connection.
func scripted(serve ...func(c *memConn, from *bufio.Reader)) (d dialer, dials func() int) {
	n := 0
	return func(context.Context, string, string) (net.Conn, error) {
		client, end := memPair()
		f := serve[min(n, len(serve)-1)]
		n++
		go func() {
			defer end.Close()
			f(end, bufio.NewReader(end))
		}()
		return client, nil
	}, func() int { return n }
}

// readRequest reads a whole request. It returns false if none arrived.
func readRequest(from *bufio.Reader) bool {
	r, err := http.ReadRequest(from)
	if err == nil {
		_, err = io.Copy(io.Discard, r.Body)
	}
	return err == nil
}

// respondToAll responds to every request.
func respondToAll(c *memConn, from *bufio.Reader) {
	for readRequest(from) {
		c.send(calm)
	}
}

// TestReplay: the server ends a kept connection when the second request has arrived. Whether it
// processed that request is not known.
func TestReplay(t *testing.T) {
	f := func(method string, body io.Reader, cut string, want string) {
		t.Helper()
		bubble(t, func(t *testing.T, e engine) {
			posts := 0
			d, dials := scripted(func(c *memConn, from *bufio.Reader) {
				readRequest(from)
				c.send(calm)
				readRequest(from)
				c.send(cut)
				posts++
			}, func(c *memConn, from *bufio.Reader) {
				for readRequest(from) {
					posts++
					c.send(calm)
				}
			})
			tr := e.transport(d)
			if text, _, err := fetched(tr, request(t, "GET", "http://h/", nil)); text != "200 [calm]" {
				t.Fatal(text, err)
			}
			synctest.Wait()
			r := request(t, strings.TrimPrefix(method, "marked "), "http://h/", body)
			if strings.HasPrefix(method, "marked ") {
				r.Header["Idempotency-Key"] = nil
			}
			text, _, err := fetched(tr, r)
			if again := want != "error"; text != want || again != (dials() == 2) {
				t.Errorf("%s, %q: %s %v, %d connections", method, cut, text, err, dials())
			}
			tr.CloseIdleConnections()
		})
	}
	f("GET", nil, "", "200 [calm]")
	f("OPTIONS", nil, "", "200 [calm]")
	f("GET", nil, "H", "error") // of a response
	f("GET", nil, "HTTP/1.1 100 Continue\r\n\r\n", "error")
	f("GET", strings.NewReader("abc"), "", "200 [calm]")
	f("GET", io.MultiReader(strings.NewReader("abc")), "", "error") // a body that cannot be obtained again
	f("POST", strings.NewReader("abc"), "", "error")
	f("POST", bytes.NewReader(make([]byte, 64<<10)), "", "error")
	f("POST", nil, "", "error")
	f("marked POST", strings.NewReader("abc"), "", "200 [calm]")
	f("marked POST", bytes.NewReader(make([]byte, 64<<10)), "", "200 [calm]")
	f("marked POST", nil, "", "200 [calm]")
	f("marked POST", strings.NewReader("abc"), "HTTP/1.1 1", "error")
	f("marked POST", io.MultiReader(strings.NewReader("abc")), "", "error")
	f("DELETE", nil, "", "error")
}

// TestFreshUnlessRepeatable checks that a request that cannot be repeated does not use a kept
// connection.
func TestFreshUnlessRepeatable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, dials := scripted(respondToAll)
		tr := &http1.Transport{DialContext: d, MaxIdleConns: 8, FreshUnlessRepeatable: true}
		f := func(method string, body io.Reader, marked bool, want int) {
			t.Helper()
			r := request(t, method, "http://h/", body)
			if marked {
				r.Header["Idempotency-Key"] = nil
			}
			if text, _, err := fetched(tr, r); text != "200 [calm]" || dials() != want {
				t.Errorf("%s: %s, %v, %d connections", method, text, err, dials())
			}
		}
		f("GET", nil, false, 1)
		f("GET", nil, false, 1)
		f("POST", strings.NewReader("abc"), true, 1)
		f("POST", strings.NewReader("abc"), false, 2)
		f("POST", nil, false, 3)
		f("POST", io.MultiReader(strings.NewReader("abc")), true, 4)
		f("POST", nil, true, 4)
		tr.CloseIdleConnections()
	})
}

// TestUnusableIdleConnections: connections that have ended or received bytes while idle are not
// used. The test uses real connections, because the state is read from the kernel.
func TestUnusableIdleConnections(t *testing.T) {
	f := func(after func(net.Conn)) {
		t.Helper()
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		told := make(chan struct{}) // closed when the first response has been read
		done := make(chan struct{}) // closed when the event after it has happened
		go func() {
			for first := true; ; first = false {
				c, err := l.Accept()
				if err != nil {
					return
				}
				defer c.Close()
				from := bufio.NewReader(c)
				readRequest(from)
				_, _ = io.WriteString(c, calm)
				if first {
					<-told
					after(c)
					close(done)
				}
			}
		}()
		dials := 0
		tr := ours().transport(func(ctx context.Context, network, address string) (net.Conn, error) {
			dials++
			return new(net.Dialer).DialContext(ctx, network, address)
		})
		defer tr.CloseIdleConnections()
		at := "http://" + l.Addr().String() + "/"
		for i := range 2 {
			// A POST is not sent again, so the state of the connection must be detected before it
			// is used.
			text, _, err := fetched(tr, request(t, "POST", at, strings.NewReader("abc")))
			if text != "200 [calm]" {
				t.Errorf("request %d: %s, %v", i, text, err)
			}
			if i == 0 {
				close(told)
				<-done
			}
		}
		if dials != 2 {
			t.Errorf("%d connections", dials)
		}
	}
	f(func(c net.Conn) { _, _ = io.WriteString(c, hidden) })
	f(func(c net.Conn) { _, _ = io.WriteString(c, "x") })
	f(func(c net.Conn) { c.Close() })
	f(func(c net.Conn) { _ = c.(*net.TCPConn).CloseWrite() })
	f(func(c net.Conn) { _ = c.(*net.TCPConn).SetLinger(0); c.Close() })
}

// TestClosingAResponse before its end closes the connection: the remainder must not be taken for
// the next response.
func TestClosingAResponse(t *testing.T) {
	bubble(t, func(t *testing.T, e engine) {
		for _, raw := range []string{
			ok("Content-Length: 100", "abc"), ok("Content-Length: 35", hidden), ok("Transfer-Encoding: chunked", "3\r\nabc\r\n"), ok("X: y", hidden),
		} {
			u := &upstream{responses: []string{raw}}
			tr := e.transport(u.dial)
			res, err := tr.RoundTrip(request(t, "GET", "http://h/", nil))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(res.Body, make([]byte, 3)); err != nil {
				t.Error(err)
			}
			res.Body.Close()
			if n, err := res.Body.Read(make([]byte, 3)); n > 0 || err == nil || errors.Is(err, io.EOF) {
				t.Errorf("%q: a read after Close: %d, %v", raw, n, err)
			}
			if err := res.Body.Close(); err != nil {
				t.Errorf("a second Close: %v", err)
			}
			if text, _, err := fetched(tr, request(t, "GET", "http://h/", nil)); text != "200 [calm]" || u.dialled() != 2 {
				t.Errorf("%q: then %s, %v over connection %d", raw, text, err, u.dialled())
			}
			tr.CloseIdleConnections()
			u.over.Wait()
		}
	})
}

// TestIdleConnectionsAreBounded checks the bounds of their number and time.
func TestIdleConnectionsAreBounded(t *testing.T) {
	bubble(t, func(t *testing.T, e engine) {
		u := &upstream{}
		tr := e.transport(u.dial)
		if inner, ok := tr.(*http.Transport); ok {
			inner.MaxIdleConnsPerHost = inner.MaxIdleConns
		}
		var open []*http.Response
		for range 6 {
			res, err := tr.RoundTrip(request(t, "GET", "http://h/", nil))
			if err != nil {
				t.Fatal(err)
			}
			open = append(open, res)
		}
		for _, res := range open {
			_, _ = io.Copy(io.Discard, res.Body)
			res.Body.Close()
		}
		standing := func() (n int) {
			synctest.Wait()
			for _, c := range u.conns {
				if !c.(*memConn).peerClosed() {
					n++
				}
			}
			return n
		}
		if n := standing(); n != 4 {
			t.Errorf("%d connections are kept", n)
		}
		time.Sleep(idleConnTimeout / 2)
		fetched(tr, request(t, "GET", "http://h/", nil))
		time.Sleep(idleConnTimeout/2 + time.Second)
		if n := standing(); n != 1 {
			t.Errorf("%d connections are kept after IdleConnTimeout", n)
		}
		time.Sleep(idleConnTimeout)
		if n := standing(); n != 0 {
			t.Errorf("%d connections are kept in the end", n)
		}
	})
}

// TestCancelling ends a request in any phase, and its connection with it.
func TestCancelling(t *testing.T) {
	errWhy := errors.New("why")
	hang := func(c *memConn, _ *bufio.Reader) { _, _ = io.Copy(io.Discard, c) }
	f := func(name string, serve func(*memConn, *bufio.Reader), body func() io.Reader, room int) {
		bubble(t, func(t *testing.T, e engine) {
			var ends []*memConn
			ctx, cancel := context.WithCancelCause(t.Context())
			tr := e.transport(func(ctx context.Context, _, _ string) (net.Conn, error) {
				if serve == nil {
					select {
					case <-ctx.Done():
						return nil, ctx.Err()
					case <-time.After(time.Hour): // net/http continues to dial for a later request
						return nil, errors.New("no server")
					}
				}
				client, end := memPair()
				client.out.capacity = room
				ends = append(ends, end)
				go func() {
					defer end.CloseWrite()
					serve(end, bufio.NewReader(end))
				}()
				return client, nil
			})
			time.AfterFunc(time.Minute, func() { cancel(errWhy) })
			r := request(t, "POST", "http://h/", body()).WithContext(ctx)
			if p, ok := r.Body.(*pending); ok {
				r.ContentLength = p.length
				if !e.strict {
					return // net/http waits for it
				}
			}
			begin := time.Now()
			_, _, err := fetched(tr, r)
			if took := time.Since(begin); took != time.Minute || !errors.Is(err, errWhy) && !errors.Is(err, context.Canceled) {
				t.Errorf("%s: ended after %v with %v", name, took, err)
			}
			if e.strict && !errors.Is(err, errWhy) {
				t.Errorf("%s: the error is not the cause: %v", name, err)
			}
			synctest.Wait()
			for _, end := range ends {
				if !end.peerClosed() {
					t.Errorf("%s: the connection is still open", name)
				}
				end.Close()
			}
			if _, err := tr.RoundTrip(request(t, "GET", "http://h/", nil).WithContext(ctx)); err == nil {
				t.Errorf("%s: a request whose context has ended was sent", name)
			}
			time.Sleep(2 * time.Hour)
			for _, end := range ends {
				end.Close()
			}
		})
	}
	saying := func(text string) func(*memConn, *bufio.Reader) {
		return func(c *memConn, from *bufio.Reader) {
			readRequest(from)
			c.send(text)
			hang(c, from)
		}
	}
	none := func() io.Reader { return nil }
	f("dialling", nil, none, 0)
	f("writing", func(c *memConn, _ *bufio.Reader) { time.Sleep(time.Hour) }, func() io.Reader { return bytes.NewReader(make([]byte, 1<<20)) }, 4<<10)
	f("writing the header", func(c *memConn, _ *bufio.Reader) { time.Sleep(time.Hour) }, none, 10)
	f("waiting for a body", hang, func() io.Reader { return newPending("abc", -1) }, 0)
	f("waiting for a short body", hang, func() io.Reader { return newPending("abc", 5) }, 0)
	f("waiting for a long body", hang, func() io.Reader { return newPending("abc", 1<<20) }, 0)
	f("waiting", saying(""), func() io.Reader { return strings.NewReader("abc") }, 0)
	f("in the header", saying("HTTP/1.1 200 OK\r\nX:"), none, 0)
	f("after 100", saying("HTTP/1.1 100 Continue\r\n\r\n"), none, 0)
	f("in the body", saying(ok("Content-Length: 10", "abc")), none, 0)
	f("in a chunk", saying(ok("Transfer-Encoding: chunked", "3\r\na")), none, 0)
	f("in the trailers", saying(ok("Transfer-Encoding: chunked", "0\r\nX")), none, 0)
	f("before the end", saying(ok("X: y", "abc")), none, 0)
}

// pending is a body that yields no more bytes until it is closed.
type pending struct {
	io.Reader
	length int64 // declared
	closed chan struct{}
	once   sync.Once
}

func newPending(text string, length int64) *pending {
	return &pending{Reader: strings.NewReader(text), length: length, closed: make(chan struct{})}
}

func (p *pending) Read(b []byte) (int, error) {
	n, err := p.Reader.Read(b)
	if n == 0 {
		<-p.closed
		err = io.ErrClosedPipe
	}
	return n, err
}

func (p *pending) Close() error { p.once.Do(func() { close(p.closed) }); return nil }

// TestNothingLeaks checks goroutines and descriptors with real connections.
func TestNothingLeaks(t *testing.T) {
	descriptors := func() int {
		all, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Skip("descriptors cannot be counted on this platform")
		}
		return len(all)
	}
	goroutines, files := runtime.NumGoroutine(), descriptors()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	e := ours()
	s := e.server(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		switch r.URL.Path {
		case "/panic":
			panic(http.ErrAbortHandler)
		case "/hang":
			<-r.Context().Done()
		}
		hello(w, r)
		w.(http.Flusher).Flush()
	}), func(string) {})
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	tr := e.transport(new(net.Dialer).DialContext)
	base := url.URL{Scheme: "http", Host: l.Addr().String()}
	for i := range 100 {
		base.Path = []string{"/", "/panic", "/hang", "/"}[i%4]
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		if i%4 != 2 {
			ctx = t.Context()
		}
		r := request(t, "POST", base.String(), strings.NewReader(strings.Repeat("a", 500*i))).WithContext(ctx)
		if res, err := tr.RoundTrip(r); err == nil {
			if i%4 == 0 {
				_, _ = io.Copy(io.Discard, res.Body)
			}
			res.Body.Close()
		}
		cancel()
	}
	tr.CloseIdleConnections()
	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	<-served
	for deadline := time.Now().Add(30 * time.Second); runtime.NumGoroutine() > goroutines || descriptors() > files; {
		if time.Now().After(deadline) {
			var stacks [1 << 16]byte
			t.Fatalf("%d goroutines of %d, %d descriptors of %d\n%s", runtime.NumGoroutine(), goroutines, descriptors(), files,
				stacks[:runtime.Stack(stacks[:], true)])
		}
		runtime.Gosched()
	}
}
