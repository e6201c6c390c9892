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
	"sync"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/claude"
	"github.com/9bingyin/claude-code-lb/internal/config"
	"github.com/9bingyin/claude-code-lb/internal/upstream"
)

// Candidate is what a policy may know of an endpoint.
type Candidate struct {
	ID       upstream.ID
	Weight   int           // above 0
	Share    float64       // of Weight that it is up to, above 0: less than 1 after a rest
	InFlight int64         // requests not yet ended
	Load     float64       // tokens that its account was given lately
	Cached   float64       // part of the prompt that its account has cached
	Price    float64       // of a token, 1 being the list's
	Latency  time.Duration // usual time to first token; 0 when none is known
	domain   uint64        // of its account
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
	full       bool      // the policy places by what is cached: it is better at it than habit
	searches   sync.Pool // of *placement
	index      *Index    // nil: conversations have no home
	maxEjected int       // percent
}

// Query describes the request to be placed.
type Query struct {
	// Account, unless nil, is the only one that will do: it keeps what the request names.
	Account *uint64
	// Home, if set, is the account whose response the request continues. It gets the request if it can take it.
	Home         Home
	InOrder      bool           // the first fit endpoint will do, whatever the policy: so that one question is always put to the same
	Session      string         // the client's session id, "" when it does not tell
	Conversation uint64         // names the session and agent that ask; 0 when the client does not tell
	Compacted    bool           // the conversation was summed up just now: nothing of it is worth keeping
	MaxTokens    int64          // of output, 0 when the client does not tell
	Prompt       *claude.Prompt // nil without one that a cache could hold
	Subject      upstream.Subject
	Patience     time.Duration   // how long the request may still wait for an endpoint to return
	Queue        time.Duration   // how long it may still wait for room in a rate limit: a refusal would only make its client wait
	Hold         time.Duration   // how long it may be held back for another one to write into the cache what both begin with
	Room         *upstream.Lease // memory for the lease; nil: Next finds it itself
	FitOnly      bool            // nothing but a fit endpoint that was not tried will do
	// Passed, unless nil, is told of every endpoint that was not fit. It must not keep the view.
	Passed func(e *upstream.Endpoint, v upstream.View)
	// Warm, unless nil, receives what the claimed endpoint's account holds of the prompt.
	Warm *Warmth
}

// retrySameAfter is the shortest pause before an endpoint is asked again by the same request.
const retrySameAfter = 500 * time.Millisecond

// Tried is what one request has tried so far. The zero value is empty.
type Tried struct {
	tries []try
	first [2]try // memory for them
}

type try struct {
	id    upstream.ID
	times int
	again time.Time // from when it may be asked once more; zero: never
}

// Add marks an endpoint as tried.
func (t *Tried) Add(id upstream.ID) {
	if i := t.index(id); i >= 0 {
		t.tries[i].again = time.Time{}
		t.tries[i].times++
		return
	}
	if t.tries == nil {
		t.tries = t.first[:0]
	}
	t.tries = append(t.tries, try{id: id, times: 1})
}

// Refused marks a tried endpoint as one that refused before it did any work:
// when nothing else is left it may be asked once more, after a pause.
func (t *Tried) Refused(id upstream.ID, now time.Time) {
	if i := t.index(id); i >= 0 {
		t.tries[i].again = now.Add(retrySameAfter)
	}
}

// Has says whether an endpoint was tried.
func (t *Tried) Has(id upstream.ID) bool { return t.index(id) >= 0 }

// again says from when a tried endpoint may be asked once more.
func (t *Tried) again(id upstream.ID) (time.Time, bool) {
	i := t.index(id)
	return t.tries[i].again, !t.tries[i].again.IsZero()
}

// retriableOnce says from when an endpoint that refused once, before it did any work, may be asked again.
func (t *Tried) retriableOnce(id upstream.ID) (time.Time, bool) {
	i := t.index(id)
	return t.tries[i].again, t.tries[i].times == 1 && !t.tries[i].again.IsZero()
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
		t.policy, t.full = newPolicy(cfg.Algorithm, rnd), cfg.Algorithm == config.CostAware
	}
	if cfg.Affinity != config.AffinityOff {
		t.index = index
	}
	t.searches.New = func() any { return &placement{} }
	return t
}

// MaxPrice is what the server with the highest price charges, 1 being the list price.
func (t *Table) MaxPrice() float64 {
	dearest := 0.0
	for _, tier := range t.tiers {
		for _, e := range tier {
			dearest = max(dearest, e.Price())
		}
	}
	return dearest
}

// Forecast estimates the tokens of a prompt, and how many of them the account that it will most likely go to has cached. Both
// are 0 where nothing is known of prompts.
func (t *Table) Forecast(q *Query, now time.Time) (total, cached int64) {
	if t.index == nil || q.Prompt == nil {
		return 0, 0
	}
	f := t.searches.Get().(*placement)
	defer t.searches.Put(f)
	f.reset()
	t.index.lookup(q, now, f)
	for i := range f.caches.list {
		cached = max(cached, min(int64(f.caches.list[i].conversation.tokens), f.total))
	}
	return f.total, cached
}

// Random draws from the process's generator, which is safe for concurrent use.
func Random(n int) int { return rand.IntN(n) }

// eligibleTiers is the tiers as far as they will do for a request.
func (t *Table) eligibleTiers(q *Query) [][]*upstream.Endpoint {
	if q.Account == nil {
		return t.tiers
	}
	tiers := make([][]*upstream.Endpoint, len(t.tiers))
	for i, tier := range t.tiers {
		for _, e := range tier {
			if e.CacheScope() == *q.Account {
				tiers[i] = append(tiers[i], e)
			}
		}
	}
	return tiers
}

// Accounts lists the accounts of all endpoints, each once.
func (t *Table) Accounts() []uint64 {
	var all []uint64
	for _, e := range t.Endpoints() {
		all = append(all, e.CacheScope())
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// AccountOf finds a keeper's account as it is named now. It reports false when no server of it is left.
func (t *Table) AccountOf(k Owner) (domain uint64, ok bool) {
	for _, tier := range t.tiers {
		for _, e := range tier {
			if e.ID() == k.Server {
				return e.CacheScope(), true
			}
			ok = ok || e.CacheScope() == k.Domain
		}
	}
	return k.Domain, ok
}

// Endpoints lists all endpoints in the order of the tiers.
func (t *Table) Endpoints() []*upstream.Endpoint { return slices.Concat(t.tiers...) }

// Next claims the endpoint to ask next: one of the account that has cached the
// conversation, else the policy's pick in the first tier with a fit endpoint that
// was not tried. When none is fit, see resort. The error is always *Wait or *Unavailable.
func (t *Table) Next(q *Query, tried *Tried, now time.Time) (*upstream.Lease, error) {
	q.tell(Warmth{})
	q.Subject = q.Subject.Keyed()
	f := t.searches.Get().(*placement)
	defer t.searches.Put(f)
	f.reset()
	if t.index != nil {
		t.index.flush(q, now)
		t.index.lookup(q, now, f)
	}
	lease, err := t.next(q, f, tried, now)
	if lease != nil {
		q.Room = nil // it may be in use now
		f.compare(q.Warm)
		t.markPending(q, lease.Endpoint, now)
	}
	return lease, err
}

func (t *Table) next(q *Query, f *placement, tried *Tried, now time.Time) (*upstream.Lease, error) {
	if q.Account != nil {
		f.ignoreAffinity() // there is no choice
	}
	if lease, err := t.following(q, f, tried, now); lease != nil || err != nil {
		return lease, err
	}
	if lease, err := t.atHome(q, f, tried, now); lease != nil || err != nil {
		return lease, err
	}
	untried := func(e *upstream.Endpoint) bool { return !tried.Has(e.ID()) }
	for _, f.any = range [...]bool{false, true} {
		for _, tier := range t.eligibleTiers(q) {
			if lease, err := t.claim(tier, q, f, now, q.Passed, untried); lease != nil || err != nil {
				return lease, err
			}
		}
		if q.Subject.Path == claude.PathMessages {
			break // nothing is left out
		}
	}
	if !q.FitOnly {
		return t.fallback(q, f, tried, now)
	}
	changed, all := t.changed(), t.assess(q, f, tried, now)
	if until, ok := worthQueueing(all, q.Queue, now); ok {
		return nil, &Wait{Until: until, Changed: changed}
	}
	return nil, t.unavailable(all, now)
}

// claim picks in one tier, among those that qualify, until a pick can be
// acquired: another request may take a half-open permit in between. The error is a *Wait: the
// pick is right, but not yet.
func (t *Table) claim(tier []*upstream.Endpoint, q *Query, f *placement, now time.Time, passed func(*upstream.Endpoint, upstream.View), qualifies func(*upstream.Endpoint) bool) (*upstream.Lease, error) {
	f.fit, f.candidates = f.fit[:0], f.candidates[:0]
	for _, e := range tier {
		if !qualifies(e) {
			continue
		}
		v := e.View(now, f.subject(q, e))
		if v.Unfit == upstream.Fit && (!v.Avoid || f.any) {
			f.fit = append(f.fit, e)
			f.candidates = append(f.candidates, f.candidate(e, v))
		} else if passed != nil && v.Unfit != upstream.Fit {
			passed(e, v)
		}
	}
	for len(f.fit) > 0 {
		i := t.pick(q, f)
		e := f.fit[i]
		if wait := f.hold(q, e, now); wait != nil {
			return nil, wait
		}
		if lease, ok := e.AcquireInto(q.Room, now, f.subject(q, e)); ok {
			warmth, _ := f.cachedTokens(e.CacheScope())
			q.tell(warmth)
			return lease, nil
		}
		f.fit, f.candidates = slices.Delete(f.fit, i, i+1), slices.Delete(f.candidates, i, i+1)
	}
	return nil, nil
}

// pick chooses among the candidates: the account that served the conversation
// last, where there is no better reason for another one, else the policy's choice.
func (t *Table) pick(q *Query, f *placement) int {
	if q.InOrder {
		return first{}.Pick(f.candidates, 0)
	}
	if i := f.signerServer(q); i >= 0 {
		return i
	}
	if i := f.lastServer(t.full && cacheable(q.Prompt)); i >= 0 {
		return i
	}
	return t.policy.Pick(f.candidates, q.key())
}

// key names what the request belongs to, as well as can be told.
func (q *Query) key() uint64 {
	switch {
	case q.Conversation != 0:
		return q.Conversation
	case q.Prompt != nil && len(q.Prompt.Turns) > 0:
		return q.Prompt.Turns[0].Fingerprint
	}
	return q.Subject.Body
}

func (f *placement) candidate(e *upstream.Endpoint, v upstream.View) Candidate {
	c := Candidate{ID: e.ID(), Weight: e.Weight(), Share: v.Share, InFlight: v.InFlight, Price: e.Price(), Load: v.Load, Latency: v.Latency, domain: e.CacheScope()}
	if tokens, _ := f.inclPending(c.domain); f.total > 0 {
		c.Cached = float64(tokens) / float64(f.total)
	}
	return c
}

// Counts counts endpoints by fitness.
type Counts struct {
	Total, Available, Cooling, LowBalance, Draining int
}

// Counts counts what a new request would find at a moment.
func (t *Table) Counts(now time.Time) Counts {
	var c Counts
	for _, tier := range t.tiers {
		for _, e := range tier {
			c.Total++
			switch e.ViewAny(now).Unfit {
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
