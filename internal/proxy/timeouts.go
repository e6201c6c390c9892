package proxy

import (
	"context"
	"sync"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/verdict"
)

// timeouts cancels an attempt when something that it waits for does not arrive in time. Waits begin
// and end with every read, and rarely run out. So a wait only stores its end, and one timer checks
// the stored ends. The zero value has no cancel and must not be used. Safe for concurrent use.
type timeouts struct {
	cancel context.CancelCauseFunc

	mu      sync.Mutex
	waits   [2]pendingWait
	timer   *time.Timer
	at      time.Time // when the timer fires; zero: it is not set
	stopped bool
}

// wait names what an attempt waits for.
type wait int

const (
	forFirst wait = iota // the response header, or the first content of a stream
	forRead              // a single read
)

// pendingWait is a wait with its end. The zero value is no wait.
type pendingWait struct {
	what       *verdict.TimeoutError
	by         time.Time
	extensions int // how often by was moved
}

const (
	// minGrace extends a wait whose time has run out, so that bytes that arrived at the last
	// moment, or while the process was suspended, are read first.
	minGrace = 50 * time.Millisecond
	// maxExtensions limits how often a wait is extended because the process was suspended.
	maxExtensions = 5
)

// extend extends a wait that has run out, and reports whether it did. late is how long ago the
// timer should have fired. A suspended process (SIGSTOP, a paused virtual machine, a machine that
// swaps) cannot read. So the extension grows with late, to give the kernel and the peer's
// retransmissions time to deliver.
func (p *pendingWait) extend(now time.Time, late time.Duration) bool {
	if p.extensions > 0 && (late < minGrace || p.extensions >= maxExtensions) {
		return false
	}
	p.extensions++
	p.by = now.Add(max(min(2*late, p.what.After), minGrace))
	return true
}

// expect starts a wait. A limit of 0 or less means no limit.
func (t *timeouts) expect(which wait, what *verdict.TimeoutError) {
	if what.After <= 0 {
		return
	}
	by := time.Now().Add(what.After)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.waits[which] = pendingWait{what: what, by: by}
	if t.at.IsZero() || by.Before(t.at) {
		t.scheduleLocked(by, what.After)
	}
}

// arrived ends a wait, because what it was for has arrived.
func (t *timeouts) arrived(which wait) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.waits[which] = pendingWait{}
}

// stop ends all waits. No further wait has an effect.
func (t *timeouts) stop() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stopped = true
	if t.timer != nil {
		t.timer.Stop()
	}
}

// scheduleLocked sets the timer.
func (t *timeouts) scheduleLocked(at time.Time, in time.Duration) {
	switch {
	case t.stopped:
		return
	case t.timer == nil:
		t.timer = time.AfterFunc(in, t.check)
	default:
		t.timer.Reset(in)
	}
	t.at = at
}

// check cancels the attempt if a wait has run out and is not extended. Otherwise it sets the timer
// for the next end.
func (t *timeouts) check() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.stopped {
		return
	}
	now, next := time.Now(), time.Time{}
	late := now.Sub(t.at)
	for i := range t.waits {
		a := &t.waits[i]
		if a.what == nil {
			continue
		}
		if !now.Before(a.by) && !a.extend(now, late) {
			t.stopped = true
			t.cancel(a.what)
			return
		}
		if next.IsZero() || a.by.Before(next) {
			next = a.by
		}
	}
	if t.at = next; !next.IsZero() {
		t.scheduleLocked(next, next.Sub(now))
	}
}
