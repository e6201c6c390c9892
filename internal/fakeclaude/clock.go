package fakeclaude

import (
	"context"
	"slices"
	"sync"
	"time"
)

// Clock is the only source of time and of waiting in this package. The default
// reads the machine's clock, which inside a testing/synctest bubble is virtual
// already; a simulation that runs outside of a test brings a ManualClock.
type Clock interface {
	Now() time.Time
	// Sleep waits for d and returns nil, or returns the context's error as soon as ctx ends.
	Sleep(ctx context.Context, d time.Duration) error
}

type systemClock struct{}

func (systemClock) Now() time.Time { return time.Now() }

func (systemClock) Sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// ManualClock stands still until Advance moves it. Safe for concurrent use.
type ManualClock struct {
	mu       sync.Mutex
	now      time.Time
	sleepers []sleeper // ordered by due
}

type sleeper struct {
	due  time.Time
	wake chan struct{}
}

// NewManualClock returns a clock that shows start.
func NewManualClock(start time.Time) *ManualClock { return &ManualClock{now: start} }

// Now returns the time the clock was last moved to.
func (c *ManualClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Sleep blocks until Advance has moved the clock by d.
func (c *ManualClock) Sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	wake := c.enqueue(d)
	select {
	case <-wake:
		return nil
	case <-ctx.Done():
		c.forget(wake)
		return ctx.Err()
	}
}

func (c *ManualClock) enqueue(d time.Duration) chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := sleeper{due: c.now.Add(d), wake: make(chan struct{})}
	at, _ := slices.BinarySearchFunc(c.sleepers, s.due, func(x sleeper, due time.Time) int {
		if x.due.After(due) {
			return 1
		}
		return -1
	})
	c.sleepers = slices.Insert(c.sleepers, at, s)
	return s.wake
}

func (c *ManualClock) forget(wake chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sleepers = slices.DeleteFunc(c.sleepers, func(x sleeper) bool { return x.wake == wake })
}

// Advance moves the clock and wakes every sleeper whose time has come, earliest first.
func (c *ManualClock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
	due := 0
	for due < len(c.sleepers) && !c.sleepers[due].due.After(c.now) {
		close(c.sleepers[due].wake)
		due++
	}
	c.sleepers = slices.Delete(c.sleepers, 0, due)
}

// NextWake tells how far the clock must move for the earliest sleeper to wake;
// false when nobody sleeps.
func (c *ManualClock) NextWake() (time.Duration, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.sleepers) == 0 {
		return 0, false
	}
	return c.sleepers[0].due.Sub(c.now), true
}
