package socket

import (
	"errors"
	"os"
	"sync"
	"time"
)

const (
	// minGrace is the minimum extension of a deadline that passed while bytes were waiting: a
	// message may need several reads.
	minGrace = 250 * time.Millisecond
	// maxGrace is the maximum extension.
	maxGrace = 30 * time.Second
)

// deadlines are the deadlines in force.
//
// A deadline measures how long the peer is silent. While the process is suspended (SIGSTOP, a
// paused virtual machine, heavy swapping) the peer may keep sending, and the kernel buffers the
// bytes, but the deadline still passes. So a Read or Write that was waiting when its deadline
// passed makes one more attempt. If that succeeds, the deadline moves by twice the delay with which
// it was noticed, because a suspended process measures nothing. A peer that really is silent still
// times out as configured.
type deadlines struct {
	mu          sync.Mutex
	read, write time.Time // zero: none
}

// SetDeadline implements net.Conn.
func (c *Conn) SetDeadline(t time.Time) error {
	c.deadlines.mu.Lock()
	defer c.deadlines.mu.Unlock()
	c.deadlines.read, c.deadlines.write = t, t
	return c.Conn.SetDeadline(t)
}

// SetReadDeadline implements net.Conn.
func (c *Conn) SetReadDeadline(t time.Time) error {
	c.deadlines.mu.Lock()
	defer c.deadlines.mu.Unlock()
	c.deadlines.read = t
	return c.Conn.SetReadDeadline(t)
}

// SetWriteDeadline implements net.Conn.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	c.deadlines.mu.Lock()
	defer c.deadlines.mu.Unlock()
	c.deadlines.write = t
	return c.Conn.SetWriteDeadline(t)
}

// retryRead makes one more attempt after a Read failed with err, and reports whether it succeeded.
// The caller holds the mutex of readOp.
func (c *Conn) retryRead(err error) bool {
	r := &c.readOp
	if r.lastSucceeded = false; !errors.Is(err, os.ErrDeadlineExceeded) || c.raw.Control(r.lastAttempt) != nil || !r.lastSucceeded {
		return false
	}
	c.deadlines.mu.Lock()
	defer c.deadlines.mu.Unlock()
	if by, ok := extendDeadline(c.deadlines.read, time.Now()); ok {
		c.deadlines.read = by
		_ = c.Conn.SetReadDeadline(by) // the next Read gets the error
	}
	return true
}

// retryWrite is retryRead for a Write.
func (c *Conn) retryWrite(err error) bool {
	w := &c.writeOp
	if w.lastSucceeded = false; !errors.Is(err, os.ErrDeadlineExceeded) || c.raw.Control(w.lastAttempt) != nil || !w.lastSucceeded {
		return false
	}
	c.deadlines.mu.Lock()
	defer c.deadlines.mu.Unlock()
	if by, ok := extendDeadline(c.deadlines.write, time.Now()); ok {
		c.deadlines.write = by
		_ = c.Conn.SetWriteDeadline(by)
	}
	return true
}

// extendDeadline returns the new deadline after one that was noticed now. It returns false if the
// deadline was renewed in the meantime, or lies in the distant past, which callers use to interrupt
// a wait.
func extendDeadline(deadline, now time.Time) (time.Time, bool) {
	if deadline.Unix() < 1<<30 || deadline.After(now) {
		return time.Time{}, false
	}
	return now.Add(min(max(2*now.Sub(deadline), minGrace), maxGrace)), true
}

// extendAfterSuspension reports whether a long Write failed because of a deadline that was noticed
// far too late, and moves the deadline. began is when the Write began.
func (c *Conn) extendAfterSuspension(err error, began time.Time) bool {
	if c.raw == nil || !errors.Is(err, os.ErrDeadlineExceeded) {
		return false
	}
	c.deadlines.mu.Lock()
	defer c.deadlines.mu.Unlock()
	now := time.Now()
	if !began.Before(c.deadlines.write) || now.Sub(c.deadlines.write) < minGrace {
		return false
	}
	by, ok := extendDeadline(c.deadlines.write, now)
	if ok {
		c.deadlines.write = by
		_ = c.Conn.SetWriteDeadline(by)
	}
	return ok
}

func (r *readOp) tryLast(fd uintptr) { r.lastSucceeded = r.try(fd) }

func (w *writeOp) tryLast(fd uintptr) { w.lastSucceeded = w.try(fd) }

// readFallback reads through package net.
func (c *Conn) readFallback(p []byte) (int, error) {
	if c.raw == nil || len(p) == 0 {
		return c.Conn.Read(p)
	}
	began := time.Now()
	n, err := c.Conn.Read(p)
	if err == nil || !errors.Is(err, os.ErrDeadlineExceeded) || !c.hasWaited(began) {
		return n, err
	}
	r := &c.readOp
	r.mu.Lock()
	defer r.mu.Unlock()
	r.p = p[:min(len(p), maxRawBytes)]
	ok := c.retryRead(err)
	r.p = nil
	if !ok || r.err != 0 || r.n == 0 { // the next Read gets any further bytes
		return 0, err
	}
	return r.n, nil
}

// hasWaited reports whether a Read that began at a given time was waiting when its deadline passed.
func (c *Conn) hasWaited(began time.Time) bool {
	c.deadlines.mu.Lock()
	defer c.deadlines.mu.Unlock()
	return began.Before(c.deadlines.read)
}
