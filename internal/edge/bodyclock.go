package edge

import (
	"net/http"
	"sync"
	"time"
)

// lateClock is how late the timer of a body may fire before it is clear that the process did not run.
const lateClock = 50 * time.Millisecond

// longAgo is the Unix time before which a deadline only ends a wait.
const longAgo = 1 << 20

// onTime serves requests of HTTP/2 with deadlines for their bodies that a process which stands still does not miss. The timer of net/http
// ends the body although the bytes that came meanwhile are still in the socket. Over HTTP/1.1 the connection looks for them; see socket.
func onTime(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor < 2 {
			h.ServeHTTP(w, r)
			return
		}
		c := &bodyClock{ResponseWriter: w}
		defer c.stop()
		h.ServeHTTP(c, r)
	})
}

// bodyClock is a ResponseWriter with a deadline of its own for reading the body.
type bodyClock struct {
	http.ResponseWriter

	mu    sync.Mutex
	timer *time.Timer
	by    time.Time // zero: none
}

// Unwrap lets http.ResponseController find the rest.
func (c *bodyClock) Unwrap() http.ResponseWriter { return c.ResponseWriter }

// SetReadDeadline implements what http.ResponseController looks for.
func (c *bodyClock) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.by = t
	if !t.IsZero() && t.Unix() < longAgo { // it ends the wait, and measures nothing
		return http.NewResponseController(c.ResponseWriter).SetReadDeadline(t)
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

// expire ends the body. A timer that fires late gives it more time, the more the later.
func (c *bodyClock) expire() {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if c.by.IsZero() || now.Before(c.by) {
		return
	}
	if late := now.Sub(c.by); late > lateClock {
		more := min(max(2*late, time.Second), bodyStall)
		c.by = now.Add(more)
		c.timer.Reset(more)
		return
	}
	_ = http.NewResponseController(c.ResponseWriter).SetReadDeadline(now.Add(-time.Second))
}

func (c *bodyClock) stop() { _ = c.SetReadDeadline(time.Time{}) }
