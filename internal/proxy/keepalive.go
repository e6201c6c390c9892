package proxy

import (
	"mime"
	"net/http"
	"sync"
	"time"
)

const (
	// maxCommentPause is the longest pause between two comments: below the idle limits of front
	// proxies.
	maxCommentPause = 15 * time.Second
	// minCommentPause is the shortest pause between two comments.
	minCommentPause = time.Second
	// minForwardPause is the shortest pause between two signs of life that are forwarded before the
	// response begins.
	minForwardPause = time.Second / 2
)

const (
	waitingComment = ": waiting for an upstream\n\n" // no response has begun
	quietComment   = ": keep-alive\n\n"              // the upstream has paused within its response
	pingFrame      = "event: ping\ndata: {\"type\": \"ping\"}\n\n"
)

// keepalive keeps a streaming client's connection alive while nothing else is written to it. If no
// response has begun after a while, it opens one with status 200 and then writes comments at
// intervals, which every parser of event streams skips. During the response it writes comments
// between two events if the upstream pauses for as long. Until end, everything is written under its
// lock. It has one timer, which is not reset for every write: when it fires, it compares the time
// of the last write.
type keepalive struct {
	client *clientWriter
	after  time.Duration

	mu          sync.Mutex
	timer       *time.Timer   // nil: no comments are wanted
	ended       bool          // no more comments are written
	opened      bool          // comments have opened the response
	relaying    bool          // the response is being relayed
	insideEvent bool          // the client has received a part of an event
	last        time.Time     // time of the last write, or of the request
	forwarded   time.Time     // when the last sign of life was passed on
	pause       time.Duration // from last to the next comment
}

// startKeepalive starts keep-alive comments after that much time without a byte. 0 means none.
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

// interval returns the pause between two comments.
func (s *keepalive) interval() time.Duration {
	return min(max(s.after, minCommentPause), maxCommentPause)
}

// tick writes a comment if one is due, and sets the timer for the next one.
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

// openLocked sends the header of the response if that has not been done.
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

// writeLocked writes before a response begins. It ignores errors, because the request's context
// ends when the client leaves. These bytes do not count as part of the response.
func (s *keepalive) writeLocked(text string) {
	if _, err := s.client.w.Write([]byte(text)); err == nil {
		_ = s.client.flush()
	}
}

// forward forwards a sign of life, a ping or a comment, that an upstream sent before its first
// content, if the response is open. It writes new frames at a limited rate; the upstream's bytes
// are sent after the commit.
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

// end stops the comments and reports whether the response has been opened. From then on only the
// caller writes.
func (s *keepalive) end() (opened bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.timer != nil {
		s.timer.Stop()
	}
	s.ended = true
	return s.opened
}

// resume starts comments in the pauses of a streamed response, until end.
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

// send sends a part of a streamed response. inside reports whether it ends inside an event.
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
