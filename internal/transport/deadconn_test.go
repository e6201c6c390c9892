package transport

import (
	"context"
	"net"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// lines is a network in memory whose connections can go dead without a word, as behind a firewall that forgets them.
type lines struct {
	accepted chan net.Conn
	closed   chan struct{}
	mu       sync.Mutex
	made     []*line
}

// line is the client's end of a connection.
type line struct {
	net.Conn
	cut atomic.Bool
}

func newLines() *lines { return &lines{accepted: make(chan net.Conn), closed: make(chan struct{})} }

// Read never returns anything once the line is cut.
func (l *line) Read(p []byte) (int, error) {
	for {
		n, err := l.Conn.Read(p)
		if err != nil || !l.cut.Load() {
			return n, err
		}
	}
}

// Write loses what it is given once the line is cut.
func (l *line) Write(p []byte) (int, error) {
	if l.cut.Load() {
		return len(p), nil
	}
	return l.Conn.Write(p)
}

func (n *lines) Accept() (net.Conn, error) {
	select {
	case c := <-n.accepted:
		return c, nil
	case <-n.closed:
		return nil, net.ErrClosed
	}
}

func (n *lines) Close() error {
	select {
	case <-n.closed:
	default:
		close(n.closed)
	}
	return nil
}

func (n *lines) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 443} }

func (n *lines) dial(context.Context, string, string) (net.Conn, error) {
	client, server := net.Pipe()
	l := &line{Conn: client}
	n.mu.Lock()
	n.made = append(n.made, l)
	n.mu.Unlock()
	n.accepted <- server
	return l, nil
}

// count is how many connections have been made.
func (n *lines) count() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.made)
}

func (n *lines) cut() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, l := range n.made {
		l.cut.Store(true)
	}
}

// TestADeadConnectionDoesNotStallItsStreams: a connection that says nothing any more is given up within the limits for
// signs of life, with all streams on it, and the next request goes over another one.
func TestADeadConnectionDoesNotStallItsStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := newLines()
		s := newSecureServer(t, func(s *httptest.Server) {
			s.Listener.Close()
			s.Listener = network
		})
		c := s.client(t, network.dial)
		const streams = 20
		o := openStreams(t, c, s.URL, streams)
		if n := network.count(); n != 1 {
			t.Fatalf("%d connections", n)
		}
		time.Sleep(10 * time.Minute)
		if len(o.ends) > 0 {
			t.Fatalf("a silent stream over a live connection ended: %v", <-o.ends)
		}

		network.cut()
		dead := time.Now()
		if _, err := ask(t.Context(), c, s.URL); err == nil || !strings.Contains(err.Error(), "connection lost") {
			t.Errorf("a request over the dead connection: %v", err)
		}
		for range streams {
			if err := <-o.ends; err == nil {
				t.Error("a stream over the dead connection ended well")
			}
		}
		if took := time.Since(dead); took > pingAfterSilence+pingTimeout {
			t.Errorf("the connection was given up after %v", took)
		}
		if got, err := ask(t.Context(), c, s.URL); err != nil || got != "data: HTTP/2.0\n" || network.count() != 2 {
			t.Errorf("the next request: %q %v, %d connections", got, err, network.count())
		}
	})
}
