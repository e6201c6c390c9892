package http1_test

import (
	"context"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// wire is one direction of an in-memory connection. Unlike net.Pipe it has a buffer, and can be
// closed separately, as in TCP.
type wire struct {
	mu           sync.Mutex
	changed      sync.Cond
	b            []byte
	capacity     int  // bytes buffered before a write blocks; 0: no limit
	maxFirstRead int  // bytes that the first read returns at most; 0: no limit
	maxRead      int  // bytes that every read returns at most; 0: no limit
	ended        bool // the writer has closed it
	dropped      bool // the reader has closed it
	readBy       deadline
	writeBy      deadline
	consumed     int // bytes that were read
}

// deadline wakes the goroutines that wait on a wire.
type deadline struct {
	at    time.Time
	timer *time.Timer
}

func newWire() *wire {
	w := &wire{}
	w.changed.L = &w.mu
	return w
}

func (w *wire) set(d *deadline, t time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if d.timer != nil {
		d.timer.Stop()
	}
	*d = deadline{at: t}
	if !t.IsZero() {
		d.timer = time.AfterFunc(time.Until(t), w.wake)
	}
	w.changed.Broadcast()
}

func (w *wire) wake() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.changed.Broadcast()
}

func (d *deadline) passed() bool { return !d.at.IsZero() && !time.Now().Before(d.at) }

func (w *wire) read(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for {
		switch {
		case w.dropped:
			return 0, net.ErrClosed
		case w.readBy.passed():
			return 0, os.ErrDeadlineExceeded
		case len(p) == 0:
			return 0, nil
		case len(w.b) > 0:
			n := len(w.b)
			if w.maxRead > 0 {
				n = min(n, w.maxRead)
			}
			if w.maxFirstRead > 0 && w.consumed < w.maxFirstRead {
				n = min(n, w.maxFirstRead-w.consumed)
			}
			n = copy(p, w.b[:n])
			w.b = w.b[n:]
			w.consumed += n
			w.changed.Broadcast()
			return n, nil
		case w.ended:
			return 0, io.EOF
		}
		w.changed.Wait()
	}
}

func (w *wire) write(p []byte) (n int, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for {
		switch {
		case w.ended:
			return n, net.ErrClosed
		case w.dropped:
			return n, io.ErrClosedPipe
		case w.writeBy.passed():
			return n, os.ErrDeadlineExceeded
		case len(p) == 0:
			return n, nil
		}
		m := len(p)
		if w.capacity > 0 {
			m = min(m, w.capacity-len(w.b))
		}
		if m > 0 {
			w.b = append(w.b, p[:m]...)
			p, n = p[m:], n+m
			w.changed.Broadcast()
			continue
		}
		w.changed.Wait()
	}
}

func (w *wire) close(end *bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	*end = true
	w.changed.Broadcast()
}

// memConn is one end of an in-memory connection.
type memConn struct{ in, out *wire }

// memPair returns both ends of an in-memory connection.
func memPair() (client, server *memConn) {
	up, down := newWire(), newWire()
	return &memConn{in: down, out: up}, &memConn{in: up, out: down}
}

func (c *memConn) Read(p []byte) (int, error)  { return c.in.read(p) }
func (c *memConn) Write(p []byte) (int, error) { return c.out.write(p) }
func (c *memConn) CloseWrite() error           { c.out.close(&c.out.ended); return nil }
func (c *memConn) LocalAddr() net.Addr         { return memAddr{} }
func (c *memConn) RemoteAddr() net.Addr        { return memAddr{} }

func (c *memConn) Close() error {
	c.out.close(&c.out.ended)
	c.in.close(&c.in.dropped)
	return nil
}

func (c *memConn) SetReadDeadline(t time.Time) error  { c.in.set(&c.in.readBy, t); return nil }
func (c *memConn) SetWriteDeadline(t time.Time) error { c.out.set(&c.out.writeBy, t); return nil }

func (c *memConn) SetDeadline(t time.Time) error {
	_ = c.SetReadDeadline(t)
	return c.SetWriteDeadline(t)
}

// peerClosed reports whether the other end has closed the connection.
func (c *memConn) peerClosed() bool {
	c.in.mu.Lock()
	defer c.in.mu.Unlock()
	return c.in.ended
}

type memAddr struct{}

func (memAddr) Network() string { return "memory" }
func (memAddr) String() string  { return "192.0.2.1:1" }

// memListener accepts the connections that dial makes.
type memListener struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newMemListener() *memListener {
	return &memListener{conns: make(chan net.Conn), done: make(chan struct{})}
}

func (l *memListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *memListener) Close() error   { l.once.Do(func() { close(l.done) }); return nil }
func (l *memListener) Addr() net.Addr { return memAddr{} }

// connect gives the listener a connection and returns the client's end.
func (l *memListener) connect(ctx context.Context) (*memConn, error) {
	client, server := memPair()
	select {
	case l.conns <- server:
		return client, nil
	case <-l.done:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
