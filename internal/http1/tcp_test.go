package http1_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/http1"
)

// serveTCP serves on a loopback address until the test ends.
func (e engine) serveTCP(t *testing.T, h http.Handler) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := e.server(h, func(text string) { t.Log(text) })
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		_ = s.Close()
		<-served
	})
	return l.Addr().String()
}

func dialTCP(t *testing.T, address string) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c.(*net.TCPConn)
}

// TestAttacksOverTCP runs the attacks over real connections, which are read, written and closed in
// other ways than those in memory.
func TestAttacksOverTCP(t *testing.T) {
	e := ours()
	var current atomic.Pointer[recorder]
	at := e.serveTCP(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { current.Load().ServeHTTP(w, r) }))
	for _, a := range attacks() {
		if len(a.in) > 64<<10 {
			continue // the server closes before all has been sent: how much of its response arrives depends on the kernel
		}
		var rec recorder
		current.Store(&rec)
		c := dialTCP(t, at)
		_, _ = io.WriteString(c, a.in+canary)
		_ = c.CloseWrite()
		out, err := io.ReadAll(c)
		if err != nil {
			t.Errorf("%q: the response was lost: %v", a.in, err)
		}
		c.Close()
		x := exchange{seen: rec.all()}
		x.answers, x.trailing = parseResponses(out, x.seen)
		a.check(t, e, x)
	}
}

// TestResponsesReachClientsThatStillSend: a reset must not destroy a response that is sent before
// the end of its request.
func TestResponsesReachClientsThatStillSend(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		at := e.serveTCP(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "too much", http.StatusRequestEntityTooLarge)
		}))
		for range 5 {
			const size = 700 << 10
			c := dialTCP(t, at)
			_, _ = io.WriteString(c, post(fmt.Sprintf("Content-Length: %d", size), ""))
			_, _ = io.WriteString(c, strings.Repeat("a", size))
			out, err := io.ReadAll(c)
			if all, _ := parseResponses(out, nil); err != nil || len(all) != 1 || all[0].status != 413 {
				t.Errorf("got %q, %v", out, err)
			}
		}
	})
}

// TestWriteTimeout limits how long a client may accept nothing, and not the time of the whole
// response.
func TestWriteTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const size = 10 << 20
		wrote := make(chan int, 1)
		s := ours().server(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			n := 0
			for n < size {
				m, err := w.Write(make([]byte, 10<<10))
				if n += m; err != nil {
					break
				}
			}
			wrote <- n
		}), func(text string) { t.Error(text) }).(*http1.Server)
		s.WriteTimeout = 5 * time.Second
		l := newMemListener()
		go s.Serve(l)
		defer s.Close()

		slow := l.dial(t)
		slow.in.capacity = 64 << 10
		slow.send(get("Host: h"))
		begin := time.Now()
		for got := 0; got < size; {
			n, err := io.ReadFull(slow, make([]byte, 64<<10))
			if got += n; err != nil {
				t.Fatalf("after %d bytes: %v", got, err)
			}
			time.Sleep(time.Second)
		}
		if n := <-wrote; n < size || time.Since(begin) < time.Minute {
			t.Errorf("%d bytes in %v", n, time.Since(begin))
		}

		still := l.dial(t)
		still.in.capacity = 64 << 10
		still.send(get("Host: h"))
		begin = time.Now()
		if n := <-wrote; n >= size || time.Since(begin) > 6*time.Second {
			t.Errorf("%d bytes in %v to a client that accepts nothing", n, time.Since(begin))
		}
		time.Sleep(time.Second)
		if !still.peerClosed() {
			t.Error("the connection is still open")
		}
	})
}
