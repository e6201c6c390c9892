package store

import (
	"math"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"claude-code-lb/internal/ledger"
)

// row is an entry with its place in the ledger.
type row struct {
	id    int64
	entry ledger.Entry
}

// idBits are the lower bits of an id, which tell apart the requests of one millisecond.
const idBits = 20

// idFloor is the smallest id of requests that began at t or later. Ids last until the year 2248.
func idFloor(t time.Time) int64 {
	return min(max(t.UnixMilli(), 0), math.MaxInt64>>idBits) << idBits
}

// numbering gives out ids. Two balancers that write into one ledger begin at different numbers and count at different
// speeds, so that they collide only by a chance that does not matter at a million numbers per millisecond.
type numbering struct{ last atomic.Uint32 }

func newNumbering() *numbering {
	n := &numbering{}
	n.last.Store(rand.Uint32())
	return n
}

func (n *numbering) next(start time.Time) int64 {
	return idFloor(start) | int64(n.last.Add(1)&(1<<idBits-1))
}

// longestText bounds what a client or an upstream can write into one column.
const longestText = 300

// text makes anything fit for a column: bounded, valid UTF-8, and without the zero byte that PostgreSQL refuses.
func text(s string) string {
	if len(s) > longestText {
		s = s[:longestText]
	}
	if utf8.ValidString(s) && strings.IndexByte(s, 0) < 0 {
		return s
	}
	return strings.ReplaceAll(strings.ToValidUTF8(s, "�"), "\x00", "�")
}

func flag(yes bool) int64 {
	if yes {
		return 1
	}
	return 0
}

const requestColumns = `id, request_id, time, client, session, agent, method, path, model, server, outcome, status, stream, routed, reason,
	first_byte, duration, waited, sent, received, prompt`

func (r *row) request(to *cells) {
	e := &r.entry
	to.number(r.id)
	to.text(e.ID)
	to.number(e.Start.UnixMilli())
	to.text(e.Client, e.Session, e.Agent, e.Method, e.Path, e.Model, e.Server(), string(e.Outcome))
	to.number(int64(e.Status), flag(e.Stream))
	to.text(string(e.Routed), e.Reason)
	to.number(int64(e.TimeToFirstByte), int64(e.Duration), int64(e.Waited), e.Sent, e.Bytes)
	to.put([]byte(e.Prompt))
}

const attemptColumns = `request, n, time, server, status, scope, reason, upstream_request_id, verdict, duration, served, model, stop_reason, service_tier,
	known, estimated, input, output, cache_read, cache_write_5m, cache_write_1h, searches, priced, cost, saved, wasted, warm, warmest, guess`

func (r *row) attempt(n int, to *cells) {
	a := &r.entry.Attempts[n]
	u := &a.Answer.Usage
	to.number(r.id, int64(n), a.Start.UnixMilli())
	to.text(a.Server)
	to.number(int64(a.Status))
	to.text(a.Scope, a.Reason, a.RequestID)
	to.number(int64(a.Verdict), int64(a.Duration), flag(a.Served))
	to.text(a.Answer.Model, a.Answer.StopReason, u.ServiceTier)
	to.number(flag(a.Known()), flag(a.Estimated()),
		u.InputTokens, u.OutputTokens, u.CacheReadTokens, u.CacheCreation5mTokens, u.CacheCreation1hTokens, u.WebSearchRequests,
		flag(a.Cost.Known), int64(a.Cost.Sum), int64(a.Cost.Saved), int64(a.Cost.Wasted), a.Warm, a.Warmest, a.Guess)
}

// cells are the values of some lines of a table, one after the other.
type cells struct {
	width  int
	list   []any
	differ columns // in which not all lines say the same
}

func (c *cells) number(list ...int64) {
	for _, n := range list {
		if above, ok := c.above().(int64); ok && above == n {
			c.repeat()
			continue
		}
		c.put(n)
	}
}

// text adds texts made fit for columns. What the line above says too, as it mostly does, needs neither a check nor memory.
func (c *cells) text(list ...string) {
	for _, s := range list {
		if above, ok := c.above().(string); ok && above == s {
			c.repeat()
			continue
		}
		c.put(text(s))
	}
}

// above is the value above the one that is next, nil in the first line.
func (c *cells) above() any {
	if place := len(c.list) - c.width; place >= 0 {
		return c.list[place]
	}
	return nil
}

func (c *cells) repeat() { c.list = append(c.list, c.above()) }

func (c *cells) put(value any) {
	if len(c.list) >= c.width {
		c.differ |= 1 << (len(c.list) % c.width)
	}
	c.list = append(c.list, value)
}
