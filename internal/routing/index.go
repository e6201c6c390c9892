package routing

import (
	"sync"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/claude"
)

const (
	shards = 64
	// entryBytes is about what one fingerprint takes in memory, the map's own room included.
	entryBytes = 100
	// sweepEvery is how often a shard drops what has expired.
	sweepEvery = time.Minute

	shortTTL = 5 * time.Minute
	longTTL  = time.Hour
	// pendingTTL bounds how long a prefix counts as being written: an attempt that failed never says so.
	pendingTTL = time.Minute
)

// Index remembers which account has cached which prompts. It outlives
// generations and is all that routing remembers between requests. Safe for
// concurrent use, bounded in memory.
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

// entry is who holds a prefix: nearly always one account.
type entry struct {
	first holder
	more  []holder
}

// holder is an account that has a prefix in its cache, or is about to.
type holder struct {
	domain  uint64
	expires int64  // in Unix nanoseconds
	tokens  uint32 // of the prefix
	server  uint32 // of the account that was used: keys of one organization may stand in workspaces with caches of their own
	pending bool   // being written: it cannot be read yet
}

// NewIndex returns an empty index that takes so many bytes of memory at most, about.
func NewIndex(bytes int, seed uint64) *Index {
	return &Index{seed: seed, most: max(bytes/entryBytes/shards, 16), ratios: ratios{byModel: map[string]float64{}}, output: ratios{byModel: map[string]float64{}}}
}

// Seed is that of the fingerprints that the index can compare.
func (x *Index) Seed() uint64 { return x.seed }

func (x *Index) shard(fingerprint uint64) *shard { return &x.shards[fingerprint%shards] }

// put notes that an account holds a prefix. What is readable already stays so.
func (x *Index) put(fingerprint uint64, h holder, now time.Time) {
	s := x.shard(fingerprint)
	s.mu.Lock()
	defer s.mu.Unlock()
	at := now.UnixNano()
	s.makeRoom(x.most, at)
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

// join notes that an account holds a prefix, if it is remembered of any account.
func (x *Index) join(fingerprint uint64, h holder, now time.Time) {
	s := x.shard(fingerprint)
	s.mu.Lock()
	_, known := s.entries[fingerprint]
	s.mu.Unlock()
	if known {
		x.put(fingerprint, h, now)
	}
}

// replace notes the only account that an entry has from now on.
func (x *Index) replace(fingerprint uint64, h holder, now time.Time) {
	s := x.shard(fingerprint)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.makeRoom(x.most, now.UnixNano())
	s.entries[fingerprint] = entry{first: h}
}

// of returns the account's place in the entry, nil when it has none.
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

// makeRoom drops what has expired from time to time, and an arbitrary part when that is not enough. A tenth is dropped
// at once, so that a full index is not gone through for every entry.
func (s *shard) makeRoom(most int, at int64) {
	if s.entries == nil {
		s.entries = map[uint64]entry{}
	}
	full := len(s.entries) >= most
	if at < s.sweepAt && !full {
		return
	}
	s.sweep(at)
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

// sweep drops what has expired.
func (s *shard) sweep(at int64) {
	s.sweepAt = at + int64(sweepEvery)
	for fingerprint, e := range s.entries {
		if e.first.expires > at && len(e.more) == 0 {
			continue // as nearly all are
		}
		all := living(append(e.more, e.first), at)
		if len(all) == 0 {
			delete(s.entries, fingerprint)
			continue
		}
		s.entries[fingerprint] = entry{first: all[len(all)-1], more: all[: len(all)-1 : len(all)-1]}
	}
}

// find appends the accounts that hold a prefix at a moment.
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

// Len is the number of prefixes remembered, expired ones included.
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

// ttlOf is how long a prompt is cached after its last use, as its marks ask for.
func ttlOf(p *claude.Prompt) time.Duration {
	if p.LongTTL {
		return longTTL
	}
	return shortTTL
}

// ratios is a number by model that follows what answers report: how many tokens
// a byte of text makes, for tokenizers differ, or how long answers are. Safe for concurrent use.
type ratios struct {
	mu      sync.RWMutex
	byModel map[string]float64
}

const (
	// usualRatio is used until the first answer: a token of English or code is about four bytes.
	usualRatio = 0.25
	// usualOutput is the same for the tokens of an answer.
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

// learn takes what one answer reports.
func (r *ratios) learn(model string, seen float64) {
	const share = 0.1 // of one answer
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
