// Package routing decides which endpoint gets the next attempt.
//
// A Table belongs to one generation of the configuration. It orders endpoints into tiers. A Policy
// picks one within the first tier that has an available endpoint. A policy sees values (Candidate),
// never requests or live endpoints. Choosing and acquiring are one step for the caller: Next
// returns a lease.
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

// Candidate is what a policy knows about an endpoint.
type Candidate struct {
	ID       upstream.ID
	Weight   int           // above 0
	Share    float64       // current part of Weight, above 0: less than 1 in slow start
	InFlight int64         // open requests
	Load     float64       // recent tokens of its account
	Cached   float64       // part of the prompt that its account has cached
	Price    float64       // of a token, relative to the list price
	Latency  time.Duration // usual time to first token; 0 if unknown
	domain   uint64        // of its account
}

// Policy picks among candidates of one tier. Candidates are never empty and come in the order of
// the configuration; the result is an index into them. Safe for concurrent use.
type Policy interface {
	Pick(candidates []Candidate, key uint64) int
}

// Table is the routing of one generation. Safe for concurrent use.
type Table struct {
	tiers          [][]*upstream.Endpoint
	policy         Policy
	considersCache bool      // the policy considers what is cached, so the last account gets no preference
	searches       sync.Pool // of *placement
	index          *Index    // nil: no affinity
	maxEjected     int       // percent
}

// Query describes the request to be placed. Next only reads it.
type Query struct {
	// Account, unless nil, is the only account that can serve the request: it keeps a resource that
	// the request names.
	Account *uint64
	// Home, if set, is the account whose response the request continues. It gets the request if it
	// can take it.
	Home          Home
	InOrder       bool           // take the first available endpoint whatever the policy, so that a list always comes from the same one
	Session       string         // the client's session id, "" if the client does not send one
	Conversation  uint64         // hash of the session and agent, 0 if the client does not send them
	Compacted     bool           // the client has just summarized the conversation, so that nothing cached of it helps
	MaxTokens     int64          // of output, 0 if the client does not limit it
	Prompt        *claude.Prompt // nil without a prompt that can be cached
	Subject       upstream.Subject
	Patience      time.Duration // how long the request may still wait for an endpoint to return
	Queue         time.Duration // how long it may still wait for headroom in a rate limit
	Hold          time.Duration // how long it may wait for another request to write their common prefix to the cache
	FitOnly       bool          // only an available endpoint that was not tried is acceptable
	Explain       bool          // Choice.Considered lists every endpoint
	ExplainPlaced bool          // Choice.Placement lists every endpoint if a conversation was placed
	// LeaseBuf, unless nil, is memory for the lease, so that the first attempt of a request needs
	// no allocation (1 of 12 on the hot path). The caller must not pass the memory of a lease that
	// may be in use.
	LeaseBuf *upstream.Lease
}

// retrySameAfter is the shortest pause before a request tries the same endpoint again.
const retrySameAfter = 500 * time.Millisecond

// Tried is what one request has tried so far. The zero value is empty.
type Tried struct {
	tries []try
	first [2]try // memory for them
}

type try struct {
	id    upstream.ID
	times int
	again time.Time // when another attempt is allowed; zero: never
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

// Refused marks a tried endpoint as one that refused before it did any work: if no other is left,
// it may be tried once more after a pause.
func (t *Tried) Refused(id upstream.ID, now time.Time) {
	if i := t.index(id); i >= 0 {
		t.tries[i].again = now.Add(retrySameAfter)
	}
}

// Has reports whether an endpoint was tried.
func (t *Tried) Has(id upstream.ID) bool { return t.index(id) >= 0 }

// again returns when a tried endpoint may be tried once more.
func (t *Tried) again(id upstream.ID) (time.Time, bool) {
	i := t.index(id)
	return t.tries[i].again, !t.tries[i].again.IsZero()
}

// retriableOnce returns when an endpoint that refused once, before it did any work, may be tried
// again.
func (t *Tried) retriableOnce(id upstream.ID) (time.Time, bool) {
	i := t.index(id)
	return t.tries[i].again, t.tries[i].times == 1 && !t.tries[i].again.IsZero()
}

func (t *Tried) index(id upstream.ID) int {
	return slices.IndexFunc(t.tries, func(each try) bool { return each.id == id })
}

// NewTable orders endpoints by the configuration. Random numbers come from rnd, which must be safe
// for concurrent use. The index is used if the configuration enables affinity.
func NewTable(cfg *config.Config, endpoints []*upstream.Endpoint, index *Index, rnd func(n int) int) *Table {
	t := &Table{tiers: [][]*upstream.Endpoint{endpoints}, maxEjected: cfg.MaxEjectedPercent}
	if cfg.Mode == config.ModeFallback {
		t.tiers, t.policy = priorityTiers(cfg.Servers, endpoints), first{}
	} else {
		t.policy, t.considersCache = newPolicy(cfg.Algorithm, rnd), cfg.Algorithm == config.CostAware
	}
	if cfg.Affinity != config.AffinityOff {
		t.index = index
	}
	t.searches.New = func() any { return &placement{} }
	return t
}

// MaxPrice returns the highest price of all servers, relative to the list price.
func (t *Table) MaxPrice() float64 {
	dearest := 0.0
	for _, tier := range t.tiers {
		for _, e := range tier {
			dearest = max(dearest, e.Price())
		}
	}
	return dearest
}

// Forecast estimates the tokens of a prompt, and how many of them the account that will most likely
// get it has cached. Both are 0 without an index.
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

// Random returns a number of the process's generator, which is safe for concurrent use.
func Random(n int) int { return rand.IntN(n) }

// eligibleTiers returns the tiers without the endpoints that cannot serve the request.
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

// AccountOf returns the current number of an owner's account. It returns false if no server of the
// account is left.
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

// Next chooses and acquires an endpoint: one of the account that has cached the conversation, else
// the policy's pick in the first tier with an available endpoint that was not tried, else the
// result of fallback. The error is always *Wait or *Unavailable; the Choice then has no lease.
func (t *Table) Next(q *Query, tried *Tried, now time.Time) (Choice, error) {
	f := t.searches.Get().(*placement)
	defer t.searches.Put(f)
	f.reset()
	if t.index != nil {
		t.index.flush(q, now)
		t.index.lookup(q, now, f)
	}
	lease, err := t.next(q, f, tried, now)
	c := Choice{Lease: lease, Considered: slices.Clone(f.considered)}
	if lease != nil {
		c.Warmth = f.warmth
		f.compare(&c.Warmth)
		t.markPending(q, lease.Endpoint, now)
	}
	if q.Explain {
		c.Considered = t.explain(q, f, tried, &c, now)
	}
	if q.ExplainPlaced && isPlaced(q, &c) {
		c.Placement = t.explain(q, f, tried, &c, now)
	}
	return c, err
}

// minExplained is the size of a prompt, in bytes, from which its placement is explained. The choice for
// a smaller one hardly matters, and an explanation costs 3 µs.
const minExplained = 8 << 10

// isPlaced reports whether a conversation got its account without affinity, and is large enough for an
// explanation.
func isPlaced(q *Query, c *Choice) bool {
	if c.Lease == nil || c.Warmth.Home || c.Warmth.Followed || q.Account != nil || q.Prompt == nil {
		return false
	}
	turns := q.Prompt.Turns
	return len(turns) > 0 && turns[len(turns)-1].Bytes >= minExplained
}

func (t *Table) next(q *Query, f *placement, tried *Tried, now time.Time) (*upstream.Lease, error) {
	if q.Account != nil {
		f.ignoreAffinity() // the account is given
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
			if lease, err := t.acquire(tier, q, f, now, true, untried); lease != nil || err != nil {
				return lease, err
			}
		}
		if q.Subject.Path == claude.PathMessages {
			break // no further tier is needed
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

// acquire picks among the qualified endpoints of one tier until a pick can be acquired: another
// request may take a half-open permit in between. The error is a *Wait if the pick must wait.
func (t *Table) acquire(tier []*upstream.Endpoint, q *Query, f *placement, now time.Time, record bool, qualifies func(*upstream.Endpoint) bool) (*upstream.Lease, error) {
	f.fit, f.candidates = f.fit[:0], f.candidates[:0]
	for _, e := range tier {
		if !qualifies(e) {
			continue
		}
		v := e.View(now, f.subject(q, e))
		if v.Unfit == upstream.Fit && (!v.Avoid || f.any) {
			f.fit = append(f.fit, e)
			f.candidates = append(f.candidates, f.candidate(e, v))
		} else if record && v.Unfit != upstream.Fit {
			f.considered = append(f.considered, Considered{Endpoint: e, Reason: Unfit, View: v})
		}
	}
	for len(f.fit) > 0 {
		i := t.pick(q, f)
		e := f.fit[i]
		if wait := f.hold(q, e, now); wait != nil {
			return nil, wait
		}
		if lease, ok := e.AcquireInto(q.LeaseBuf, now, f.subject(q, e)); ok {
			f.warmth, _ = f.cachedTokens(e.CacheScope())
			return lease, nil
		}
		f.fit, f.candidates = slices.Delete(f.fit, i, i+1), slices.Delete(f.candidates, i, i+1)
	}
	return nil, nil
}

// pick chooses among the candidates: the account that served the conversation last unless there is
// a better reason, else the policy's choice.
func (t *Table) pick(q *Query, f *placement) int {
	if q.InOrder {
		return first{}.Pick(f.candidates, 0)
	}
	if i := f.signerServer(q); i >= 0 {
		return i
	}
	if i := f.lastServer(t.considersCache && cacheable(q.Prompt)); i >= 0 {
		return i
	}
	return t.policy.Pick(f.candidates, q.key())
}

// key returns a hash of the most specific name of what the request belongs to.
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

// Counts returns what a new request would find at a time.
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
