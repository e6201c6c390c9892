package routing

import (
	"iter"
	"slices"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/claude"
	"github.com/9bingyin/claude-code-lb/internal/upstream"
)

const (
	// warmEnough is the share of a conversation, without shared prefixes, that an account must have
	// cached to be its home. For less, waiting does not pay.
	warmEnough = 0.25
	// minCacheable is the shortest prompt that any model caches, in bytes: 512 tokens or more
	// (prompt-caching docs).
	minCacheable = 2 << 10
	// lookBack is the number of turns, from the end, whose prefixes are looked up: those by which a
	// conversation has grown since its last request.
	lookBack = 64
	// firstTurns is the number of first turns that are looked up too if a conversation has no home:
	// agents of one kind begin alike.
	firstTurns = 8
	// signerTTL is how long the account that served a conversation is remembered.
	signerTTL = 24 * time.Hour
)

// placement is the state of one search for an endpoint. It is reused by later searches.
type placement struct {
	total      int64           // tokens of the prompt
	output     int64           // expected output tokens
	boundary   claude.Boundary // the longest prefix of the conversation that any account has cached
	caches     accountCaches   // what each account has cached
	homes      int             // number of accounts that are a home of the conversation
	pending    int             // number of accounts that are receiving a longer part of it now
	found      []holder        // holders of one prefix
	last       uint64          // the last account that served the conversation, 0 if that was too long ago
	signer     uint64          // the last account that served it, at any time
	any        bool            // also use endpoints that should be avoided
	fit        []*upstream.Endpoint
	candidates []Candidate
	warmth     Warmth       // of the chosen endpoint
	considered []Considered // endpoints that were not available
}

func (f *placement) reset() {
	f.caches.reset()
	f.homes, f.pending, f.any, f.warmth = 0, 0, false, Warmth{}
	clear(f.considered) // they point to endpoints
	f.considered = f.considered[:0]
	f.last, f.signer, f.total, f.output, f.boundary = 0, 0, 0, 0, claude.Boundary{}
}

func cacheable(p *claude.Prompt) bool {
	return p != nil && p.HasBreakpoint && p.Last().Bytes >= minCacheable
}

// lookup finds the accounts that have parts of the prompt cached.
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
		for i := range f.caches.list { // a reported number is better than an estimate
			if h := f.caches.list[i].conversation; h.tokens > 0 {
				f.total = int64(h.tokens) + int64(float64(q.Prompt.Last().Bytes-f.boundary.Bytes)*ratio)
			}
		}
		return
	}
	x.lookupShared(q.Prompt, at, f)
}

// lookupShared finds for each account the longest prefix of the prompt that it has cached.
func (x *Index) lookupShared(p *claude.Prompt, at int64, f *placement) {
	for b := range branchPoints(p) {
		x.lookupFurther(b, at, f)
	}
	x.lookupFurther(p.System, at, f)
	x.lookupFurther(p.Tools, at, f)
}

// lookupFurther records the holders of a prefix: for each account only the first readable one and
// the first pending one.
func (x *Index) lookupFurther(b claude.Boundary, at int64, f *placement) {
	if b.Bytes < minCacheable {
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

// lookupHome finds the longest cached part of the conversation. Shared prefixes, such as tools and
// system, make no home: otherwise all conversations would have the same home.
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

// branchPoints returns the positions inside a conversation where another request may differ.
func branchPoints(p *claude.Prompt) iter.Seq[claude.Boundary] {
	return func(yield func(claude.Boundary) bool) {
		n := len(p.Turns)
		for i := n - 1; i >= 0; i-- {
			if i < firstTurns || i >= n-lookBack {
				if p.Turns[i].Bytes >= minCacheable && !yield(p.Turns[i]) {
					return
				}
			}
		}
	}
}

// ignoreAffinity makes the conversation one without a home.
func (f *placement) ignoreAffinity() {
	for i := range f.caches.list {
		f.caches.list[i].conversation, f.caches.list[i].conversationPending = holder{}, holder{}
	}
	f.homes, f.pending = 0, 0
}

// cachedTokens returns what an account has of the prompt, and whether it is a home of the
// conversation.
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

// compare completes the warmth of the chosen account by what other accounts have cached.
func (f *placement) compare(w *Warmth) {
	w.Total = f.total
	for i := range f.caches.list {
		s := &f.caches.list[i]
		w.Most = max(w.Most, min(int64(max(s.conversation.tokens, s.prefix.tokens)), f.total))
	}
}

// serverAt returns the server through which an account received its part of the conversation.
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

// inclPending returns the tokens of the prompt that an account has cached or is receiving, and
// since when.
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

// subject returns the request's demand at an endpoint: tokens that its account has cached need no
// budget there.
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

// lastServer returns the candidate whose account served the conversation last, unless a candidate
// has a part of the prompt cached and the policy considers that. It returns -1 if there is none.
func (f *placement) lastServer(better bool) int {
	if f.last == 0 || better && slices.ContainsFunc(f.candidates, func(c Candidate) bool { return c.Cached > 0 }) {
		return -1
	}
	return slices.IndexFunc(f.candidates, func(c Candidate) bool { return c.domain == f.last })
}

// signerServer returns the candidate whose account signed the thinking in the conversation, unless
// it is loaded above the others. It returns -1 if there is none.
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
