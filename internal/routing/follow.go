package routing

import (
	"io"
	"time"

	"github.com/zeebo/xxh3"

	"github.com/9bingyin/claude-code-lb/internal/upstream"
)

const (
	// continuationBytes bounds the memory for continuations: some 160,000 responses.
	continuationBytes = 16 << 20
	// continuationTTL is how long a response is remembered that no request has continued.
	continuationTTL = 24 * time.Hour
)

// Continuations maps the names of responses that later requests may continue to the account that
// gave them. It stores hashes of the names: message ids, tokens, sessions. It outlives generations.
// Safe for concurrent use, bounded in memory. A nil Continuations is empty.
type Continuations struct{ index *Index }

// NewContinuations returns an empty Continuations.
func NewContinuations(seed uint64) *Continuations {
	return &Continuations{NewIndex(continuationBytes, seed)}
}

// Home is the account, and the server, that gave the response which a request continues. The zero
// Home means none.
type Home struct {
	domain uint64
	server uint32
}

// None reports whether there is no such account.
func (h Home) None() bool { return h == Home{} }

// Learn records that an endpoint gave the response with a name.
func (c *Continuations) Learn(e *upstream.Endpoint, name string, now time.Time) {
	if c == nil {
		return
	}
	c.index.replace(c.hash(name), holder{domain: e.CacheScope(), server: serverOf(e), expires: now.Add(continuationTTL).UnixNano()}, now)
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

// Len returns the number of names.
func (c *Continuations) Len() int { return c.index.Len() }

// Save writes all names that have not expired.
func (c *Continuations) Save(w io.Writer, now time.Time) error { return c.index.Save(w, now) }

// Load replaces the contents by a saved state. It must come before the first name is learned.
func (c *Continuations) Load(r io.Reader, now time.Time) error { return c.index.Load(r, now) }

// following acquires an endpoint of the account whose response the request continues, regardless of
// tier, load and algorithm. If that account pauses or is limited for a moment, the error is a
// *Wait. It returns nil, nil if the account cannot take the request soon. Then another account may
// respond, if only with "not found", on which the client starts over.
func (t *Table) following(q *Query, f *placement, tried *Tried, now time.Time) (*upstream.Lease, error) {
	if q.Home.None() || q.Account != nil {
		return nil, nil
	}
	changed := t.changed() // before the search, so that no return is missed
	var ready time.Time
	for _, same := range [...]bool{true, false} { // the same server first, then others of its account
		for _, tier := range t.tiers {
			for _, e := range tier {
				if (serverOf(e) == q.Home.server) != same || !same && e.CacheScope() != q.Home.domain {
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

// tryFollowed acquires one endpoint. If it cannot, ready is when a retry makes sense, or zero.
func (t *Table) tryFollowed(q *Query, f *placement, e *upstream.Endpoint, tried *Tried, now time.Time) (lease *upstream.Lease, ready time.Time) {
	var from time.Time
	if tried.Has(e.ID()) {
		again, open := tried.retriableOnce(e.ID())
		if !open {
			return nil, time.Time{}
		}
		from = again
	}
	s := f.subject(q, e)
	v := e.View(now, s)
	if at := v.ReadyAfter(from); v.Unfit != upstream.Fit || from.After(now) {
		if at.After(now) && at.Sub(now) <= homeWait(v.Unfit) {
			return nil, at
		}
		return nil, time.Time{}
	}
	lease, ok := e.AcquireInto(q.LeaseBuf, now, s)
	if !ok {
		return nil, time.Time{}
	}
	w, _ := f.cachedTokens(e.CacheScope())
	w.Home, w.Followed = true, true
	f.warmth = w
	return lease, time.Time{}
}
