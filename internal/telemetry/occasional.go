package telemetry

import (
	"sync"
	"time"
)

// RepeatPeriod is the minimum interval of log lines about the same problem.
const RepeatPeriod = 10 * time.Minute

// Occasional limits an action to once per period. Safe for concurrent use.
type Occasional struct {
	Every time.Duration

	mu   sync.Mutex
	last time.Time
}

// Allow reports whether the action may happen now, and if so starts a new period.
func (o *Occasional) Allow(now time.Time) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.last.IsZero() && now.Sub(o.last) < o.Every {
		return false
	}
	o.last = now
	return true
}
