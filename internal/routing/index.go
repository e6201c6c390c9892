package routing

import (
	"sync"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/claude"
)

const (
	shards = 64
	// entryBytes is the approximate memory of one fingerprint, including the map's overhead.
	entryBytes = 100
	// sweepEvery is the interval in which a shard drops expired entries.
	sweepEvery = time.Minute

	shortTTL = 5 * time.Minute
	longTTL  = time.Hour
	// pendingTTL bounds the time for which a prefix counts as being written, because a failed
	// attempt does not report it.
	pendingTTL = time.Minute
)

// Index records which account has cached which prompts. It outlives generations and is the only
// state of routing between requests. Safe for concurrent use, bounded in memory.
type Index struct {
	seed    uint64
	most    int // fingerprints per shard
	ratios  ratios
	output  ratios // usual output tokens
	flushes flushes
	shards  [shards]shard
}

type shard struct {
	mu      sync.Mutex
	entries map[uint64]entry // by fingerprint
	sweepAt int64
}

// entry lists the accounts that hold a prefix: nearly always one.
type entry struct {
	first holder
	more  []holder
}

// holder is an account that has a prefix in its cache, or is about to have it.
type holder struct {
	domain  uint64
	expires int64  // in Unix nanoseconds
	tokens  uint32 // of the prefix
	server  uint32 // the account's server that was used: keys of one organization may belong to workspaces with separate caches
	pending bool   // being written: not readable yet
}

// NewIndex returns an empty index that takes about the given number of bytes at most.
func NewIndex(bytes int, seed uint64) *Index {
	return &Index{seed: seed, most: max(bytes/entryBytes/shards, 16), ratios: ratios{byModel: map[string]float64{}}, output: ratios{byModel: map[string]float64{}}}
}

// Seed returns the seed of the fingerprints that the index can compare.
func (x *Index) Seed() uint64 { return x.seed }

func (x *Index) shard(fingerprint uint64) *shard { return &x.shards[fingerprint%shards] }

// put records that an account holds a prefix. A readable prefix stays readable.
func (x *Index) put(fingerprint uint64, h holder, now time.Time) {
	s := x.shard(fingerprint)
	s.mu.Lock()
	defer s.mu.Unlock()
	at := now.UnixNano()
	s.makeRoomLocked(x.most, at)
	e := s.entries[fingerprint]
	if old := e.of(h.domain); old != nil {
		if h.pending && old.expires > at {
			return
		}
		h.expires = max(h.expires, old.expires)
		*old = h
	} else if e.first.expires <= at {
		e.first = h
	} else {
		e.more = append(living(e.more, at), h)
	}
	s.entries[fingerprint] = e
}

// join records that an account holds a prefix, if the index has an entry for it.
func (x *Index) join(fingerprint uint64, h holder, now time.Time) {
	s := x.shard(fingerprint)
	s.mu.Lock()
	_, known := s.entries[fingerprint]
	s.mu.Unlock()
	if known {
		x.put(fingerprint, h, now)
	}
}

// replace records the only account of an entry.
func (x *Index) replace(fingerprint uint64, h holder, now time.Time) {
	s := x.shard(fingerprint)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.makeRoomLocked(x.most, now.UnixNano())
	s.entries[fingerprint] = entry{first: h}
}

// of returns the account's holder in the entry, nil if it has none.
func (e *entry) of(domain uint64) *holder {
	if e.first.domain == domain {
		return &e.first
	}
	for i := range e.more {
		if e.more[i].domain == domain {
			return &e.more[i]
		}
	}
	return nil
}

func living(list []holder, at int64) []holder {
	kept := list[:0]
	for _, h := range list {
		if h.expires > at {
			kept = append(kept, h)
		}
	}
	return kept
}

// makeRoomLocked drops expired entries from time to time, and arbitrary ones if that is not enough.
// It drops a tenth at once, so that a full index is not searched for every new entry.
func (s *shard) makeRoomLocked(most int, at int64) {
	if s.entries == nil {
		s.entries = map[uint64]entry{}
	}
	full := len(s.entries) >= most
	if at < s.sweepAt && !full {
		return
	}
	s.sweepLocked(at)
	if !full {
		return
	}
	for fingerprint := range s.entries {
		if len(s.entries) <= most*9/10 {
			return
		}
		delete(s.entries, fingerprint)
	}
}

// sweepLocked drops expired entries.
func (s *shard) sweepLocked(at int64) {
	s.sweepAt = at + int64(sweepEvery)
	for fingerprint, e := range s.entries {
		if e.first.expires > at && len(e.more) == 0 {
			continue // the usual case
		}
		all := living(append(e.more, e.first), at)
		if len(all) == 0 {
			delete(s.entries, fingerprint)
			continue
		}
		s.entries[fingerprint] = entry{first: all[len(all)-1], more: all[: len(all)-1 : len(all)-1]}
	}
}

// find appends the accounts that hold a prefix at a time.
func (x *Index) find(fingerprint uint64, at int64, into []holder) []holder {
	s := x.shard(fingerprint)
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.entries[fingerprint]
	if !ok {
		return into
	}
	if e.first.expires > at {
		into = append(into, e.first)
	}
	for _, h := range e.more {
		if h.expires > at {
			into = append(into, h)
		}
	}
	return into
}

// Len returns the number of prefixes, including expired ones.
func (x *Index) Len() int {
	n := 0
	for i := range x.shards {
		s := &x.shards[i]
		s.mu.Lock()
		n += len(s.entries)
		s.mu.Unlock()
	}
	return n
}

// ttlOf returns how long a prompt is cached after its last use, according to its cache_control.
func ttlOf(p *claude.Prompt) time.Duration {
	if p.LongTTL {
		return longTTL
	}
	return shortTTL
}

// ratios is a moving average per model, updated by responses: tokens per byte of text, which depend
// on the tokenizer, or output tokens per response. Safe for concurrent use.
type ratios struct {
	mu      sync.RWMutex
	byModel map[string]float64
}

const (
	// usualRatio applies until the first response: a token of English or code is about four bytes.
	usualRatio = 0.25
	// usualOutput applies to output tokens.
	usualOutput = 400
	maxRatios   = 256
)

func (r *ratios) of(model string, usual float64) float64 {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if ratio, ok := r.byModel[model]; ok {
		return ratio
	}
	return usual
}

// learn updates the average by one response.
func (r *ratios) learn(model string, seen float64) {
	const share = 0.1 // weight of one response
	r.mu.Lock()
	defer r.mu.Unlock()
	old, known := r.byModel[model]
	switch {
	case !known && len(r.byModel) >= maxRatios:
	case !known:
		r.byModel[model] = seen
	default:
		r.byModel[model] = old + share*(seen-old)
	}
}
