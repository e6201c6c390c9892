package routing

import (
	"io"
	"time"

	"github.com/zeebo/xxh3"

	"claude-code-lb/internal/upstream"
)

const (
	// continuationBytes bounds the memory for what may be continued: some 160,000 responses.
	continuationBytes = 16 << 20
	// continuationTTL is how long a response is remembered that nothing has gone on from.
	continuationTTL = 24 * time.Hour
)

// Continuations remembers which account gave the responses that later requests may go on from, by the hash of
// their names: the id of a message, a token, a session. It outlives generations. Safe for concurrent use,
// bounded in memory. A nil one remembers nothing.
type Continuations struct{ index *Index }

// NewContinuations returns one that knows nothing.
func NewContinuations(seed uint64) *Continuations {
	return &Continuations{NewIndex(continuationBytes, seed)}
}

// Home is the account that a request goes on from, and the server that was used. The zero Home is none.
type Home struct {
	domain uint64
	server uint32
}

// None says whether there is no such account.
func (h Home) None() bool { return h == Home{} }

// Learn notes that an endpoint gave the response with a name.
func (c *Continuations) Learn(e *upstream.Endpoint, name string, now time.Time) {
	if c == nil {
		return
	}
	c.index.replace(c.hash(name), holder{domain: e.Domain(), server: serverOf(e), expires: now.Add(continuationTTL).UnixNano()}, now)
}

// Of returns the account that gave the response with a name, the zero Home if that is not known.
func (c *Continuations) Of(name string, now time.Time) Home {
	var room [1]holder
	for _, h := range c.index.find(c.hash(name), now.UnixNano(), room[:0]) {
		return Home{h.domain, h.server}
	}
	return Home{}
}

func (c *Continuations) hash(name string) uint64 { return xxh3.HashStringSeed(name, c.index.seed) }

// Len is how many names are remembered.
func (c *Continuations) Len() int { return c.index.Len() }

// Save writes what is remembered and still of use.
func (c *Continuations) Save(w io.Writer, now time.Time) error { return c.index.Save(w, now) }

// Load replaces what is remembered by what Save has written. It must come before the first name is learned.
func (c *Continuations) Load(r io.Reader, now time.Time) error { return c.index.Load(r, now) }

// following claims an endpoint of the account that the request goes on from, whatever the tier, the load and the
// algorithm. When that account pauses or is limited for a moment the result is a *Wait. It is nil, nil
// when the account cannot take the request soon: any other may answer then, if only with "not found", on
// which the client begins again.
func (t *Table) following(q *Query, f *placement, tried *Tried, now time.Time) (*upstream.Lease, error) {
	if q.Home.None() || q.Account != nil {
		return nil, nil
	}
	changed := t.changed() // before looking
	var ready time.Time
	for _, same := range [...]bool{true, false} { // the very server first, then others of its account
		for _, tier := range t.tiers {
			for _, e := range tier {
				if (serverOf(e) == q.Home.server) != same || !same && e.Domain() != q.Home.domain {
					continue
				}
				lease, at := t.tryFollowed(q, f, e, tried, now)
				if lease != nil {
					return lease, nil
				}
				ready = sooner(ready, at)
			}
		}
	}
	if ready.IsZero() || ready.Sub(now) > q.Patience || q.FitOnly {
		return nil, nil
	}
	return nil, &Wait{Until: ready, Changed: changed}
}

// tryFollowed claims one endpoint. If that is not possible, ready is when it is worth trying again, zero when it is not.
func (t *Table) tryFollowed(q *Query, f *placement, e *upstream.Endpoint, tried *Tried, now time.Time) (lease *upstream.Lease, ready time.Time) {
	var from time.Time
	if tried.Has(e.ID()) {
		again, open := tried.oncemore(e.ID())
		if !open {
			return nil, time.Time{}
		}
		from = again
	}
	s := f.subject(q, e)
	v := e.View(now, s)
	if at := later(v.ReadyAt, from); v.Unfit != upstream.Fit || from.After(now) {
		if at.After(now) && at.Sub(now) <= homeWait(v.Unfit) {
			return nil, at
		}
		return nil, time.Time{}
	}
	lease, ok := e.AcquireIn(q.Room, now, s)
	if !ok {
		return nil, time.Time{}
	}
	w, _ := f.held(e.Domain())
	w.Home, w.Followed = true, true
	q.tell(w)
	return lease, time.Time{}
}
