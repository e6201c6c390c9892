package observe

import (
	"sync"
	"time"
)

// complaintPeriod is how often the same trouble is logged.
const complaintPeriod = 10 * time.Minute

// occasional lets something happen now and then. Safe for concurrent use.
type occasional struct {
	every time.Duration

	mu   sync.Mutex
	last time.Time
}

// allow says whether it may happen now, and if so counts it as having happened.
func (o *occasional) allow(now time.Time) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.last.IsZero() && now.Sub(o.last) < o.every {
		return false
	}
	o.last = now
	return true
}
