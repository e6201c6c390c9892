package edge

import (
	"net/http"
	"sync"
	"time"
)

// minLateness is the delay of a body timer from which we conclude that the process was suspended.
const minLateness = 50 * time.Millisecond

// interruptBefore is the Unix time before which a deadline only interrupts a read.
const interruptBefore = 1 << 20

// withBodyClock gives requests read deadlines that tolerate a suspension of the process (SIGSTOP, a
// paused virtual machine). The timer of net/http ends the body even if bytes have arrived in the
// socket meanwhile. Over HTTP/1.1 a socket.Conn looks for them itself.
func withBodyClock(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor < 2 && usesSocket(r) {
			h.ServeHTTP(w, r)
			return
		}
		c := &bodyClock{ResponseWriter: w, resetConn: r.ProtoMajor < 2}
		defer c.stop()
		h.ServeHTTP(c, r)
	})
}

// bodyClock is a ResponseWriter with its own deadline for reading the body.
type bodyClock struct {
	http.ResponseWriter
	resetConn bool // reset the deadline of the connection after the body

	mu       sync.Mutex
	timer    *time.Timer
	deadline time.Time // zero: none
}

// Unwrap gives http.ResponseController access to the wrapped writer.
func (c *bodyClock) Unwrap() http.ResponseWriter { return c.ResponseWriter }

// SetReadDeadline is called by http.ResponseController.
func (c *bodyClock) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.deadline = t
	if !t.IsZero() && t.Unix() < interruptBefore { // a deadline in the past only interrupts a read
		return c.forward(t)
	}
	if t.IsZero() && c.resetConn {
		if err := c.forward(t); err != nil {
			return err
		}
	}
	switch left := time.Until(t); {
	case t.IsZero() && c.timer != nil:
		c.timer.Stop()
	case t.IsZero():
	case c.timer == nil:
		c.timer = time.AfterFunc(left, c.expire)
	default:
		c.timer.Reset(left)
	}
	return nil
}

// expire ends the body. A timer that fires late extends the deadline instead, in proportion to the
// delay.
func (c *bodyClock) expire() {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if c.deadline.IsZero() || now.Before(c.deadline) {
		return
	}
	if late := now.Sub(c.deadline); late > minLateness {
		more := min(max(2*late, time.Second), bodyStall)
		c.deadline = now.Add(more)
		c.timer.Reset(more)
		return
	}
	_ = c.forward(now.Add(-time.Second))
}

// forward sets the deadline of net/http.
func (c *bodyClock) forward(t time.Time) error {
	return http.NewResponseController(c.ResponseWriter).SetReadDeadline(t)
}

func (c *bodyClock) stop() { _ = c.SetReadDeadline(time.Time{}) }
