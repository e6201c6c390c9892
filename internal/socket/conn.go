// Package socket makes short reads and writes on TCP connections cheaper.
//
// Go's runtime brackets every system call with entersyscall and exitsyscall, in case the call
// blocks. Reads and writes on a non-blocking socket never block, but they pay for it. The first
// system call after an idle period wakes sysmon, the runtime's monitor thread, which then runs
// every 20 µs. And under load, sysmon retakes the P of a goroutine that has been in a system call
// for more than 20 µs, which a write on a busy machine can take.
//
// On Linux a Conn makes short calls with RawSyscall, without these hooks. It waits like every
// connection of package net, so deadlines, Close and the network poller work as usual.
package socket

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// Conn is a net.Conn. Like those of package net, it is safe for concurrent use.
type Conn struct {
	net.Conn
	raw       syscall.RawConn // nil: not a TCP connection
	readOp    readOp
	writeOp   writeOp
	peekOp    peekOp
	deadlines deadlines
}

// New returns a Conn for any connection. Only TCP connections use raw system calls. A Conn is
// returned unchanged.
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

// maxRawBytes bounds the bytes of one raw system call. Copying more takes long enough that the
// scheduler should know about it.
const maxRawBytes = 64 << 10

// readOp is the state of a read. The functions are created once per connection, so that a read does
// not allocate.
type readOp struct {
	mu            sync.Mutex
	attempt       func(fd uintptr) (done bool)
	lastAttempt   func(fd uintptr) // tryLast: one more attempt after the deadline
	p             []byte
	n             int
	err           syscall.Errno
	waited        bool // an attempt found no data
	lastSucceeded bool // lastAttempt found data
}

// Read implements net.Conn. If the deadline passes while it waits, it tries once more; see
// deadlines.
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

// maxPieces is the number of buffers that one call can write.
const maxPieces = 3

// writeOp is the state of a write.
type writeOp struct {
	mu            sync.Mutex
	attempt       func(fd uintptr) (done bool)
	lastAttempt   func(fd uintptr) // tryLast: one more attempt after the deadline
	left          [maxPieces][]byte
	buffers       net.Buffers // shares memory with left
	n             int
	err           syscall.Errno
	iovecs        iovecs
	waited        bool // an attempt found the socket buffer full
	lastSucceeded bool // lastAttempt wrote the rest
}

// Write implements net.Conn.
func (c *Conn) Write(p []byte) (int, error) { return c.WriteTogether(p, nil, nil) }

// WriteTogether writes three buffers, each of which may be empty, as if they were one.
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

// writeFallback writes through package net. Empty buffers are left out, because on a net.Pipe each
// would wait for a Read.
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
		err = setOp("write", err) // otherwise it is "writev"
	}
	return int(n), err
}

// release drops the references to the caller's buffers.
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

// advance removes n written bytes from left. It reports whether nothing is left.
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

// CloseWrite closes the sending half, or the whole connection if that is not possible.
func (c *Conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return c.Conn.Close()
}

// peekOp is the state of a check by IdleAlive.
type peekOp struct {
	mu      sync.Mutex
	attempt func(fd uintptr)
	alive   bool
	buf     [1]byte
}

// IdleAlive reports whether the connection is open and nothing has been received. It does not wait
// and consumes nothing, and it ignores deadlines and concurrent readers. It returns true if the
// platform cannot check. A later Read does not return an error that it found.
func (c *Conn) IdleAlive() bool {
	if c.raw == nil {
		return true
	}
	l := &c.peekOp
	l.mu.Lock()
	defer l.mu.Unlock()
	l.alive = false
	return c.raw.Control(l.attempt) == nil && l.alive // RawConn.Read would wait for a concurrent reader
}

func (l *peekOp) try(fd uintptr) { l.alive = wouldBlock(fd, l.buf[:]) }

// opError returns the error that package net would return.
func (c *Conn) opError(op string, err syscall.Errno) error {
	return &net.OpError{Op: op, Net: "tcp", Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: os.NewSyscallError(op, err)}
}

// setOp makes an error of a TCP connection name the operation, and not the system call. Such an
// error is newly allocated, so it may be changed.
func setOp(op string, err error) error {
	if e, ok := err.(*net.OpError); ok {
		e.Op = op
	}
	return err
}
