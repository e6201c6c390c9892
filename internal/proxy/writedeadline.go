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
func (s *writeDeadline) begin(w http.ResponseWriter) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.by = time.Now().Add(writeLimit)
	if s.timer != nil {
		s.timer.Reset(writeLimit)
		return
	}
	s.timer = time.AfterFunc(writeLimit, func() { s.expire(w) })
}

// expire ends the write and its stream, but not the connection. A timer that fires late starts
// again: the process was suspended and could not send anything.
func (s *writeDeadline) expire(w http.ResponseWriter) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if s.by.IsZero() || now.Before(s.by) {
		return
	}
	if now.Sub(s.by) > lateStall {
		s.by = now.Add(writeLimit)
		s.timer.Reset(writeLimit)
		return
	}
	_ = http.NewResponseController(w).SetWriteDeadline(now.Add(-time.Second))
}

func (s *writeDeadline) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.by = time.Time{}
	s.timer.Stop()
}
