package store

import (
	"math"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"time"

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

const requestWidth = 21

func (r *row) request(to []any) []any {
	e := &r.entry
	return append(to, r.id, text(e.ID), e.Start.UnixMilli(), text(e.Client), text(e.Session), text(e.Agent), text(e.Method), text(e.Path), text(e.Model),
		text(e.Server()), string(e.Outcome), e.Status, flag(e.Stream), string(e.Routed), text(e.Reason),
		int64(e.TimeToFirstByte), int64(e.Duration), int64(e.Waited), e.Sent, e.Bytes, []byte(e.Prompt))
}

const attemptColumns = `request, n, time, server, status, scope, reason, upstream_request_id, verdict, duration, served, model, stop_reason, service_tier,
	known, estimated, input, output, cache_read, cache_write_5m, cache_write_1h, searches, priced, cost, saved, wasted, warm, warmest, guess`

const attemptWidth = 29

func (r *row) attempt(n int, to []any) []any {
	a := &r.entry.Attempts[n]
	u := a.Answer.Usage
	return append(to, r.id, n, a.Start.UnixMilli(), text(a.Server), a.Status, text(a.Scope), text(a.Reason), text(a.RequestID), int64(a.Verdict), int64(a.Duration),
		flag(a.Served), text(a.Answer.Model), text(a.Answer.StopReason), text(u.ServiceTier), flag(a.Known()), flag(a.Estimated()),
		u.InputTokens, u.OutputTokens, u.CacheReadTokens, u.CacheCreation5mTokens, u.CacheCreation1hTokens, u.WebSearchRequests,
		flag(a.Cost.Known), int64(a.Cost.Sum), int64(a.Cost.Saved), int64(a.Cost.Wasted), a.Warm, a.Warmest, a.Guess)
}
