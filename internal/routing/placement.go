package routing

import (
	"iter"
	"slices"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/claude"
	"github.com/9bingyin/claude-code-lb/internal/upstream"
)

const (
	// warmEnough is the share of a conversation, shared beginnings left out, that must be cached for an
	// account to be its home: for less it is not worth waiting.
	warmEnough = 0.25
	// leastCached is the shortest prompt that any model caches, in bytes: 512 tokens or more (prompt-caching docs).
	leastCached = 2 << 10
	// lookBack is how many turns from the end are looked at: what a conversation has grown by since its last request.
	lookBack = 64
	// firstTurns are looked at too when a conversation is at home nowhere: agents of one kind begin alike.
	firstTurns = 8
	// signerTTL is how long the account is remembered that served a conversation.
	signerTTL = 24 * time.Hour
)

// placement is what one search for an endpoint knows of the prompt. It is used again by later searches.
type placement struct {
	total      int64           // tokens of the prompt
	output     int64           // tokens that the answer will have, as answers usually do
	boundary   claude.Boundary // the longest prefix of the conversation that can be read from any cache
	caches     accountCaches   // what each account has
	homes      int             // how many of them the conversation is at home in
	pending    int             // how many are being sent a longer part of it right now
	found      []holder        // of one prefix
	last       uint64          // the account that served the conversation last, 0 if none did lately
	signer     uint64          // the account that served it last, however long ago
	any        bool            // also use endpoints that should be avoided
	fit        []*upstream.Endpoint
	candidates []Candidate
	warmth     Warmth       // of the chosen endpoint
	considered []Considered // the endpoints that were not available
}

func (f *placement) reset() {
	f.caches.reset()
	f.homes, f.pending, f.any, f.warmth = 0, 0, false, Warmth{}
	clear(f.considered) // they point to endpoints
	f.considered = f.considered[:0]
	f.last, f.signer, f.total, f.output, f.boundary = 0, 0, 0, 0, claude.Boundary{}
}

func cacheable(p *claude.Prompt) bool {
	return p != nil && p.HasBreakpoint && p.Last().Bytes >= leastCached
}

// lookup finds out who holds what of the prompt.
func (x *Index) lookup(q *Query, now time.Time, f *placement) {
	if q.Prompt == nil {
		return
	}
	ratio := x.ratios.of(q.Subject.Model, usualRatio)
	f.output = int64(x.output.of(q.Subject.Model, usualOutput))
	if q.MaxTokens > 0 {
		f.output = min(f.output, q.MaxTokens)
	}
	f.total = int64(float64(q.Prompt.Last().Bytes) * ratio)
	at := now.UnixNano()
	if q.Conversation != 0 && !q.Compacted {
		var room [1]holder
		for _, h := range x.find(q.conversation(), at, room[:0]) {
			f.signer = h.domain
			if time.Unix(0, h.expires).Add(ttlOf(q.Prompt) - signerTTL).After(now) {
				f.last = h.domain
			}
		}
	}
	if !cacheable(q.Prompt) {
		return
	}
	if !q.Compacted {
		x.lookupHome(q.Prompt, at, f)
	}
	if f.homes > 0 {
		for i := range f.caches.list { // what was counted beats what was estimated
			if h := f.caches.list[i].conversation; h.tokens > 0 {
				f.total = int64(h.tokens) + int64(float64(q.Prompt.Last().Bytes-f.boundary.Bytes)*ratio)
			}
		}
		return
	}
	x.lookupShared(q.Prompt, at, f)
}

// lookupShared finds for each account the longest prefix of the prompt that it holds.
func (x *Index) lookupShared(p *claude.Prompt, at int64, f *placement) {
	for b := range branchPoints(p) {
		x.lookupFurther(b, at, f)
	}
	x.lookupFurther(p.System, at, f)
	x.lookupFurther(p.Tools, at, f)
}

// lookupFurther notes the holders of a prefix, but of each account only the first that
// can be read and the first that is on its way.
func (x *Index) lookupFurther(b claude.Boundary, at int64, f *placement) {
	if b.Bytes < leastCached {
		return
	}
	f.found = x.find(b.Fingerprint, at, f.found[:0])
	for _, h := range f.found {
		s := f.caches.open(h.domain)
		part := &s.prefix
		if h.pending {
			part = &s.prefixPending
		}
		if part.none() {
			*part = h
		}
	}
}

// lookupHome finds the longest part of the conversation that is cached. What
// conversations share, tools and system, makes no home: all would live in one.
func (x *Index) lookupHome(p *claude.Prompt, at int64, f *placement) {
	shared := p.System.Bytes
	least := shared + int(warmEnough*float64(p.Last().Bytes-shared))
	for i := len(p.Turns) - 1; i >= max(len(p.Turns)-lookBack, 0); i-- {
		b := p.Turns[i]
		if b.Bytes < least {
			return
		}
		first := f.pending == 0
		f.found = x.find(b.Fingerprint, at, f.found[:0])
		for _, h := range f.found {
			if !h.pending {
				f.caches.open(h.domain).conversation = h
				f.homes++
			} else if first {
				f.caches.open(h.domain).conversationPending = h
				f.pending++
			}
		}
		if f.homes > 0 {
			f.boundary = b
			return
		}
	}
}

// branchPoints are the places inside a conversation where another request may part from it.
func branchPoints(p *claude.Prompt) iter.Seq[claude.Boundary] {
	return func(yield func(claude.Boundary) bool) {
		n := len(p.Turns)
		for i := n - 1; i >= 0; i-- {
			if i < firstTurns || i >= n-lookBack {
				if p.Turns[i].Bytes >= leastCached && !yield(p.Turns[i]) {
					return
				}
			}
		}
	}
}

// ignoreAffinity makes the conversation one that is at home nowhere.
func (f *placement) ignoreAffinity() {
	for i := range f.caches.list {
		f.caches.list[i].conversation, f.caches.list[i].conversationPending = holder{}, holder{}
	}
	f.homes, f.pending = 0, 0
}

// cachedTokens is what an account has of the prompt, and whether the conversation is at home there.
func (f *placement) cachedTokens(domain uint64) (w Warmth, home bool) {
	w.Total = f.total
	s := f.caches.of(domain)
	if s == nil {
		return w, false
	}
	if h := s.conversation; !h.none() {
		return Warmth{
			Cached: min(int64(h.tokens), f.total), Total: f.total, Expires: time.Unix(0, h.expires),
			Home: true, boundary: f.boundary.Fingerprint, cut: f.boundary.Bytes,
		}, true
	}
	if h := s.prefix; !h.none() {
		w.Cached, w.Expires = min(int64(h.tokens), f.total), time.Unix(0, h.expires)
	}
	return w, f.homes == 0 && !s.conversationPending.none()
}

// compare completes what is said of the chosen account with what the others hold.
func (f *placement) compare(w *Warmth) {
	w.Total = f.total
	for i := range f.caches.list {
		s := &f.caches.list[i]
		w.Most = max(w.Most, min(int64(max(s.conversation.tokens, s.prefix.tokens)), f.total))
	}
}

// serverAt is the server through which an account was given what it holds of the conversation.
func (f *placement) serverAt(domain uint64) uint32 {
	s := f.caches.of(domain)
	switch {
	case s == nil:
		return 0
	case !s.conversation.none():
		return s.conversation.server
	}
	return s.conversationPending.server
}

// inclPending is what an account has of the prompt or is just being sent, in tokens, and since when it is.
func (f *placement) inclPending(domain uint64) (tokens int64, since time.Time) {
	s := f.caches.of(domain)
	if s == nil {
		return 0, time.Time{}
	}
	for _, h := range [...]*holder{&s.conversationPending, &s.prefix, &s.prefixPending} {
		if int64(h.tokens) > tokens {
			tokens, since = int64(h.tokens), time.Time{}
			if h.pending {
				since = time.Unix(0, h.expires).Add(-pendingTTL)
			}
		}
	}
	return min(tokens, f.total), since
}

// subject is what the request asks of an endpoint: what its account has cached costs no budget there.
func (f *placement) subject(q *Query, e *upstream.Endpoint) upstream.Subject {
	s := q.Subject
	if f.total == 0 {
		return s
	}
	warmth, _ := f.cachedTokens(e.CacheScope())
	s.Tokens, s.Demand.Output = f.total, f.output
	s.Demand.Input = max(f.total-warmth.Cached, 0)
	return s
}

// lastServer finds the candidate whose account has served the conversation lately, unless
// the policy can do better than habit: where some candidate holds a part of the prompt. It is -1 when there is none.
func (f *placement) lastServer(better bool) int {
	if f.last == 0 || better && slices.ContainsFunc(f.candidates, func(c Candidate) bool { return c.Cached > 0 }) {
		return -1
	}
	return slices.IndexFunc(f.candidates, func(c Candidate) bool { return c.domain == f.last })
}

// signerServer finds the candidate whose account has signed the thinking in the conversation, unless
// it is loaded above the others. It is -1 when there is none.
func (f *placement) signerServer(q *Query) int {
	if f.signer == 0 || !q.Prompt.Thinking {
		return -1
	}
	i := slices.IndexFunc(f.candidates, func(c Candidate) bool { return c.domain == f.signer })
	if i < 0 || f.candidates[i].load() > boundOf(f.candidates) {
		return -1
	}
	return i
}
