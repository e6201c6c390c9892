package fakeclaude

import (
	"strings"
	"time"
)

const (
	maxBreakpoints = 4
	lookback       = 20 // blocks that are searched before a breakpoint, with its own

	shortTTL = 5 * time.Minute
	longTTL  = time.Hour

	maxCacheEntries = 100_000
)

// prefixHash identifies a model and a prefix of a prompt that ends with a block.
type prefixHash [16]byte

// cacheEntry exists from the first token of the response that wrote it.
type cacheEntry struct {
	ttl     time.Duration
	expires time.Time
}

// promptCache holds the cached prefixes of one account. The lock of the account guards it.
type promptCache struct {
	entries map[prefixHash]cacheEntry
	sweepAt time.Time
}

// cacheUse divides the tokens of a prompt by their use of the cache, in this order: read, write1h,
// write5m, plain.
type cacheUse struct {
	read, write1h, write5m, plain int64
	hit                           int // index of the last block that is read, -1 for none
}

// billedInput returns the tokens that count towards the limit of input tokens.
func (u cacheUse) billedInput() int64 { return u.plain + u.write1h + u.write5m }

// lookup finds the longest cached prefix within the lookback of a breakpoint, and returns what the
// request reads and will write. It does not change the cache.
func (c *promptCache) lookup(p *prompt, minimum int64, now time.Time) cacheUse {
	use := cacheUse{hit: -1}
	for i := len(p.breakpoints) - 1; i >= 0 && use.hit < 0; i-- {
		use.hit = c.find(p, p.breakpoints[i].block, now)
	}
	if use.hit >= 0 {
		use.read = p.blocks[use.hit].prefixTokens
	}
	done := use.read
	for _, m := range p.breakpoints {
		prefixTokens := p.blocks[m.block].prefixTokens
		if prefixTokens <= done || prefixTokens < minimum {
			continue
		}
		if m.ttl == longTTL {
			use.write1h += prefixTokens - done
		} else {
			use.write5m += prefixTokens - done
		}
		done = prefixTokens
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

// refresh extends the lifetime of the entries that a request reads, counted from its start.
func (c *promptCache) refresh(p *prompt, hit int, start time.Time) {
	if hit < 0 {
		return
	}
	c.extend(p.blocks[hit].hash, start)
	for _, m := range p.breakpoints {
		if m.block < hit {
			c.extend(p.blocks[m.block].hash, start)
		}
	}
}

func (c *promptCache) extend(h prefixHash, start time.Time) {
	e, ok := c.entries[h]
	if !ok || !e.expires.After(start) {
		return
	}
	if expires := start.Add(e.ttl); expires.After(e.expires) {
		e.expires = expires
		c.entries[h] = e
	}
}

// write adds the prefixes at the breakpoints of a prompt. It is called when the response begins,
// but lifetimes count from the start of the request. Only entries after the part that was read can
// get a longer TTL, because only they were paid for.
func (c *promptCache) write(p *prompt, hit int, minimum int64, start, now time.Time) {
	c.sweep(now)
	for _, m := range p.breakpoints {
		b := p.blocks[m.block]
		if b.prefixTokens < minimum {
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

// sweep removes expired entries once a minute, and all entries if there are still too many.
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

// checkBreakpoints checks the rules of the API for cache_control.
func checkBreakpoints(breakpoints []breakpoint) error {
	if len(breakpoints) > maxBreakpoints {
		return apiErrorf("A maximum of %d blocks with cache_control may be provided. Found %d.", maxBreakpoints, len(breakpoints))
	}
	for i := 1; i < len(breakpoints); i++ {
		if breakpoints[i].ttl > breakpoints[i-1].ttl {
			return apiErrorf("%s.cache_control.ttl: a ttl='1h' cache_control block must not come after a ttl='5m' cache_control block", breakpoints[i].path)
		}
	}
	return nil
}

// minimumPrefix returns the number of tokens below which the API silently does not cache a prefix
// (prompt-caching docs). The longest matching part of the model's name decides.
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
