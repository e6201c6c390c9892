package socket

import (
	"io"
	"net"
	"testing"
	"time"
)

// TestIdleAlive checks that IdleAlive does not change the connection.
func TestIdleAlive(t *testing.T) {
	t.Parallel()
	f := func(name string, end func(t *testing.T, c *Conn, peer *net.TCPConn)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			near, far := tcpPair(t)
			c := New(near)
			quiet := func(when string) {
				t.Helper()
				if !c.IdleAlive() {
					t.Errorf("not alive %s", when)
				}
			}
			quiet("at the beginning")
			_ = c.SetReadDeadline(longAgo())
			quiet("after a deadline")
			_ = c.SetReadDeadline(time.Time{})

			room := make([]byte, 10)
			reader := start(t, c, func() {
				if n, err := c.Read(room); string(room[:n]) != "abc" || err != nil {
					t.Errorf("%q, %v", room[:n], err)
				}
			})
			reader.waits(t)
			quiet("with a concurrent reader")
			if _, err := far.Write([]byte("abc")); err != nil {
				t.Error(err)
			}
			<-reader.done
			quiet("when all has been read")

			if _, err := far.Write([]byte("def")); err != nil {
				t.Error(err)
			}
			until(func() bool { return !c.IdleAlive() })
			if n, err := io.ReadFull(c, room[:2]); string(room[:n]) != "de" || err != nil {
				t.Errorf("%q after IdleAlive, %v", room[:n], err)
			}
			if c.IdleAlive() {
				t.Error("alive with an unread byte")
			}
			if n, err := c.Read(room); string(room[:n]) != "f" || err != nil {
				t.Errorf("%q, %v", room[:n], err)
			}
			if _, err := c.Write([]byte("ghi")); err != nil {
				t.Error(err)
			}
			quiet("after a write")
			if n, err := io.ReadFull(far, room[:3]); string(room[:n]) != "ghi" || err != nil {
				t.Errorf("%q, %v", room[:n], err)
			}
			end(t, c, far)
			until(func() bool { return !c.IdleAlive() })
			if c.IdleAlive() {
				t.Error("alive again")
			}
		})
	}
	f("closed by the peer", func(_ *testing.T, _ *Conn, peer *net.TCPConn) { peer.Close() })
	f("half closed by the peer", func(_ *testing.T, _ *Conn, peer *net.TCPConn) { _ = peer.CloseWrite() })
	f("reset", func(t *testing.T, _ *Conn, peer *net.TCPConn) { reset(t, peer) })
	f("closed from here", func(_ *testing.T, c *Conn, _ *net.TCPConn) { c.Close() })
}

// TestIdleAliveOfAPipe: for a pipe the result is always true.
func TestIdleAliveOfAPipe(t *testing.T) {
	t.Parallel()
	near, far := net.Pipe()
	c := New(near)
	writer := start(t, far, func() { _, _ = far.Write([]byte("x")) })
	writer.waits(t)
	if !c.IdleAlive() {
		t.Error("not alive")
	}
}
