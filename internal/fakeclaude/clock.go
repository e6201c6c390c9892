package fakeclaude

import (
	"context"
	"slices"
	"sync"
	"time"
)

// Clock is the only source of time and of waiting in this package. The default is the system clock,
// which is virtual in a testing/synctest bubble. A simulation outside of a test uses a ManualClock.
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

// ManualClock shows the same time until Advance moves it. Safe for concurrent use.
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

// Now returns the time to which Advance last moved the clock.
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

// Advance moves the clock and wakes every sleeper that is due, the earliest first.
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

// NextWake returns how far the clock must move to wake the earliest sleeper; false if there is no
// sleeper.
func (c *ManualClock) NextWake() (time.Duration, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.sleepers) == 0 {
		return 0, false
	}
	return c.sleepers[0].due.Sub(c.now), true
}
