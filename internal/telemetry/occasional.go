package telemetry

import (
	"sync"
	"time"
)

// Occasional lets something happen now and then. Safe for concurrent use.
type Occasional struct {
	Every time.Duration

	mu   sync.Mutex
	last time.Time
}

// Allow says whether it may happen now, and if so counts it as having happened.
func (o *Occasional) Allow(now time.Time) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.last.IsZero() && now.Sub(o.last) < o.Every {
		return false
	}
	o.last = now
	return true
}
