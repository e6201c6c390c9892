package proxy

import (
	"net/http"
	"sync"
	"time"
)

const (
	// writeLimit is how long a client may take to accept one write. After that it counts as gone.
	writeLimit = 5 * time.Minute
	// lateStall is the delay of a write timer from which we conclude that the process was
	// suspended. Then the write goes on.
	lateStall = 250 * time.Millisecond
)

// writeDeadline limits the time of every write to an HTTP/2 client. The deadline of an HTTP/2
// stream would end it even while there is nothing to write, so it is set only when a write has
// taken too long. The zero value is ready for use.
type writeDeadline struct {
	mu    sync.Mutex
	timer *time.Timer
	by    time.Time // when the timer is to fire; zero: no write is in progress
}

// begin starts the time limit of one write, and end stops it. Calls alternate.
func (d *writeDeadline) begin(w http.ResponseWriter) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.by = time.Now().Add(writeLimit)
	if d.timer != nil {
		d.timer.Reset(writeLimit)
		return
	}
	d.timer = time.AfterFunc(writeLimit, func() { d.expire(w) })
}

// expire ends the write and its stream, but not the connection. A timer that fires late starts
// again: the process was suspended and could not send anything.
func (d *writeDeadline) expire(w http.ResponseWriter) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	if d.by.IsZero() || now.Before(d.by) {
		return
	}
	if now.Sub(d.by) > lateStall {
		d.by = now.Add(writeLimit)
		d.timer.Reset(writeLimit)
		return
	}
	_ = http.NewResponseController(w).SetWriteDeadline(now.Add(-time.Second))
}

func (d *writeDeadline) end() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.by = time.Time{}
	d.timer.Stop()
}
