package proxy

import (
	"net/http"
	"sync"
	"time"
)

// commentEvery is the pause between two comments: below the idle limits of front proxies.
const commentEvery = 15 * time.Second

// silence keeps a streaming client's connection alive while no upstream has
// answered yet: after a while it opens the answer with a status 200 and from
// then on writes a comment now and again, which every parser of event streams
// skips. Until it is ended it is the only writer.
type silence struct {
	x *exchange

	mu     sync.Mutex
	timer  *time.Timer
	ended  bool
	opened bool
}

// keepAlive begins to watch over the silence; after 0 nobody does.
func (x *exchange) keepAlive(after time.Duration) {
	s := &x.silence
	s.x = x
	if after <= 0 || x.kind != kindStream {
		s.ended = true
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.timer = time.AfterFunc(after-time.Since(x.req.Start), s.speak)
}

func (s *silence) speak() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return
	}
	if !s.opened {
		s.opened = true
		h := s.x.w.Header()
		h.Set("Content-Type", "text/event-stream")
		h.Set("Cache-Control", "no-cache")
		s.x.w.WriteHeader(http.StatusOK)
	}
	// A client that has left is noticed by the request's context.
	if _, err := s.x.w.Write([]byte(": waiting for an upstream\n\n")); err == nil {
		_ = s.x.flush()
	}
	s.timer.Reset(commentEvery)
}

// end stops the comments and reports whether the answer has been opened.
// From then on the caller alone writes.
func (s *silence) end() (opened bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.timer != nil {
		s.timer.Stop()
	}
	s.ended = true
	return s.opened
}
