package http1_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// bubble runs a test with both engines in a synctest bubble. It also fails if goroutines remain.
func bubble(t *testing.T, test func(*testing.T, engine)) {
	eachEngine(t, func(t *testing.T, e engine) {
		synctest.Test(t, func(t *testing.T) { test(t, e) })
	})
}

// endsAfter waits for the server to close a connection. It returns how long that took and what the
// server sent.
func endsAfter(t *testing.T, c *memConn, most time.Duration) (took time.Duration, out string) {
	t.Helper()
	begin := time.Now()
	_ = c.SetReadDeadline(begin.Add(most))
	b, err := io.ReadAll(c)
	if err != nil {
		t.Errorf("after %v the connection is still open", most)
	}
	return time.Since(begin), string(b)
}

// drip sends one byte after the other until the server closes the connection.
func drip(c *memConn, text string, every time.Duration) {
	for i := range len(text) {
		time.Sleep(every)
		if _, err := c.Write([]byte{text[i]}); err != nil {
			return
		}
	}
}

func hello(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") }

// response reads one response with a Content-Length.
func (c *memConn) response(t *testing.T) string {
	t.Helper()
	var out []byte
	for b := make([]byte, 1); ; {
		if _, err := c.Read(b); err != nil {
			t.Fatalf("after %q: %v", out, err)
		}
		if out = append(out, b[0]); strings.HasSuffix(string(out), "\r\n\r\nhello") {
			return string(out)
		}
	}
}

func TestSlowHeaders(t *testing.T) {
	bubble(t, func(t *testing.T, e engine) {
		const grace = 600 * time.Millisecond // for which the server waits for the client to close
		l := e.start(t, hello)

		if took, _ := endsAfter(t, l.dial(t), time.Minute); took < headerTimeout || took > headerTimeout+grace {
			t.Errorf("the connection of a silent client ended after %v", took)
		}
		slow := l.dial(t)
		go drip(slow, get("Host: h\r\nX: "+strings.Repeat("a", 1000)), headerTimeout-time.Second)
		if took, out := endsAfter(t, slow, time.Minute); took > headerTimeout+grace || strings.Contains(out, "hello") {
			t.Errorf("the connection of a slow first request ended after %v with %q", took, out)
		}
		again := l.dial(t)
		again.send(get("Host: h"))
		again.response(t)
		time.Sleep(idleTimeout / 2)
		go drip(again, get("Host: h\r\nX: "+strings.Repeat("a", 1000)), headerTimeout-time.Second)
		most := 2*headerTimeout + grace
		if !e.strict {
			most += 4 * time.Second // net/http starts its timer at the fifth byte
		}
		if took, out := endsAfter(t, again, time.Minute); took > most || strings.Contains(out, "hello") {
			t.Errorf("the connection of a slow second request ended after %v with %q", took, out)
		}
		inTime := l.dial(t)
		go drip(inTime, canary, headerTimeout/2/time.Duration(len(canary)))
		inTime.response(t)
		time.Sleep(time.Minute) // until all timers have stopped
	})
}

func TestIdleConnectionsAreClosed(t *testing.T) {
	bubble(t, func(t *testing.T, e engine) {
		l := e.start(t, hello)
		c := l.dial(t)
		for range 3 {
			c.send(get("Host: h"))
			c.response(t)
			time.Sleep(idleTimeout - time.Second)
		}
		c.send(get("Host: h"))
		c.response(t)
		if took, out := endsAfter(t, c, time.Hour); took != idleTimeout || out != "" {
			t.Errorf("ended after %v with %q", took, out)
		}
	})
}

// TestLongRequests: neither timeout of the server applies to bodies and responses.
func TestLongRequests(t *testing.T) {
	bubble(t, func(t *testing.T, e engine) {
		l := e.start(t, func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			time.Sleep(time.Hour)
			if r.Context().Err() != nil || err != nil || len(body) != 100 {
				t.Errorf("after %d bytes: %v, %v", len(body), err, r.Context().Err())
			}
			hello(w, r)
		})
		c := l.dial(t)
		c.send(post("Content-Length: 100", ""))
		go drip(c, strings.Repeat("a", 100), time.Minute)
		c.response(t)
		c.send(post("Content-Length: 100", strings.Repeat("a", 100)))
		c.response(t)
	})
}

// TestDisconnectCancels: the context of a request ends when its client has left.
func TestDisconnectCancels(t *testing.T) {
	bubble(t, func(t *testing.T, e engine) {
		f := func(in string) {
			t.Helper()
			begun, ended := make(chan struct{}), make(chan error, 1)
			l := e.start(t, func(_ http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				close(begun)
				select {
				case <-r.Context().Done():
					ended <- r.Context().Err()
				case <-time.After(time.Hour):
					ended <- errors.New("the context of the handler did not end")
				}
			})
			c := l.dial(t)
			c.send(in)
			<-begun
			time.Sleep(time.Minute)
			left := time.Now()
			c.Close()
			if err := <-ended; !errors.Is(err, context.Canceled) || time.Since(left) > time.Second {
				t.Errorf("%q: after %v: %v", in, time.Since(left), err)
			}
		}
		f(get("Host: h"))
		f(post("Content-Length: 3", "abc"))
		f(chunks("3\r\nabc\r\n0\r\n\r\n"))
		f(post("Content-Length: 0", ""))
		f("GET /a HTTP/1.0\r\n\r\n")
	})
}

// TestPipelinedBytesAreKept: watching a waiting client takes no byte from its next request.
func TestPipelinedBytesAreKept(t *testing.T) {
	bubble(t, func(t *testing.T, e engine) {
		var got []string
		l := e.start(t, func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			time.Sleep(time.Minute)
			got = append(got, r.Method+r.URL.Path+string(body))
			hello(w, r)
		})
		c := l.dial(t)
		for range 3 {
			c.send(post("Content-Length: 3", "abc"))
			time.Sleep(time.Second) // while the first is served
		}
		for range 3 {
			c.response(t)
		}
		if fmt.Sprint(got) != "[POST/aabc POST/aabc POST/aabc]" {
			t.Error(got)
		}
	})
}

// TestShutdown closes idle connections at once, and waits for active and for new ones.
func TestShutdown(t *testing.T) {
	bubble(t, func(t *testing.T, e engine) {
		l := newMemListener()
		s := e.server(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/slow" {
				time.Sleep(20 * time.Second)
			}
			hello(w, r)
		}), func(text string) { t.Error(text) })
		served := make(chan error, 1)
		go func() { served <- s.Serve(l) }()
		idle, active, fresh := l.dial(t), l.dial(t), l.dial(t)
		idle.send(get("Host: h"))
		idle.response(t)
		active.send("GET /slow HTTP/1.1\r\nHost: h\r\n\r\n")
		synctest.Wait()

		begin, done := time.Now(), make(chan error, 1)
		go func() { done <- s.Shutdown(context.Background()) }()
		if took, out := endsAfter(t, idle, time.Minute); took > time.Second || out != "" {
			t.Errorf("the idle connection ended after %v with %q", took, out)
		}
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("Serve returned %v", err)
		}
		if _, err := l.connect(t.Context()); err == nil {
			t.Error("connections are still accepted")
		}
		if e.strict { // a request that was on its way to a new connection is served
			time.Sleep(time.Second)
			fresh.send(get("Host: h"))
			fresh.response(t)
		}
		if out := active.response(t); !strings.Contains(out, "Connection: close") {
			t.Errorf("no Connection: close on the active connection: %q", out)
		}
		if took, _ := endsAfter(t, active, time.Minute); took > time.Second {
			t.Errorf("the active connection stayed open for %v", took)
		}
		if err := <-done; err != nil || time.Since(begin) < 20*time.Second || time.Since(begin) > 25*time.Second {
			t.Errorf("after %v: %v", time.Since(begin), err)
		}
		if err := s.Serve(newMemListener()); !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("Serve after Shutdown: %v", err)
		}
	})
}

func TestCloseAfterShutdownTimeout(t *testing.T) {
	bubble(t, func(t *testing.T, e engine) {
		l, ended := newMemListener(), make(chan time.Time, 1)
		s := e.server(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			<-r.Context().Done()
			ended <- time.Now()
		}), func(text string) { t.Error(text) })
		go s.Serve(l)
		fresh, begun, active := l.dial(t), l.dial(t), l.dial(t)
		begun.send("GET /")
		active.send(get("Host: h"))
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := s.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Shutdown returned %v", err)
		}
		closed := time.Now()
		if err := s.Close(); err != nil {
			t.Errorf("Close returned %v", err)
		}
		for _, c := range []*memConn{fresh, begun, active} {
			if took, out := endsAfter(t, c, time.Minute); took > 0 || out != "" {
				t.Errorf("ended after %v with %q", took, out)
			}
		}
		if at := <-ended; at.Sub(closed) > time.Second {
			t.Errorf("the handler continued for %v", at.Sub(closed))
		}
	})
}

// TestReadDeadlines: a handler may limit the time of a body. It gets an error, the client gets a
// response, and the next request is not affected.
func TestReadDeadlines(t *testing.T) {
	bubble(t, func(t *testing.T, e engine) {
		l := e.start(t, func(w http.ResponseWriter, r *http.Request) {
			control := http.NewResponseController(w)
			_ = control.SetReadDeadline(time.Now().Add(5 * time.Second))
			body, err := io.ReadAll(r.Body)
			if slow := len(body) < 3; slow != (err != nil) {
				t.Errorf("after %d bytes: %v", len(body), err)
			}
			hello(w, r)
		})
		c := l.dial(t)
		for range 3 {
			c.send(post("Content-Length: 3", "abc"))
			c.response(t)
			time.Sleep(idleTimeout - time.Second)
		}
		c.send(post("Content-Length: 3", "a"))
		begin := time.Now()
		c.response(t)
		if took := time.Since(begin); took != 5*time.Second {
			t.Errorf("the response came after %v", took)
		}
		if took, out := endsAfter(t, c, time.Minute); took > 3*time.Second || out != "" {
			t.Errorf("ended after %v with %q", took, out)
		}
	})
}

// TestClientsThatDoNotRead: a handler may limit the time of a write.
func TestClientsThatDoNotRead(t *testing.T) {
	bubble(t, func(t *testing.T, e engine) {
		ended := make(chan error, 1)
		l := e.start(t, func(w http.ResponseWriter, _ *http.Request) {
			_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(5 * time.Second))
			for {
				if _, err := w.Write(make([]byte, 1<<10)); err != nil {
					ended <- err
					return
				}
			}
		})
		c := l.dial(t)
		c.in.capacity = 64 << 10
		c.send(get("Host: h"))
		begin := time.Now()
		if err := <-ended; time.Since(begin) != 5*time.Second {
			t.Errorf("after %v: %v", time.Since(begin), err)
		}
		time.Sleep(time.Second)
		if !c.peerClosed() {
			t.Error("the connection is still open")
		}
	})
}
