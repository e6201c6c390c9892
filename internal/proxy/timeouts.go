package proxy

import (
	"context"
	"sync"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/verdict"
)

// timeouts cancels an attempt when what is awaited does not come in time. Waits begin and end with every read, and hardly ever run
// out: so a wait only notes when it would, and one timer looks at what was noted. The zero watch has no cancel and must not be used.
// Safe for concurrent use.
type timeouts struct {
	cancel context.CancelCauseFunc

	mu      sync.Mutex
	waits   [2]pendingWait
	timer   *time.Timer
	at      time.Time // when the timer will look; zero: it will not
	stopped bool
}

// wait names what an attempt waits for.
type wait int

const (
	forFirst wait = iota // the head, or the first content of a stream
	forRead              // a single read
)

// pendingWait is what has to come by a moment; zero: nothing has to.
type pendingWait struct {
	what       *verdict.TimeoutError
	by         time.Time
	extensions int // how often that moment was moved
}

const (
	// minGrace extends a wait whose time has run out, so that bytes that arrived at the last moment, or while the process
	// was suspended, are read first.
	minGrace = 50 * time.Millisecond
	// maxExtensions bounds how often a wait is extended because the process was suspended.
	maxExtensions = 5
)

// extend extends a wait that has run out, and reports whether it did. late is how long ago the timer should have fired.
// A suspended process (SIGSTOP, a paused virtual machine, a machine that swaps) measures nothing. So the extension grows
// with late, to give the kernel and the peer's retransmissions time to deliver.
func (a *pendingWait) extend(now time.Time, late time.Duration) bool {
	if a.extensions > 0 && (late < minGrace || a.extensions >= maxExtensions) {
		return false
	}
	a.extensions++
	a.by = now.Add(max(min(2*late, a.what.After), minGrace))
	return true
}

// expect starts the clock for something. A limit of 0 or less is none.
func (w *timeouts) expect(which wait, what *verdict.TimeoutError) {
	if what.After <= 0 {
		return
	}
	by := time.Now().Add(what.After)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.waits[which] = pendingWait{what: what, by: by}
	if w.at.IsZero() || by.Before(w.at) {
		w.scheduleLocked(by, what.After)
	}
}

// arrived ends a wait: it has come.
func (w *timeouts) arrived(which wait) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.waits[which] = pendingWait{}
}

// stop ends the watch.
func (w *timeouts) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stopped = true
	if w.timer != nil {
		w.timer.Stop()
	}
}

// scheduleLocked sets the timer. The caller holds the mutex.
func (w *timeouts) scheduleLocked(at time.Time, in time.Duration) {
	switch {
	case w.stopped:
		return
	case w.timer == nil:
		w.timer = time.AfterFunc(in, w.check)
	default:
		w.timer.Reset(in)
	}
	w.at = at
}

// check cancels the attempt if a wait has run out and is not extended. Otherwise it sets the timer for the next wait.
func (w *timeouts) check() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stopped {
		return
	}
	now, next := time.Now(), time.Time{}
	late := now.Sub(w.at)
	for i := range w.waits {
		a := &w.waits[i]
		if a.what == nil {
			continue
		}
		if !now.Before(a.by) && !a.extend(now, late) {
			w.stopped = true
			w.cancel(a.what)
			return
		}
		if next.IsZero() || a.by.Before(next) {
			next = a.by
		}
	}
	if w.at = next; !next.IsZero() {
		w.scheduleLocked(next, next.Sub(now))
	}
}
