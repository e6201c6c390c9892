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

// memNetwork is a network in memory whose connections can go dead silently, as behind a firewall
// that drops their state.
type memNetwork struct {
	accepted chan net.Conn
	closed   chan struct{}
	mu       sync.Mutex
	made     []*memConn
}

// memConn is the client's end of a connection.
type memConn struct {
	net.Conn
	cut atomic.Bool
}

func newMemNetwork() *memNetwork {
	return &memNetwork{accepted: make(chan net.Conn), closed: make(chan struct{})}
}

// Read never returns after the connection is cut.
func (l *memConn) Read(p []byte) (int, error) {
	for {
		n, err := l.Conn.Read(p)
		if err != nil || !l.cut.Load() {
			return n, err
		}
	}
}

// Write discards its data after the connection is cut.
func (l *memConn) Write(p []byte) (int, error) {
	if l.cut.Load() {
		return len(p), nil
	}
	return l.Conn.Write(p)
}

func (n *memNetwork) Accept() (net.Conn, error) {
	select {
	case c := <-n.accepted:
		return c, nil
	case <-n.closed:
		return nil, net.ErrClosed
	}
}

func (n *memNetwork) Close() error {
	select {
	case <-n.closed:
	default:
		close(n.closed)
	}
	return nil
}

func (n *memNetwork) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 443} }

func (n *memNetwork) dial(context.Context, string, string) (net.Conn, error) {
	client, server := net.Pipe()
	l := &memConn{Conn: client}
	n.mu.Lock()
	n.made = append(n.made, l)
	n.mu.Unlock()
	n.accepted <- server
	return l, nil
}

// count returns the number of connections made so far.
func (n *memNetwork) count() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.made)
}

func (n *memNetwork) cut() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, l := range n.made {
		l.cut.Store(true)
	}
}

// TestDeadConnectionDoesNotStallStreams checks that a connection that has gone silent is closed
// within the ping limits, with all streams on it, and that the next request uses another one.
func TestDeadConnectionDoesNotStallStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := newMemNetwork()
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
		if _, err := post(t.Context(), c, s.URL); err == nil || !strings.Contains(err.Error(), "connection lost") {
			t.Errorf("a request over the dead connection: %v", err)
		}
		for range streams {
			if err := <-o.ends; err == nil {
				t.Error("a stream over the dead connection ended without an error")
			}
		}
		if took := time.Since(dead); took > pingAfterSilence+pingTimeout {
			t.Errorf("the connection was closed after %v", took)
		}
		if got, err := post(t.Context(), c, s.URL); err != nil || got != "data: HTTP/2.0\n" || network.count() != 2 {
			t.Errorf("the next request: %q %v, %d connections", got, err, network.count())
		}
	})
}
