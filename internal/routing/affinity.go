package routing

import (
	"encoding/binary"
	"slices"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/claude"
	"github.com/9bingyin/claude-code-lb/internal/upstream"
)

// Warmth is the part of the prompt that the account of the chosen endpoint has cached.
type Warmth struct {
	Home          bool  // the endpoint was chosen because of it
	Followed      bool  // the endpoint was chosen because its account gave the response that the request continues
	Cached, Total int64 // tokens, estimated if no response has reported them
	Most          int64 // the most that any account has cached
	Expires       time.Time
	boundary      uint64 // fingerprint of the cached prefix
	cut           int    // bytes of the cached prefix
}

// atHome acquires an endpoint of the account that has cached the conversation, regardless of its
// tier and load. If that account is paused or limited for a moment, the error is a *Wait. It
// returns nil, nil for a conversation without a home, or with a home that cannot take the request
// soon: then the conversation is placed like a new one.
func (t *Table) atHome(q *Query, f *placement, tried *Tried, now time.Time) (*upstream.Lease, error) {
	if f.homes+f.pending == 0 {
		return nil, nil
	}
	lease, ready, err := t.tryHome(q, f, tried, now)
	if ready.IsZero() || ready.Sub(now) > q.Patience || q.FitOnly {
		return lease, err
	}
	changed := t.changed()
	if lease, ready, err = t.tryHome(q, f, tried, now); ready.IsZero() { // the home has returned in the meantime
		return lease, err
	}
	return nil, &Wait{Until: ready, Changed: changed}
}

// serverOf returns a number that identifies an endpoint within its account.
func serverOf(e *upstream.Endpoint) uint32 {
	id := e.ID()
	return binary.LittleEndian.Uint32(id[:])
}

// tryHome does what atHome does without waiting. If it returns no lease, ready is when a retry
// makes sense, or zero.
func (t *Table) tryHome(q *Query, f *placement, tried *Tried, now time.Time) (lease *upstream.Lease, ready time.Time, err error) {
	for _, same := range [...]bool{true, false} { // the same server first, then others of its account
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

// tryServer does what tryHome does for one endpoint.
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
	// maxHomeWait bounds the wait of a conversation for the account that has cached it. To move it
	// means to write all of it into another cache, and a burst of such writes causes the next rate
	// limit.
	maxHomeWait  = 30 * time.Second
	maxPauseWait = 3 * time.Second
)

// homeWait returns how long a conversation waits for a home that is not available. The end of a
// rate limit is known; the end of an overload is not.
func homeWait(u upstream.Unfit) time.Duration {
	switch u {
	case upstream.Fit, upstream.Paused:
		return maxPauseWait
	case upstream.QuotaLow, upstream.RateLimited:
		return maxHomeWait
	}
	return 0
}

// costlyMove is the number of cached tokens from which a second attempt at an account that refused
// is worth it.
const costlyMove = 8 << 10

// again reports whether a request may try an endpoint, and from when. An endpoint that refused
// before it did any work is tried once more if its account has much cached.
func again(tried *Tried, e *upstream.Endpoint, w Warmth) (from time.Time, open bool) {
	if !tried.Has(e.ID()) {
		return time.Time{}, true
	}
	from, open = tried.retriableOnce(e.ID())
	return from, open && w.Cached >= costlyMove
}

// cheaper acquires a server that charges less than home if the move pays off: the expected further
// requests, as many as there were, save more than the rewrite costs.
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
		if slices.Contains(tier, home) { // never a worse tier
			break
		}
	}
	if best == nil {
		return nil
	}
	lease, _ := best.AcquireInto(q.LeaseBuf, now, f.subject(q, best))
	return lease
}

// minCachedShare is the number of tokens that another request must be writing into a cache, so that
// this one waits to read them.
const minCachedShare = 2048

// hold returns how long the request waits before an endpoint gets it, because another request is
// writing their common prefix into the cache there. It returns nil if the request need not wait.
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

// markPending records that an account is about to write a prompt into its cache. Requests with the
// same prefix go there too.
func (t *Table) markPending(q *Query, e *upstream.Endpoint, now time.Time) {
	if t.index == nil || !cacheable(q.Prompt) {
		return
	}
	h := holder{domain: e.CacheScope(), server: serverOf(e), expires: now.Add(pendingTTL).UnixNano(), pending: true}
	ratio := t.index.ratios.of(q.Subject.Model, usualRatio)
	for _, b := range cacheBreakpoints(q.Prompt) {
		if b.Bytes >= minCacheable {
			h.tokens = uint32(float64(b.Bytes) * ratio)
			t.index.put(b.Fingerprint, h, now)
		}
	}
}

// cacheBreakpoints returns the prefixes that a request leaves in the cache and with which another
// request may begin.
func cacheBreakpoints(p *claude.Prompt) [3]claude.Boundary {
	return [...]claude.Boundary{p.Tools, p.System, p.Last()}
}

// minRatioBytes is the size of a prompt, in bytes, from which its usage reports a reliable number
// of tokens per byte.
const minRatioBytes = 4 << 10

// RecordOutput records the number of output tokens of a response.
func (t *Table) RecordOutput(q *Query, output int64) {
	if t.index != nil && output > 0 {
		t.index.output.learn(q.Subject.Model, float64(output))
	}
}

// RecordCached records that the response of an endpoint, to a request sent at start, has begun, and
// its usage of the prompt. From now on the endpoint's account has the prompt in its cache.
func (t *Table) RecordCached(q *Query, e *upstream.Endpoint, w Warmth, u claude.Usage, start time.Time) {
	if t.index == nil || q.Prompt == nil {
		return
	}
	if q.Hold > 0 {
		defer e.Wake() // wakes requests that wait to read the prefix
	}
	x, p, total := t.index, q.Prompt, u.TotalInputTokens()
	if bytes := p.Last().Bytes; bytes >= minRatioBytes && total > 0 && total <= int64(bytes) {
		x.ratios.learn(q.Subject.Model, float64(total)/float64(bytes))
	}
	ttl := ttlOf(p)
	h := holder{domain: e.CacheScope(), server: serverOf(e), expires: start.Add(ttl).UnixNano()}
	if q.Conversation != 0 {
		x.replace(q.conversation(), holder{domain: h.domain, expires: start.Add(signerTTL).UnixNano()}, start)
	}
	if !cacheable(p) || total > 0 && u.CacheReadTokens+u.CacheCreationTokens() == 0 { // the account has cached none of it
		return
	}
	ratio := float64(total) / float64(p.Last().Bytes)
	if total <= 0 || ratio > 1 { // the usage reports no tokens, or an impossible number
		ratio = x.ratios.of(q.Subject.Model, usualRatio)
	}
	if w.boundary != 0 {
		held := h
		held.tokens = uint32(w.Cached)
		x.put(w.boundary, held, start)
	}
	for _, b := range cacheBreakpoints(p) {
		if b.Bytes >= minCacheable {
			h.tokens = uint32(float64(b.Bytes) * ratio)
			x.put(b.Fingerprint, h, start)
		}
	}
	for b := range branchPoints(p) {
		h.tokens = uint32(float64(b.Bytes) * ratio)
		if b.Bytes > w.cut { // no account had it before
			x.put(b.Fingerprint, h, start)
		} else {
			x.join(b.Fingerprint, h, start)
		}
	}
}

// conversation returns the index entry that holds the conversation's last account.
func (q *Query) conversation() uint64 {
	const salt = 0x9e3779b97f4a7c15 // separates it from fingerprints of prompts
	return mix(q.Conversation ^ salt)
}
