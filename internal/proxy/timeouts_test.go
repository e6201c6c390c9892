package proxy

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/verdict"
)

// TestLateTimerExtendsAWait checks that a late timer gives a wait more time, and that the wait
// ends.
func TestLateTimerExtendsAWait(t *testing.T) {
	f := func(after, late, want time.Duration) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			w := timeouts{cancel: cancel}
			defer w.stop()
			w.expect(forRead, &verdict.TimeoutError{Waiting: "next byte", After: after})
			w.mu.Lock()
			w.timer.Stop() // as if the process were suspended from here on
			w.mu.Unlock()
			time.Sleep(after + late)
			resumed := time.Now()
			go w.check()
			<-ctx.Done()
			if got := time.Since(resumed); got != want {
				t.Errorf("%v late by %v: ended %v after that, not %v", after, late, got, want)
			}
			if _, ok := context.Cause(ctx).(*verdict.TimeoutError); !ok {
				t.Error(context.Cause(ctx))
			}
		})
	}
	f(2*time.Second, 0, minGrace)
	f(2*time.Second, 10*time.Millisecond, minGrace)
	f(2*time.Second, 300*time.Millisecond, 600*time.Millisecond)
	f(2*time.Second, time.Hour, 2*time.Second)
	f(10*time.Millisecond, time.Hour, minGrace)
}

// TestBytesInTheExtensionCount checks that bytes that arrive in the extension after a late timer
// keep the attempt alive.
func TestBytesInTheExtensionCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		defer cancel(nil)
		w := timeouts{cancel: cancel}
		defer w.stop()
		limit := &verdict.TimeoutError{Waiting: "next byte", After: time.Second}
		for range 3 * maxExtensions { // each read has its own extensions
			w.expect(forRead, limit)
			w.mu.Lock()
			w.timer.Stop()
			w.mu.Unlock()
			time.Sleep(time.Minute)
			go w.check()
			synctest.Wait()
			w.arrived(forRead)
		}
		if ctx.Err() != nil {
			t.Error(context.Cause(ctx))
		}
	})
}

// TestExtensionsAreLimited covers timers that all fire late.
func TestExtensionsAreLimited(t *testing.T) {
	a := pendingWait{what: &verdict.TimeoutError{After: time.Second}}
	n := 0
	for ; a.extend(time.Now(), time.Minute); n++ {
	}
	if n != maxExtensions {
		t.Error(n)
	}
}
