package replay

import (
	"time"

	"github.com/9bingyin/claude-code-lb/internal/claude"
	"github.com/9bingyin/claude-code-lb/internal/fakeclaude"
)

// ttl is the cache's default time to live (prompt-caching docs).
const ttl = 5 * time.Minute

// account is a simulated upstream account: its cache and its limits.
type account struct {
	limits fakeclaude.Limits
	meters map[string]*fakeclaude.Meter // by class of models
	cache  []cacheEntry                 // by node
	down   outage
}

// cacheEntry is the state of a node in the cache. Times count from the beginning of the trace.
type cacheEntry struct {
	readable, expires time.Duration
	written           bool // the node is in the cache, so readable is valid
}

// outage is an interval without responses from an account.
type outage struct{ from, to time.Duration }

func (o outage) covers(at time.Duration) bool { return at >= o.from && at < o.to }

func newAccount(nodes int, limits fakeclaude.Limits) *account {
	return &account{limits: limits, meters: map[string]*fakeclaude.Meter{}, cache: make([]cacheEntry, nodes)}
}

func (a *account) meter(model string, now time.Time) *fakeclaude.Meter {
	class := claude.ModelClass(model)
	m := a.meters[class]
	if m == nil {
		m = fakeclaude.NewMeter(a.limits, now)
		a.meters[class] = m
	}
	return m
}

// lookup returns the tokens of a prompt that can be read from the cache.
func (a *account) lookup(path []*node, at time.Duration) (tokens int64) {
	for _, n := range path {
		c := &a.cache[n.id]
		if !c.written || c.readable > at || c.expires <= at {
			break
		}
		tokens = n.tokens
	}
	return tokens
}

// refresh prolongs the cached part that a request has read.
func (a *account) refresh(path []*node, read int64, at time.Duration) {
	for _, n := range path {
		if n.tokens > read {
			return
		}
		c := &a.cache[n.id]
		c.expires = max(c.expires, at+ttl)
	}
}

// write makes a prompt readable now. Its lifetime counts from the start of its request.
func (a *account) write(path []*node, start, at time.Duration) {
	for _, n := range path {
		c := &a.cache[n.id]
		if !c.written || c.expires <= start {
			*c = cacheEntry{readable: at, expires: start + ttl, written: true}
			continue
		}
		c.readable, c.expires = min(c.readable, at), max(c.expires, start+ttl)
	}
}
