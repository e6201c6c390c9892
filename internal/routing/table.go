// Package routing decides which endpoint is asked next.
//
// A Table belongs to one generation of the configuration. It orders endpoints
// into tiers; within the first tier that has a fit endpoint left a Policy picks
// one. A policy sees values (Candidate), never requests and never live
// endpoints. Picking and claiming are one step for the caller: Next returns a
// lease.
package routing

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"claude-code-lb/internal/config"
	"claude-code-lb/internal/upstream"
)

// Candidate is what a policy may know of an endpoint.
type Candidate struct {
	ID       upstream.ID
	Weight   int   // above 0
	InFlight int64 // requests not yet ended
}

// Policy picks among candidates of one tier. Candidates are never empty and come in the order of the
// configuration; the result is an index into them. Safe for concurrent use.
type Policy interface {
	Pick(candidates []Candidate, key uint64) int
}

// Table is the routing of one generation. Safe for concurrent use.
type Table struct {
	tiers  [][]*upstream.Endpoint
	policy Policy
}

// Query describes the request to be placed.
type Query struct {
	Key uint64 // names the conversation; policies without affinity ignore it
}

// Tried is what one request has tried so far. The zero value is empty.
type Tried struct {
	ids []upstream.ID
}

// Add marks an endpoint as tried.
func (t *Tried) Add(id upstream.ID) { t.ids = append(t.ids, id) }

// Has says whether an endpoint was tried.
func (t *Tried) Has(id upstream.ID) bool { return slices.Contains(t.ids, id) }

// Unavailable says that no endpoint is left for a request.
type Unavailable struct {
	RetryAfter time.Duration // until the first one that rests may be asked; 0 when none ever may
}

func (u *Unavailable) Error() string {
	return fmt.Sprintf("no upstream available, the first returns in %s", u.RetryAfter.Round(time.Second))
}

// NewTable orders endpoints as the configuration wants them. Random numbers come from rnd, which
// must be safe for concurrent use.
func NewTable(cfg *config.Config, endpoints []*upstream.Endpoint, rnd func(n int) int) *Table {
	if cfg.Mode == config.ModeFallback {
		return &Table{tiers: priorityTiers(cfg.Servers, endpoints), policy: first{}}
	}
	return &Table{tiers: [][]*upstream.Endpoint{endpoints}, policy: newPolicy(cfg.Algorithm, rnd)}
}

// Random draws from the process's generator, which is safe for concurrent use.
func Random(n int) int { return rand.IntN(n) }

// Endpoints lists all endpoints in the order of the tiers.
func (t *Table) Endpoints() []*upstream.Endpoint { return slices.Concat(t.tiers...) }

// Next claims the endpoint to ask next: the policy's pick in the first tier
// with a fit endpoint that was not tried. When none is fit, the last resort is
// the untried endpoint closest to recovery: while one server might work no
// request is refused. The error is always *Unavailable.
func (t *Table) Next(q Query, tried *Tried, now time.Time) (*upstream.Lease, error) {
	for _, tier := range t.tiers {
		if lease := t.claim(tier, q, tried, now); lease != nil {
			return lease, nil
		}
	}
	if e := t.lastResort(tried, now); e != nil {
		return e.AcquireAnyway(now), nil
	}
	return nil, &Unavailable{RetryAfter: t.untilReady(now)}
}

// claim picks in one tier until a pick can be acquired: another request may take a half-open permit in between.
func (t *Table) claim(tier []*upstream.Endpoint, q Query, tried *Tried, now time.Time) *upstream.Lease {
	var fit []*upstream.Endpoint
	var candidates []Candidate
	for _, e := range tier {
		if tried.Has(e.ID()) {
			continue
		}
		if v := e.View(now); v.Unfit == upstream.Fit {
			fit = append(fit, e)
			candidates = append(candidates, Candidate{ID: e.ID(), Weight: e.Weight(), InFlight: v.InFlight})
		}
	}
	for len(fit) > 0 {
		i := t.policy.Pick(candidates, q.Key)
		if lease, ok := fit[i].Acquire(now); ok {
			return lease
		}
		fit, candidates = slices.Delete(fit, i, i+1), slices.Delete(candidates, i, i+1)
	}
	return nil
}

func (t *Table) lastResort(tried *Tried, now time.Time) *upstream.Endpoint {
	var best *upstream.Endpoint
	var bestView upstream.View
	for _, tier := range t.tiers {
		for _, e := range tier {
			v := e.View(now)
			if v.Unfit == upstream.Draining || tried.Has(e.ID()) {
				continue
			}
			if best == nil || v.Unfit < bestView.Unfit || v.Unfit == bestView.Unfit && v.ReadyAt.Before(bestView.ReadyAt) {
				best, bestView = e, v
			}
		}
	}
	return best
}

func (t *Table) untilReady(now time.Time) time.Duration {
	var earliest time.Duration
	for _, tier := range t.tiers {
		for _, e := range tier {
			v := e.View(now)
			if wait := v.ReadyAt.Sub(now); v.Unfit == upstream.Cooling && (earliest == 0 || wait < earliest) {
				earliest = wait
			}
		}
	}
	return earliest
}

// Census counts endpoints by fitness.
type Census struct {
	Total, Available, Cooling, LowBalance, Draining int
}

// Census counts what a new request would find at a moment.
func (t *Table) Census(now time.Time) Census {
	var c Census
	for _, tier := range t.tiers {
		for _, e := range tier {
			c.Total++
			switch e.View(now).Unfit {
			case upstream.Fit:
				c.Available++
			case upstream.Cooling, upstream.Probing:
				c.Cooling++
			case upstream.LowBalance:
				c.LowBalance++
			case upstream.Draining:
				c.Draining++
			}
		}
	}
	return c
}
