package routing

import (
	"slices"
	"time"

	"claude-code-lb/internal/upstream"
)

// maxHomeWait is how long a conversation waits for the account that has cached
// it. Moving it writes all of it into another cache, and a burst of such writes is what brings about
// the next rate limit.
const maxHomeWait = 30 * time.Second

// atHome claims an endpoint of the account that has cached the conversation,
// whatever its tier and the load there. When that account pauses or is limited for a
// moment the result is a *Wait. It is nil, nil for a conversation without a home, or
// one whose home cannot take it: it is placed like a new one.
func (t *Table) atHome(q Query, tried *Tried, now time.Time) (*upstream.Lease, error) {
	var room [8]uint64
	domains, warmth := t.index.home(q.Prompt, now, room[:0])
	if len(domains) == 0 {
		return nil, nil
	}
	var changed <-chan struct{}
	var ready time.Time
	for _, tier := range t.tiers {
		for _, e := range tier {
			if tried.Has(e.ID()) || !slices.Contains(domains, e.Domain()) {
				continue
			}
			if changed == nil {
				changed = e.Changed()
			}
			v := e.View(now, q.Subject)
			if v.Unfit == upstream.Fit {
				if lease, ok := e.Acquire(now, q.Subject); ok {
					q.tell(warmth)
					return lease, nil
				}
				continue
			}
			if v.Unfit == upstream.Paused || v.Unfit == upstream.RateLimited {
				ready = sooner(ready, v.ReadyAt)
			}
		}
	}
	if patience := min(q.Patience, maxHomeWait); q.FitOnly || ready.IsZero() || ready.Sub(now) > patience {
		return nil, nil
	}
	return nil, &Wait{Until: ready, Changed: changed}
}

// tell reports why an endpoint was chosen.
func (q *Query) tell(w Warmth) {
	if q.Warm != nil {
		*q.Warm = w
	}
}
