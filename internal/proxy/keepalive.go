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
	k := &x.keepalive
	k.client = &x.client
	if after <= 0 || x.kind != kindStream {
		k.ended = true
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.after, k.pause, k.last = after, after, x.req.Start
	k.timer = time.AfterFunc(after-time.Since(x.req.Start), k.tick)
}

// interval returns the pause between two comments.
func (k *keepalive) interval() time.Duration {
	return min(max(k.after, minCommentPause), maxCommentPause)
}

// tick writes a comment if one is due, and sets the timer for the next one.
func (k *keepalive) tick() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.ended {
		return
	}
	if quiet := time.Since(k.last); quiet < k.pause {
		k.timer.Reset(k.pause - quiet)
		return
	}
	switch {
	case k.insideEvent: // a comment would become a part of the event
	case k.relaying:
		_ = k.client.send([]byte(quietComment))
	default:
		k.openLocked()
		k.writeLocked(waitingComment)
	}
	k.last, k.pause = time.Now(), k.interval()
	k.timer.Reset(k.pause)
}

// openLocked sends the header of the response if that has not been done.
func (k *keepalive) openLocked() {
	if k.opened {
		return
	}
	k.opened = true
	h := k.client.w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-cache")
	k.client.w.WriteHeader(http.StatusOK)
}

// writeLocked writes before a response begins. It ignores errors, because the request's context
// ends when the client leaves. These bytes do not count as part of the response.
func (k *keepalive) writeLocked(text string) {
	if _, err := k.client.w.Write([]byte(text)); err == nil {
		_ = k.client.flush()
	}
}

// forward forwards a sign of life, a ping or a comment, that an upstream sent before its first
// content, if the response is open. It writes new frames at a limited rate; the upstream's bytes
// are sent after the commit.
func (k *keepalive) forward(ping bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.ended || !k.opened || time.Since(k.forwarded) < minForwardPause {
		return
	}
	if ping {
		k.writeLocked(pingFrame)
	} else {
		k.writeLocked(quietComment)
	}
	k.last, k.pause = time.Now(), k.interval()
	k.forwarded = k.last
}

// end stops the comments and reports whether the response has been opened. From then on only the
// caller writes.
func (k *keepalive) end() (opened bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.timer != nil {
		k.timer.Stop()
	}
	k.ended = true
	return k.opened
}

// resume starts comments in the pauses of a streamed response, until end.
func (k *keepalive) resume(h http.Header) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if media, _, err := mime.ParseMediaType(h.Get("Content-Type")); k.timer == nil || err != nil || media != "text/event-stream" {
		return // other media types have no comments
	}
	k.ended, k.relaying = false, true
	k.last, k.pause = time.Now(), k.after
	k.timer.Reset(k.after)
}

// send sends a part of a streamed response. inside reports whether it ends inside an event.
func (k *keepalive) send(a *attempt, p []byte, inside bool) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	err := k.client.sendEvents(a, p)
	k.insideEvent = inside
	if !k.ended {
		k.last, k.pause = time.Now(), k.after
	}
	return err
}
