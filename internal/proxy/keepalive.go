package proxy

import (
	"mime"
	"net/http"
	"sync"
	"time"
)

const (
	// maxCommentPause is the longest pause between two comments: below the idle limits of front proxies.
	maxCommentPause = 15 * time.Second
	// minCommentPause is the shortest pause between two comments.
	minCommentPause = time.Second
	// minForwardPause is the shortest pause between two signs of life that are passed on before the answer begins.
	minForwardPause = time.Second / 2
)

const (
	waitingComment = ": waiting for an upstream\n\n" // no response has begun
	quietComment   = ": keep-alive\n\n"              // the upstream has paused within its response
	pingFrame      = "event: ping\ndata: {\"type\": \"ping\"}\n\n"
)

// keepalive keeps a streaming client's connection alive while nothing else is written to it. Before the answer it opens
// the response with status 200 after a while, and from then on writes a comment now and again, which every parser of
// event streams skips. During the answer it writes comments between two events when the upstream has paused for as
// long. Everything that is written meanwhile goes through its lock. One timer serves it all: it is not set again for
// every write, but looks at the time of the last one when it fires.
type keepalive struct {
	client *clientWriter
	after  time.Duration

	mu          sync.Mutex
	timer       *time.Timer // nil: no comments are wanted
	ended       bool
	opened      bool
	relaying    bool          // the response is being relayed
	insideEvent bool          // the client has received part of an event
	last        time.Time     // of the last write, or of the request
	forwarded   time.Time     // when the last sign of life was passed on
	pause       time.Duration // how long after it the next comment is due
}

// startKeepalive begins to keep the client's connection alive. After 0 or less it does not.
func (x *exchange) startKeepalive(after time.Duration) {
	s := &x.keepalive
	s.client = &x.client
	if after <= 0 || x.kind != kindStream {
		s.ended = true
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.after, s.pause, s.last = after, after, x.req.Start
	s.timer = time.AfterFunc(after-time.Since(x.req.Start), s.tick)
}

// interval is the pause between two comments.
func (s *keepalive) interval() time.Duration {
	return min(max(s.after, minCommentPause), maxCommentPause)
}

// tick writes a comment if it is time for one, and sets the timer for the next.
func (s *keepalive) tick() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return
	}
	if quiet := time.Since(s.last); quiet < s.pause {
		s.timer.Reset(s.pause - quiet)
		return
	}
	switch {
	case s.insideEvent: // a comment would become a part of the event
	case s.relaying:
		_ = s.client.send([]byte(quietComment))
	default:
		s.openLocked()
		s.writeLocked(waitingComment)
	}
	s.last, s.pause = time.Now(), s.interval()
	s.timer.Reset(s.pause)
}

// openLocked sends the header of the response, once.
func (s *keepalive) openLocked() {
	if s.opened {
		return
	}
	s.opened = true
	h := s.client.w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-cache")
	s.client.w.WriteHeader(http.StatusOK)
}

// writeLocked writes before a response begins. It ignores errors: the request's context ends when the client leaves.
func (s *keepalive) writeLocked(text string) {
	if _, err := s.client.w.Write([]byte(text)); err == nil {
		_ = s.client.flush()
	}
}

// forward forwards a sign of life, a ping or a comment, that an upstream sent before its first content, once the
// response is open. It writes new frames at a limited rate; the upstream's bytes are sent after the commit.
func (s *keepalive) forward(ping bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended || !s.opened || time.Since(s.forwarded) < minForwardPause {
		return
	}
	if ping {
		s.writeLocked(pingFrame)
	} else {
		s.writeLocked(quietComment)
	}
	s.last, s.pause = time.Now(), s.interval()
	s.forwarded = s.last
}

// end stops the comments and reports whether the response has been opened.
// From then on the caller alone writes.
func (s *keepalive) end() (opened bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.timer != nil {
		s.timer.Stop()
	}
	s.ended = true
	return s.opened
}

// resume writes comments in the pauses of a streamed response, until end.
func (s *keepalive) resume(h http.Header) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if media, _, err := mime.ParseMediaType(h.Get("Content-Type")); s.timer == nil || err != nil || media != "text/event-stream" {
		return // other media types have no comments
	}
	s.ended, s.relaying = false, true
	s.last, s.pause = time.Now(), s.after
	s.timer.Reset(s.after)
}

// send sends a part of a streamed response that ends between two events, or inside one.
func (s *keepalive) send(a *attempt, p []byte, inside bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.client.sendEvents(a, p)
	s.insideEvent = inside
	if !s.ended {
		s.last, s.pause = time.Now(), s.after
	}
	return err
}
