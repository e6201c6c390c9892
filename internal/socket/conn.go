// Package socket makes reading from and writing to TCP connections cheap.
//
// Go tells its scheduler of every system call, in case it blocks. A socket's do not: they are made when there is something to read or room
// to write, or return at once. But the scheduler's monitor, which sleeps while all is quiet, is woken by the first call after a quiet moment
// and then looks around every 20 µs; and while all processors are busy it takes away the place of a goroutine whose call lasts longer than
// that, as a write on a busy machine does. On Linux a Conn makes short calls without telling the scheduler. It waits as every connection of
// Go does, so that deadlines, closing and the poller stay the same.
package socket

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// Conn is a connection. Like those of package net it may be used by any number of goroutines.
type Conn struct {
	net.Conn
	raw       syscall.RawConn // nil: the connection has none that is of use
	readOp    readOp
	writeOp   writeOp
	peekOp    peekOp
	deadlines deadlines
}

// New makes a Conn of any connection; one that is no TCP connection stays as it is underneath, and one that is a Conn already is returned.
func New(c net.Conn) *Conn {
	if s, ok := c.(*Conn); ok {
		return s
	}
	s := &Conn{Conn: c}
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return s
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return s
	}
	s.raw = raw
	s.readOp.attempt, s.writeOp.attempt, s.peekOp.attempt = s.readOp.try, s.writeOp.try, s.peekOp.try
	s.readOp.lastAttempt, s.writeOp.lastAttempt = s.readOp.tryLast, s.writeOp.tryLast
	return s
}

// longest is how many bytes are moved at once without telling the scheduler: copying more takes a while, in which it should know.
const maxRawBytes = 64 << 10

// reading is a read under way.
type readOp struct {
	mu            sync.Mutex
	attempt       func(fd uintptr) (done bool)
	lastAttempt   func(fd uintptr) // the last attempt, when the deadline has passed
	p             []byte
	n             int
	err           syscall.Errno
	waited        bool // an attempt found nothing
	lastSucceeded bool // the last attempt found something
}

// Read implements net.Conn. When the deadline passes while it waits, it looks once more for bytes that have come in the meantime; see limits.
func (c *Conn) Read(p []byte) (int, error) {
	if !rawSyscalls || c.raw == nil || len(p) == 0 {
		return c.readFallback(p)
	}
	r := &c.readOp
	r.mu.Lock()
	defer r.mu.Unlock()
	r.p, r.waited = p[:min(len(p), maxRawBytes)], false
	err := c.raw.Read(r.attempt)
	if err != nil && r.waited && c.retryRead(err) {
		err = nil
	}
	r.p = nil
	switch {
	case err != nil:
		return 0, setOp("read", err)
	case r.err != 0:
		return 0, c.opError("read", r.err)
	case r.n == 0:
		return 0, io.EOF
	}
	return r.n, nil
}

func (r *readOp) try(fd uintptr) bool {
	for {
		r.n, r.err = readNow(fd, r.p)
		switch r.err {
		case syscall.EINTR:
		case syscall.EAGAIN:
			r.waited = true
			return false
		default:
			return true
		}
	}
}

// pieces is how many are written together at most.
const maxPieces = 3

// writing is a write under way.
type writeOp struct {
	mu            sync.Mutex
	attempt       func(fd uintptr) (done bool)
	lastAttempt   func(fd uintptr) // the last attempt, when the deadline has passed
	left          [maxPieces][]byte
	buffers       net.Buffers // over left
	n             int
	err           syscall.Errno
	iovecs        iovecs
	waited        bool // an attempt found no room
	lastSucceeded bool // the last attempt found room for all
}

// Write implements net.Conn.
func (c *Conn) Write(p []byte) (int, error) { return c.WriteTogether(p, nil, nil) }

// WriteTogether writes three pieces, each of which may be empty, as if they were one.
func (c *Conn) WriteTogether(p, q, r []byte) (int, error) {
	if len(p)+len(q)+len(r) == 0 {
		return c.Conn.Write(p)
	}
	w := &c.writeOp
	w.mu.Lock()
	defer w.mu.Unlock()
	w.left = [maxPieces][]byte{p, q, r}
	defer w.release()
	if !rawSyscalls || c.raw == nil || len(p)+len(q)+len(r) > maxRawBytes {
		return c.writeFallback(w)
	}
	w.n, w.err, w.waited = 0, 0, false
	err := c.raw.Write(w.attempt)
	if err != nil && w.waited && c.retryWrite(err) {
		err = nil
	}
	switch {
	case err != nil:
		return w.n, setOp("write", err)
	case w.err != 0:
		return w.n, c.opError("write", w.err)
	}
	return w.n, nil
}

// writeFallback has package net write. Empty pieces are left out: on a net.Pipe each of them would wait for a Read of its own.
func (c *Conn) writeFallback(w *writeOp) (int, error) {
	w.buffers = w.left[:0]
	for _, p := range w.left {
		if len(p) > 0 {
			w.buffers = append(w.buffers, p)
		}
	}
	for total, began := 0, time.Now(); ; {
		n, err := c.writeBuffers(w)
		if total += n; err == nil || !c.extendAfterSuspension(err, began) {
			return total, err
		}
	}
}

// writeBuffers writes through package net, and keeps the unwritten remainder.
func (c *Conn) writeBuffers(w *writeOp) (int, error) {
	if len(w.buffers) == 1 {
		n, err := c.Conn.Write(w.buffers[0])
		w.buffers[0] = w.buffers[0][n:]
		return n, err
	}
	n, err := w.buffers.WriteTo(c.Conn)
	if c.raw != nil {
		err = setOp("write", err) // else "writev"
	}
	return int(n), err
}

// forget lets go of what has been written.
func (w *writeOp) release() {
	w.left, w.buffers = [maxPieces][]byte{}, nil
	w.iovecs.clear()
}

func (w *writeOp) try(fd uintptr) bool {
	for {
		var n int
		n, w.err = w.iovecs.write(fd, &w.left)
		w.n += n
		switch {
		case w.err == syscall.EINTR:
		case w.err == syscall.EAGAIN:
			w.waited = true
			return false
		case w.err != 0 || w.advance(n):
			return true
		}
	}
}

// use counts n bytes as written, and says whether that was all.
func (w *writeOp) advance(n int) bool {
	rest := 0
	for i, p := range w.left {
		m := min(n, len(p))
		w.left[i] = p[m:]
		n -= m
		rest += len(p) - m
	}
	return rest == 0
}

// CloseWrite ends the sending, and with it the whole connection where that cannot be done alone.
func (c *Conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return c.Conn.Close()
}

// looking is a look under way.
type peekOp struct {
	mu      sync.Mutex
	attempt func(fd uintptr)
	alive   bool
	buf     [1]byte
}

// IdleAlive says whether the connection stands and nothing has come over it, as far as can be told without waiting or taking bytes from it,
// whatever its deadlines are and whoever reads. Where it cannot be told, it is true. An error that it finds no Read will find again.
func (c *Conn) IdleAlive() bool {
	if c.raw == nil {
		return true
	}
	l := &c.peekOp
	l.mu.Lock()
	defer l.mu.Unlock()
	l.alive = false
	return c.raw.Control(l.attempt) == nil && l.alive // Read would wait for a reader to finish
}

func (l *peekOp) try(fd uintptr) { l.alive = wouldBlock(fd, l.buf[:]) }

// failed is an error as package net has them.
func (c *Conn) opError(op string, err syscall.Errno) error {
	return &net.OpError{Op: op, Net: "tcp", Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: os.NewSyscallError(op, err)}
}

// named has an error of a TCP connection tell what was done, and not how. Such an error is made anew each time, so it may be changed.
func setOp(op string, err error) error {
	if e, ok := err.(*net.OpError); ok {
		e.Op = op
	}
	return err
}
