// Package routing decides which endpoint is asked next.
//
// A Table belongs to one generation of the configuration. It orders endpoints
// into tiers; within the first tier that has a fit endpoint left a Policy picks
// one. A policy sees values (Candidate), never requests and never live
// endpoints. Picking and claiming are one step for the caller: Next returns a
// lease.
package routing

import (
	"math/rand/v2"
	"slices"
	"time"

	"claude-code-lb/internal/claude"
	"claude-code-lb/internal/config"
	"claude-code-lb/internal/upstream"
)

// Candidate is what a policy may know of an endpoint.
type Candidate struct {
	ID       upstream.ID
	Weight   int     // above 0
	Share    float64 // of Weight that it is up to, above 0: less than 1 after a rest
	InFlight int64   // requests not yet ended
}

// Policy picks among candidates of one tier. Candidates are never empty and come in the order of the
// configuration; the result is an index into them. Safe for concurrent use.
type Policy interface {
	Pick(candidates []Candidate, key uint64) int
}

// Table is the routing of one generation. Safe for concurrent use.
type Table struct {
	tiers      [][]*upstream.Endpoint
	policy     Policy
	index      *Index // nil: conversations have no home
	maxEjected int    // percent
}

// Query describes the request to be placed.
type Query struct {
	Key      uint64         // names the conversation; policies without affinity ignore it
	Prompt   *claude.Prompt // nil without one that a cache could hold
	Subject  upstream.Subject
	Patience time.Duration // how long the request may still wait for an endpoint to return
	FitOnly  bool          // nothing but a fit endpoint that was not tried will do
	// Passed, unless nil, is told of every endpoint that was not fit. It must not keep the view.
	Passed func(e *upstream.Endpoint, v upstream.View)
	// Warm, unless nil, receives what the claimed endpoint's account holds of the prompt.
	Warm *Warmth
}

// secondPass is the shortest pause before an endpoint is asked again by the same request.
const secondPass = 500 * time.Millisecond

// Tried is what one request has tried so far. The zero value is empty.
type Tried struct {
	tries []try
}

type try struct {
	id    upstream.ID
	again time.Time // from when it may be asked once more; zero: never
}

// Add marks an endpoint as tried.
func (t *Tried) Add(id upstream.ID) {
	if i := t.index(id); i >= 0 {
		t.tries[i].again = time.Time{}
		return
	}
	t.tries = append(t.tries, try{id: id})
}

// Refused marks a tried endpoint as one that refused before it did any work:
// when nothing else is left it may be asked once more, after a pause.
func (t *Tried) Refused(id upstream.ID, now time.Time) {
	if i := t.index(id); i >= 0 {
		t.tries[i].again = now.Add(secondPass)
	}
}

// Has says whether an endpoint was tried.
func (t *Tried) Has(id upstream.ID) bool { return t.index(id) >= 0 }

// again says from when a tried endpoint may be asked once more.
func (t *Tried) again(id upstream.ID) (time.Time, bool) {
	i := t.index(id)
	return t.tries[i].again, !t.tries[i].again.IsZero()
}

func (t *Tried) index(id upstream.ID) int {
	return slices.IndexFunc(t.tries, func(each try) bool { return each.id == id })
}

// NewTable orders endpoints as the configuration wants them. Random numbers come from rnd, which
// must be safe for concurrent use. The index is used where the configuration wants affinity.
func NewTable(cfg *config.Config, endpoints []*upstream.Endpoint, index *Index, rnd func(n int) int) *Table {
	t := &Table{tiers: [][]*upstream.Endpoint{endpoints}, maxEjected: cfg.MaxEjectedPercent}
	if cfg.Mode == config.ModeFallback {
		t.tiers, t.policy = priorityTiers(cfg.Servers, endpoints), first{}
	} else {
		t.policy = newPolicy(cfg.Algorithm, rnd)
	}
	if cfg.Affinity != config.AffinityOff {
		t.index = index
	}
	return t
}

// Remember notes that a prompt, whose request began at start, is in the cache of an endpoint's account.
func (t *Table) Remember(e *upstream.Endpoint, p *claude.Prompt, start time.Time) {
	if t.index != nil {
		t.index.Remember(e, p, start)
	}
}

// Random draws from the process's generator, which is safe for concurrent use.
func Random(n int) int { return rand.IntN(n) }

// Endpoints lists all endpoints in the order of the tiers.
func (t *Table) Endpoints() []*upstream.Endpoint { return slices.Concat(t.tiers...) }

// Next claims the endpoint to ask next: one of the account that has cached the
// conversation, else the policy's pick in the first tier with a fit endpoint that
// was not tried. When none is fit, see resort. The error is always *Wait or *Unavailable.
func (t *Table) Next(q Query, tried *Tried, now time.Time) (*upstream.Lease, error) {
	q.tell(Warmth{})
	if lease, err := t.atHome(q, tried, now); lease != nil || err != nil {
		return lease, err
	}
	for _, tier := range t.tiers {
		if lease := t.claim(tier, q, now, func(e *upstream.Endpoint) bool { return !tried.Has(e.ID()) }); lease != nil {
			return lease, nil
		}
	}
	if q.FitOnly {
		return nil, t.unavailable(t.survey(q, tried, now), now)
	}
	return t.resort(q, tried, now)
}

// claim picks in one tier, among those that qualify, until a pick can be
// acquired: another request may take a half-open permit in between.
func (t *Table) claim(tier []*upstream.Endpoint, q Query, now time.Time, qualifies func(*upstream.Endpoint) bool) *upstream.Lease {
	var fit []*upstream.Endpoint
	var candidates []Candidate
	for _, e := range tier {
		if !qualifies(e) {
			continue
		}
		v := e.View(now, q.Subject)
		if v.Unfit == upstream.Fit {
			fit = append(fit, e)
			candidates = append(candidates, Candidate{ID: e.ID(), Weight: e.Weight(), Share: v.Share, InFlight: v.InFlight})
		} else if q.Passed != nil {
			q.Passed(e, v)
		}
	}
	for len(fit) > 0 {
		i := t.policy.Pick(candidates, q.Key)
		if lease, ok := fit[i].Acquire(now, q.Subject); ok {
			return lease
		}
		fit, candidates = slices.Delete(fit, i, i+1), slices.Delete(candidates, i, i+1)
	}
	return nil
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
			switch e.Overall(now).Unfit {
			case upstream.Fit:
				c.Available++
			case upstream.LowBalance:
				c.LowBalance++
			case upstream.Draining:
				c.Draining++
			default:
				c.Cooling++
			}
		}
	}
	return c
}
