package routing

import (
	"encoding/binary"
	"slices"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/claude"
	"github.com/9bingyin/claude-code-lb/internal/upstream"
)

// Warmth is what the account of the chosen endpoint holds of the prompt.
type Warmth struct {
	Home          bool  // it is why the endpoint was chosen
	Followed      bool  // so is what the request goes on from
	Cached, Total int64 // tokens, estimated where no answer has told them
	Most          int64 // the most that any account holds
	Expires       time.Time
	boundary      uint64 // the fingerprint of what is held
	cut           int    // its bytes
}

// atHome claims an endpoint of the account that has cached the conversation,
// whatever its tier and the load there. When that account pauses or is limited for a
// moment the result is a *Wait. It is nil, nil for a conversation without a home, or
// one whose home cannot take it: it is placed like a new one.
func (t *Table) atHome(q *Query, f *placement, tried *Tried, now time.Time) (*upstream.Lease, error) {
	if f.homes+f.pending == 0 {
		return nil, nil
	}
	lease, ready, err := t.tryHome(q, f, tried, now)
	if ready.IsZero() || ready.Sub(now) > q.Patience || q.FitOnly {
		return lease, err
	}
	changed := t.changed()
	if lease, ready, err = t.tryHome(q, f, tried, now); ready.IsZero() { // it came back in between
		return lease, err
	}
	return nil, &Wait{Until: ready, Changed: changed}
}

// serverOf names an endpoint among those of its account.
func serverOf(e *upstream.Endpoint) uint32 {
	id := e.ID()
	return binary.LittleEndian.Uint32(id[:])
}

// tryHome is atHome without waiting: ready is when it is worth trying again, zero when it is not.
func (t *Table) tryHome(q *Query, f *placement, tried *Tried, now time.Time) (lease *upstream.Lease, ready time.Time, err error) {
	for _, same := range [...]bool{true, false} { // the very server first, then others of its account
		for _, tier := range t.tiers {
			for _, e := range tier {
				warmth, home := f.cachedTokens(e.CacheScope())
				if !home || (f.serverAt(e.CacheScope()) == serverOf(e)) != same {
					continue
				}
				lease, at, err := t.tryServer(q, f, e, warmth, tried, now)
				if lease != nil || err != nil {
					return lease, time.Time{}, err
				}
				ready = sooner(ready, at)
			}
		}
		if same && !ready.IsZero() {
			return nil, ready, nil
		}
	}
	return nil, ready, nil
}

// tryServer is tryHome with one endpoint.
func (t *Table) tryServer(q *Query, f *placement, e *upstream.Endpoint, w Warmth, tried *Tried, now time.Time) (lease *upstream.Lease, ready time.Time, err error) {
	again, open := again(tried, e, w)
	if !open {
		return nil, time.Time{}, nil
	}
	s := f.subject(q, e)
	v := e.View(now, s)
	if v.Unfit != upstream.Fit || again.After(now) {
		if at := v.ReadyAfter(again); w.Cached > 0 && at.Sub(now) <= homeWait(v.Unfit) {
			ready = at
		}
		return nil, ready, nil
	}
	if lease := t.cheaper(q, f, e, w, tried, now); lease != nil {
		return lease, time.Time{}, nil
	}
	if wait := f.hold(q, e, now); wait != nil {
		return nil, time.Time{}, wait
	}
	if lease, ok := e.AcquireInto(q.LeaseBuf, now, s); ok {
		f.warmth = w
		return lease, time.Time{}, nil
	}
	return nil, time.Time{}, nil
}

const (
	// maxHomeWait is how long a conversation waits for the account that has cached
	// it. Moving it writes all of it into another cache, and a burst of such writes is what brings about
	// the next rate limit.
	maxHomeWait  = 30 * time.Second
	maxPauseWait = 3 * time.Second
)

// homeWait is how long a conversation waits for a home that takes nothing now. A rate
// limit tells when it is over; of an overloaded service that is only hoped.
func homeWait(u upstream.Unfit) time.Duration {
	switch u {
	case upstream.Fit, upstream.Paused:
		return maxPauseWait
	case upstream.QuotaLow, upstream.RateLimited:
		return maxHomeWait
	}
	return 0
}

// costlyMove is how many cached tokens make it worth asking an account a second time that refused.
const costlyMove = 8 << 10

// again says from when an endpoint may be asked, and whether it may at all: one that refused
// before it did any work is asked once more, if much is cached there.
func again(tried *Tried, e *upstream.Endpoint, w Warmth) (from time.Time, open bool) {
	if !tried.Has(e.ID()) {
		return time.Time{}, true
	}
	from, open = tried.retriableOnce(e.ID())
	return from, open && w.Cached >= costlyMove
}

// cheaper claims a server that charges less than home where it pays to leave: what the rewrite
// costs is earned back by the requests that are still to come, as many as there were.
func (t *Table) cheaper(q *Query, f *placement, home *upstream.Endpoint, w Warmth, tried *Tried, now time.Time) *upstream.Lease {
	const most = 50
	total, turns := float64(f.total), float64(min(len(q.Prompt.Turns)/2+1, most))
	least := home.Price() * (read*float64(w.Cached) + written*(total-float64(w.Cached)) + turns*read*total)
	var best *upstream.Endpoint
	for _, tier := range t.tiers {
		for _, e := range tier {
			cost := e.Price() * (written + turns*read) * total
			if e.Price() < home.Price() && cost < least && !tried.Has(e.ID()) && e.View(now, f.subject(q, e)).Unfit == upstream.Fit {
				best, least = e, cost
			}
		}
		if slices.Contains(tier, home) { // never to a worse tier
			break
		}
	}
	if best == nil {
		return nil
	}
	lease, _ := best.AcquireInto(q.LeaseBuf, now, f.subject(q, best))
	return lease
}

// minCachedShare is how many tokens must be on their way into a cache for others to be held back until they can read them.
const minCachedShare = 2048

// hold says how long the request waits before it is sent to an endpoint,
// because another one is just writing into the cache there what both begin with. It is nil when it need not.
func (f *placement) hold(q *Query, e *upstream.Endpoint, now time.Time) *Wait {
	if q.Hold <= 0 {
		return nil
	}
	w, _ := f.cachedTokens(e.CacheScope())
	tokens, since := f.inclPending(e.CacheScope())
	until := since.Add(q.Hold)
	if since.IsZero() || tokens-w.Cached < minCachedShare || !until.After(now) {
		return nil
	}
	return &Wait{Until: until, Changed: e.ChangedOrWoken()}
}

// markPending notes that an account is about to write a prompt into its cache:
// what begins with the same is best sent there too.
func (t *Table) markPending(q *Query, e *upstream.Endpoint, now time.Time) {
	if t.index == nil || !cacheable(q.Prompt) {
		return
	}
	h := holder{domain: e.CacheScope(), server: serverOf(e), expires: now.Add(pendingTTL).UnixNano(), pending: true}
	ratio := t.index.ratios.of(q.Subject.Model, usualRatio)
	for _, b := range cacheBreakpoints(q.Prompt) {
		if b.Bytes >= leastCached {
			h.tokens = uint32(float64(b.Bytes) * ratio)
			t.index.put(b.Fingerprint, h, now)
		}
	}
}

// cacheBreakpoints are the prefixes that a request leaves in the cache, as far as another one may begin with them.
func cacheBreakpoints(p *claude.Prompt) [3]claude.Boundary {
	return [...]claude.Boundary{p.Tools, p.System, p.Last()}
}

// leastTelling is how many bytes a prompt must have to tell how many tokens a byte makes.
const leastTelling = 4 << 10

// RecordOutput tells how long an answer was.
func (t *Table) RecordOutput(q *Query, output int64) {
	if t.index != nil && output > 0 {
		t.index.output.learn(q.Subject.Model, float64(output))
	}
}

// RecordCached tells that an endpoint's answer, to a request sent at start, has begun, and what it
// reports of the prompt: from now on its account has the prompt in its cache.
func (t *Table) RecordCached(q *Query, e *upstream.Endpoint, w Warmth, u claude.Usage, start time.Time) {
	if t.index == nil || q.Prompt == nil {
		return
	}
	if q.Hold > 0 {
		defer e.Wake() // siblings that were held back
	}
	x, p, total := t.index, q.Prompt, u.TotalInputTokens()
	if bytes := p.Last().Bytes; bytes >= leastTelling && total > 0 && total <= int64(bytes) {
		x.ratios.learn(q.Subject.Model, float64(total)/float64(bytes))
	}
	ttl := ttlOf(p)
	h := holder{domain: e.CacheScope(), server: serverOf(e), expires: start.Add(ttl).UnixNano()}
	if q.Conversation != 0 {
		x.replace(q.conversation(), holder{domain: h.domain, expires: start.Add(signerTTL).UnixNano()}, start)
	}
	if !cacheable(p) || total > 0 && u.CacheReadTokens+u.CacheCreationTokens() == 0 { // nothing is cached there
		return
	}
	ratio := float64(total) / float64(p.Last().Bytes)
	if total <= 0 || ratio > 1 { // it does not tell, or nothing that can be
		ratio = x.ratios.of(q.Subject.Model, usualRatio)
	}
	if w.boundary != 0 {
		held := h
		held.tokens = uint32(w.Cached)
		x.put(w.boundary, held, start)
	}
	for _, b := range cacheBreakpoints(p) {
		if b.Bytes >= leastCached {
			h.tokens = uint32(float64(b.Bytes) * ratio)
			x.put(b.Fingerprint, h, start)
		}
	}
	for b := range branchPoints(p) {
		h.tokens = uint32(float64(b.Bytes) * ratio)
		if b.Bytes > w.cut { // nobody had it yet
			x.put(b.Fingerprint, h, start)
		} else {
			x.join(b.Fingerprint, h, start)
		}
	}
}

// conversation is the place of the conversation's last account in the index.
func (q *Query) conversation() uint64 {
	const salt = 0x9e3779b97f4a7c15 // keeps it apart from the fingerprints of prompts
	return mix(q.Conversation ^ salt)
}
