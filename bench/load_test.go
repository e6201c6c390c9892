package main

import (
	"context"
	"encoding/json"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestPacer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		p := &pacer{start: start, interval: time.Second}
		due := func(want time.Duration) {
			t.Helper()
			if at, err := p.await(t.Context()); err != nil || at.Sub(start) != want {
				t.Errorf("due at %v, %v; want %v", at.Sub(start), err, want)
			}
		}
		due(0)
		due(time.Second)
		time.Sleep(5 * time.Second) // a late request counts from the time at which it was due
		due(2 * time.Second)
		due(3 * time.Second)

		ended, stop := context.WithCancel(t.Context())
		stop()
		if _, err := (&pacer{start: start.Add(time.Hour), interval: time.Second}).await(ended); err == nil {
			t.Error("no error after the end")
		}
	})
}

func TestEventCounter(t *testing.T) {
	t.Parallel()
	const text = "event: a\ndata: 1\n\nevent: b\ndata: 2\n\n: comment\nevent: c\ndata: 3\n\n"
	for size := 1; size <= len(text); size++ {
		var c eventCounter
		n := 0
		for rest := text; rest != ""; {
			piece := rest[:min(size, len(rest))]
			rest = rest[len(piece):]
			n += c.count([]byte(piece)) + c.count(nil)
		}
		if n != 3 {
			t.Errorf("pieces of %d bytes: %d events", size, n)
		}
	}
}

func TestQuantile(t *testing.T) {
	t.Parallel()
	f := func(q float64, want int64, values ...int64) {
		t.Helper()
		if got := quantile(values, q); got != want {
			t.Errorf("quantile(%v, %v) = %d, want %d", values, q, got, want)
		}
	}
	f(.5, 0)
	f(.5, 7, 7)
	f(.99, 7, 7)
	f(.5, 2, 3, 1, 2)
	f(.5, 2, 4, 3, 2, 1)
	f(0, 1, 3, 2, 1)
	f(1, 3, 3, 2, 1)
	hundred := make([]int64, 100)
	for i := range hundred {
		hundred[i] = int64(100 - i)
	}
	f(.99, 99, hundred...)
	f(.5, 50, hundred...)
}

// TestNewBody checks the requests of each kind of work.
func TestNewBody(t *testing.T) {
	t.Parallel()
	for _, w := range works(500, time.Second) {
		body := newBody(3, w.body, w.stream)
		if len(body) < w.body*9/10 || len(body) > w.body*12/10 {
			t.Errorf("%s: %d bytes, want about %d", w.name, len(body), w.body)
		}
		var got struct {
			Model    string
			Stream   bool
			Messages []struct{ Role string }
		}
		if err := json.Unmarshal(body, &got); err != nil || got.Model != model || got.Stream != w.stream {
			t.Errorf("%s: %+v, %v", w.name, got, err)
		}
		for i, m := range got.Messages {
			if want := []string{"user", "assistant"}[i%2]; m.Role != want {
				t.Errorf("%s: message %d is the %s's", w.name, i, m.Role)
			}
		}
	}
	r := newRequest("127.0.0.1:1", 0, 2<<10, false)
	first := string(r.next())
	if second := string(r.next()); len(first) != len(second) || !strings.Contains(first, `"turn 0000000001"`) || !strings.Contains(second, `"turn 0000000002"`) {
		t.Errorf("the second request differs otherwise than in its turn:\n%s\n%s", first, second)
	}
}

// TestBrokenAnswers uses a server that breaks off.
func TestBrokenAnswers(t *testing.T) {
	t.Parallel()
	f := func(answer, want string) {
		t.Helper()
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		go func() {
			for {
				conn, err := listener.Accept()
				if err != nil {
					return
				}
				buffer := make([]byte, 64<<10)
				conn.Read(buffer) // the request is smaller and arrives at once
				conn.Write([]byte(answer))
				conn.Close()
			}
		}()
		c := &client{address: listener.Addr().String(), request: newRequest("x", 1, 2<<10, false)}
		defer c.close()
		err = c.ask(t.Context())
		switch {
		case want == "" && err != nil:
			t.Errorf("%q: %v", answer, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%q: error %v, want %q", answer, err, want)
		}
	}
	const head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
	f(head+"Content-Length: 18\r\n\r\n{\"type\":\"message\"}", "")
	f(head+"Content-Length: 19\r\n\r\n{\"type\":\"message\"}", "EOF")
	f(head+"Content-Length: 2\r\n\r\n{}", "status 200, 2 bytes")
	f("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", "status 200, 2 bytes")
	f("HTTP/1.1 529 Overloaded\r\nContent-Length: 0\r\n\r\n", "status 529")
	f("", "EOF")
}
