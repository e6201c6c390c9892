package proxy

import (
	"net/http"
	"sync"
	"time"
)

const (
	// writeLimit is how long a client may take to accept one write before it counts as gone.
	writeLimit = 5 * time.Minute
	// lateStall is the delay of a write timer from which we conclude that the process was suspended. Then the write goes on.
	lateStall = 250 * time.Millisecond
)

// writeDeadline bounds how long a client may refuse to take what is being written, whatever happens in between: the deadline
// of a stream of HTTP/2 would end it even while there is nothing to write. The zero value is ready.
type writeDeadline struct {
	mu    sync.Mutex
	timer *time.Timer
	by    time.Time // when the timer should fire; zero: nothing is being written
}

// begin starts the clock for one write, and end stops it. They are called in turn.
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

// expire ends the write, and only this stream. While the process was suspended it could not send anything, so a timer that
// fires late starts again.
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
