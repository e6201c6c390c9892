package routing

import (
	"sync"
	"time"

	"claude-code-lb/internal/claude"
	"claude-code-lb/internal/upstream"
)

const (
	shards = 64
	// maxFingerprints bounds the index, at about 100 bytes each: several per conversation that is cached anywhere.
	maxFingerprints = 400_000
	// leastCached is the shortest prompt that any model caches, in bytes: 512 tokens or more (prompt-caching docs).
	leastCached = 2 << 10
	// lookBack is how many turns from the end are looked at: what a conversation has grown by since its last request.
	lookBack = 64

	shortTTL = 5 * time.Minute
	longTTL  = time.Hour
)

// Index remembers which account has cached which prompts. It outlives
// generations and is all that routing remembers between requests. Safe for
// concurrent use, bounded in memory.
type Index struct {
	shards [shards]shard
}

type shard struct {
	mu      sync.Mutex
	holders map[uint64][]holder // by fingerprint
}

// holder is an account that has a prefix in its cache.
type holder struct {
	domain  uint64
	expires time.Time
}

// NewIndex returns an empty index.
func NewIndex() *Index { return &Index{} }

func (x *Index) shard(fingerprint uint64) *shard { return &x.shards[fingerprint%shards] }

// Remember notes that an account's cache holds a prompt since its answer to it
// has begun. The time to live counts from the start of the request.
func (x *Index) Remember(e *upstream.Endpoint, p *claude.Prompt, start time.Time) {
	if !cacheable(p) {
		return
	}
	ttl := shortTTL
	if p.Hour {
		ttl = longTTL
	}
	h := holder{domain: e.Domain(), expires: start.Add(ttl)}
	for _, b := range [...]claude.Boundary{p.Tools, p.System, p.Last()} {
		if b.Bytes >= leastCached {
			x.shard(b.Fingerprint).put(b.Fingerprint, h, start)
		}
	}
}

func cacheable(p *claude.Prompt) bool {
	return p != nil && p.Marked && p.Last().Bytes >= leastCached
}

func (s *shard) put(fingerprint uint64, h holder, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.holders == nil {
		s.holders = map[uint64][]holder{}
	}
	list := s.holders[fingerprint]
	for i := range list {
		if list[i].domain == h.domain {
			if h.expires.After(list[i].expires) {
				list[i].expires = h.expires
			}
			return
		}
	}
	if len(s.holders) >= maxFingerprints/shards {
		s.makeRoom(now)
	}
	s.holders[fingerprint] = append(living(list, now), h)
}

// makeRoom drops what has expired, and else an arbitrary part.
func (s *shard) makeRoom(now time.Time) {
	for fingerprint, list := range s.holders {
		if list = living(list, now); len(list) > 0 {
			s.holders[fingerprint] = list
		} else {
			delete(s.holders, fingerprint)
		}
	}
	for fingerprint := range s.holders {
		if len(s.holders) < maxFingerprints/shards*9/10 {
			return
		}
		delete(s.holders, fingerprint)
	}
}

func living(list []holder, now time.Time) []holder {
	kept := list[:0]
	for _, h := range list {
		if h.expires.After(now) {
			kept = append(kept, h)
		}
	}
	return kept
}

// Warmth is what an account holds of a prompt.
type Warmth struct {
	Held, Total int // bytes of the prompt
	Expires     time.Time
}

// warmEnough is the share of a prompt that must be cached for an account to be its home: for less it is not worth waiting.
const warmEnough = 0.25

// home finds the accounts that hold the longest part of a conversation, and how
// much that is. What conversations share, tools and system, does not make a home: everybody
// would live in one.
func (x *Index) home(p *claude.Prompt, now time.Time, into []uint64) ([]uint64, Warmth) {
	if x == nil || !cacheable(p) {
		return nil, Warmth{}
	}
	total := p.Last().Bytes
	for i := len(p.Turns) - 1; i >= max(len(p.Turns)-lookBack, 0); i-- {
		b := p.Turns[i]
		if float64(b.Bytes) < warmEnough*float64(total) {
			break
		}
		if domains, expires := x.shard(b.Fingerprint).find(b.Fingerprint, now, into); len(domains) > 0 {
			return domains, Warmth{Held: b.Bytes, Total: total, Expires: expires}
		}
	}
	return nil, Warmth{}
}

// find appends the accounts that hold a prefix, and returns when the last of them forgets it.
func (s *shard) find(fingerprint uint64, now time.Time, into []uint64) ([]uint64, time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var last time.Time
	for _, h := range s.holders[fingerprint] {
		if h.expires.After(now) {
			into = append(into, h.domain)
			if h.expires.After(last) {
				last = h.expires
			}
		}
	}
	return into, last
}

// Len is the number of prefixes remembered, expired ones included.
func (x *Index) Len() int {
	n := 0
	for i := range x.shards {
		s := &x.shards[i]
		s.mu.Lock()
		n += len(s.holders)
		s.mu.Unlock()
	}
	return n
}
