package fakeclaude

import (
	"strings"
	"time"
)

const (
	maxBreakpoints = 4
	lookback       = 20 // blocks a breakpoint looks back over, itself included

	shortTTL = 5 * time.Minute
	longTTL  = time.Hour

	maxCacheEntries = 100_000
)

// prefixHash names everything of a prompt up to the end of one block, and its model.
type prefixHash [16]byte

// cacheEntry exists from the first token of the answer that wrote it.
type cacheEntry struct {
	ttl     time.Duration
	expires time.Time
}

// promptCache is what one account has cached. The account's lock guards it.
type promptCache struct {
	entries map[prefixHash]cacheEntry
	sweepAt time.Time
}

// cacheUse is what the cache means for one request. Tokens partition the prompt:
// read, then write1h, then write5m, then plain.
type cacheUse struct {
	read, write1h, write5m, plain int64
	hit                           int // index of the block the read ends at, -1 for none
}

// billedInput is what counts against the input token limit.
func (u cacheUse) billedInput() int64 { return u.plain + u.write1h + u.write5m }

// lookup finds the longest cached prefix that one of the prompt's breakpoints can
// see, and says what the request reads and will write. It changes nothing.
func (c *promptCache) lookup(p *prompt, minimum int64, now time.Time) cacheUse {
	use := cacheUse{hit: -1}
	for i := len(p.marks) - 1; i >= 0 && use.hit < 0; i-- {
		use.hit = c.find(p, p.marks[i].block, now)
	}
	if use.hit >= 0 {
		use.read = p.blocks[use.hit].upTo
	}
	done := use.read
	for _, m := range p.marks {
		upTo := p.blocks[m.block].upTo
		if upTo <= done || upTo < minimum {
			continue
		}
		if m.ttl == longTTL {
			use.write1h += upTo - done
		} else {
			use.write5m += upTo - done
		}
		done = upTo
	}
	use.plain = p.tokens - done
	return use
}

func (c *promptCache) find(p *prompt, from int, now time.Time) int {
	for i := from; i >= 0 && i > from-lookback; i-- {
		if e, ok := c.entries[p.blocks[i].hash]; ok && e.expires.After(now) {
			return i
		}
	}
	return -1
}

// refresh prolongs, from the start of the request, what its read runs over.
func (c *promptCache) refresh(p *prompt, hit int, start time.Time) {
	if hit < 0 {
		return
	}
	c.prolong(p.blocks[hit].hash, start)
	for _, m := range p.marks {
		if m.block < hit {
			c.prolong(p.blocks[m.block].hash, start)
		}
	}
}

func (c *promptCache) prolong(h prefixHash, start time.Time) {
	e, ok := c.entries[h]
	if !ok || !e.expires.After(start) {
		return
	}
	if expires := start.Add(e.ttl); expires.After(e.expires) {
		e.expires = expires
		c.entries[h] = e
	}
}

// write makes the prefixes at the prompt's breakpoints readable. It runs when the
// answer begins, while lifetimes count from the start of the request. Only what
// stands behind the read was paid for and may change the lifetime of an entry.
func (c *promptCache) write(p *prompt, hit int, minimum int64, start, now time.Time) {
	c.sweep(now)
	for _, m := range p.marks {
		b := p.blocks[m.block]
		if b.upTo < minimum {
			continue
		}
		e := c.entries[b.hash]
		if m.block <= hit && e.expires.After(start) {
			continue
		}
		if expires := start.Add(m.ttl); expires.After(e.expires) {
			c.entries[b.hash] = cacheEntry{ttl: m.ttl, expires: expires}
		}
	}
}

// sweep drops the expired entries once a minute, and everything when that did not
// bring the cache under its bound.
func (c *promptCache) sweep(now time.Time) {
	if c.entries == nil {
		c.entries = map[prefixHash]cacheEntry{}
	}
	if now.Before(c.sweepAt) && len(c.entries) < maxCacheEntries {
		return
	}
	c.sweepAt = now.Add(time.Minute)
	for h, e := range c.entries {
		if !e.expires.After(now) {
			delete(c.entries, h)
		}
	}
	if len(c.entries) >= maxCacheEntries {
		clear(c.entries)
	}
}

// checkMarks enforces the API's rules about cache_control.
func checkMarks(marks []mark) error {
	if len(marks) > maxBreakpoints {
		return complaint("A maximum of %d blocks with cache_control may be provided. Found %d.", maxBreakpoints, len(marks))
	}
	for i := 1; i < len(marks); i++ {
		if marks[i].ttl > marks[i-1].ttl {
			return complaint("%s.cache_control.ttl: a ttl='1h' cache_control block must not come after a ttl='5m' cache_control block", marks[i].path)
		}
	}
	return nil
}

// minimumPrefix is the number of tokens below which a prefix is silently not cached
// (prompt-caching docs). The longest part of a name that fits decides.
func minimumPrefix(model string) int64 {
	longest, minimum := 0, int64(1024)
	for _, m := range [...]struct {
		part   string
		tokens int64
	}{
		{"fable", 512}, {"mythos-5", 512}, {"opus-5", 512}, {"sonnet-5-5", 512}, {"haiku-5-5", 512},
		{"opus-4-7", 2048}, {"mythos-preview", 2048}, {"haiku-3-5", 2048}, {"3-5-haiku", 2048},
		{"opus-4-6", 4096}, {"opus-4-5", 4096}, {"haiku-4-5", 4096},
	} {
		if len(m.part) > longest && strings.Contains(model, m.part) {
			longest, minimum = len(m.part), m.tokens
		}
	}
	return minimum
}
