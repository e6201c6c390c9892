package proxy

import (
	"context"
	"sync/atomic"
	"time"

	"claude-code-lb/internal/upstream"
)

// watch cancels an attempt when what is awaited does not come in time. One
// goroutine at a time arms and stops it.
type watch struct {
	cancel context.CancelCauseFunc
	timer  *time.Timer
	limit  atomic.Pointer[upstream.TimeoutError]
}

func newWatch(cancel context.CancelCauseFunc) *watch {
	w := &watch{cancel: cancel}
	w.timer = time.AfterFunc(time.Hour, func() { w.cancel(w.limit.Load()) })
	w.timer.Stop()
	return w
}

// expect starts the clock for something. A limit of 0 or less is none.
func (w *watch) expect(what *upstream.TimeoutError) {
	if what.After <= 0 {
		return
	}
	w.limit.Store(what)
	w.timer.Reset(what.After)
}

func (w *watch) stop() { w.timer.Stop() }
