package upstream

import (
	"math"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/claude"
	"github.com/9bingyin/claude-code-lb/internal/config"
	"github.com/9bingyin/claude-code-lb/internal/verdict"
)

// Demand is what a request is expected to take from the limits of an account.
type Demand struct {
	Input  int64 // tokens that will not be read from the prompt cache: reads are free (rate-limits docs)
	Output int64 // tokens
}

const (
	// maxBudgets bounds the subjects that one account is remembered for.
	maxBudgets = 1024
	// rounding is how far a number of remaining tokens may be off: it is told in thousands (rate-limits docs).
	rounding = 500
)

// budget is what is left of an account's limits for one class of models. The
// account's mutex guards it.
type budget struct {
	requests, input, output bucket
	unified                 claude.Unified
	family                  claude.Window // of the class alone
}

// bucket is a token bucket as the upstream keeps it: it refills continuously
// and holds one minute's worth (rate-limits docs).
type bucket struct {
	limit    float64 // per minute, and capacity; 0: there is none, as far as is known
	level    float64
	at       time.Time // when level was true
	reserved float64   // what attempts under way will take that the level does not know of
	taken    float64   // all that was ever debited
	reported bool      // by the upstream, not by the configuration
}

// assume sets a limit that the configuration states, until the upstream tells its own.
func (b *bucket) assume(limit int, now time.Time) {
	if !b.reported && b.limit != float64(limit) {
		b.limit, b.level, b.at = float64(limit), float64(limit), now
	}
}

func (b *bucket) refill(now time.Time) {
	if elapsed := now.Sub(b.at); elapsed > 0 {
		b.level = min(b.limit, b.level+elapsed.Minutes()*b.limit)
		b.at = now
	}
}

// left is what is free at a moment.
func (b *bucket) left(now time.Time) float64 {
	return min(b.limit, b.level+max(now.Sub(b.at), 0).Minutes()*b.limit) - b.reserved
}

// ready says when a need fits in, zero when it does at once. A need above the
// capacity fits a full bucket: only the upstream knows what it does with it.
func (b *bucket) ready(need float64, now time.Time) time.Time {
	if b.limit <= 0 {
		return time.Time{}
	}
	missing := min(need, b.limit) - b.left(now)
	if missing < 1e-6 {
		return time.Time{}
	}
	return now.Add(time.Duration(math.Ceil(missing / b.limit * float64(time.Minute))))
}

// confirm turns a debt into a debit: the upstream has counted the attempt.
func (b *bucket) confirm(debt float64, now time.Time) {
	b.refill(now)
	b.reserved = max(b.reserved-debt, 0)
	b.debit(debt)
}

// debit takes n. What an answer claims may be absurd: the debt is never more than refills in a minute.
func (b *bucket) debit(n float64) {
	n = min(n, b.level+b.limit)
	b.level -= n
	b.taken += n
}

// report corrects the level by what an answer says remains. Whether that counts
// the other attempts under way, and those that were debited since its own request
// was sent, is not known: the truth lies in between.
func (b *bucket) report(told claude.Bucket, since float64, now time.Time) {
	if !told.Known || told.Limit <= 0 {
		return
	}
	remaining := float64(told.Remaining)
	if !b.reported || b.limit != float64(told.Limit) {
		b.limit, b.reported, b.level = float64(told.Limit), true, remaining+b.reserved
	}
	b.refill(now)
	b.level = min(max(b.level, remaining-since), remaining+b.reserved)
}

// assume sets the limits that the configuration states.
func (b *budget) assume(limits config.RateLimit, now time.Time) {
	b.requests.assume(limits.Requests, now)
	b.input.assume(limits.InputTokens, now)
	b.output.assume(limits.OutputTokens, now)
}

func (b *budget) taken() [3]float64 {
	return [3]float64{b.requests.taken, b.input.taken, b.output.taken}
}

// reserve notes an attempt that begins.
func (b *budget) reserve(d Demand) {
	b.requests.reserved++
	b.input.reserved += float64(d.Input)
	b.output.reserved += float64(d.Output)
}

// ready says when a demand fits in, zero when it does at once.
func (b *budget) ready(d Demand, now time.Time) time.Time {
	input := float64(d.Input)
	if b.input.reported {
		input += rounding
	}
	at := later(b.requests.ready(1, now), b.input.ready(input, now))
	at = later(at, b.output.ready(float64(d.Output), now))
	return later(at, b.spentUntil(now))
}

// windows are those of the subscription that concern the class.
func (b *budget) windows() [3]claude.Window {
	return [...]claude.Window{b.unified.FiveHour, b.unified.SevenDay, b.family}
}

// spentUntil returns the end of a used-up subscription window. If usage beyond the windows is allowed,
// none of them matters until the upstream refuses, whatever their status (observed: rejected together with
// an overage status of allowed).
func (b *budget) spentUntil(now time.Time) time.Time {
	var until time.Time
	if b.unified.Overage {
		return until
	}
	for _, w := range b.windows() {
		if w.Known && (w.Utilization >= 1 || w.Status == verdict.Rejected) && w.Reset.After(now) {
			until = later(until, w.Reset)
		}
	}
	return until
}

// headroom is the part that is left of the limit which is closest to its end.
func (b *budget) headroom(now time.Time) float64 {
	least := 1.0
	for _, each := range [...]*bucket{&b.requests, &b.input, &b.output} {
		if each.limit > 0 {
			least = min(least, each.left(now)/each.limit)
		}
	}
	for _, w := range b.windows() {
		if w.Known && w.Reset.After(now) {
			least = min(least, 1-w.Utilization)
		}
	}
	return max(least, 0)
}

// budget returns the budget of a subject, with the limits that a server's configuration states.
func (a *account) budget(s Subject, stated config.RateLimit, now time.Time) *budget {
	b := a.budgets[s.limit()]
	if b == nil {
		if a.budgets == nil || len(a.budgets) >= maxBudgets {
			a.budgets = map[string]*budget{}
		}
		b = &budget{}
		a.budgets[s.limit()] = b
	}
	b.assume(stated, now)
	return b
}

// debit is what a lease has put on a budget.
type debit struct {
	budget    *budget // nil when nothing is owed any more
	demand    Demand
	confirmed bool       // the upstream has counted the request and its input
	before    [3]float64 // what had been debited of requests, input and output when the lease began
}

// charge puts a lease's demand on its account's budget. The caller holds the locks.
func (l *Lease) charge(now time.Time) {
	b := l.account.budget(l.subject, l.spec.RateLimit, now)
	b.reserve(l.subject.Demand)
	l.debit = debit{budget: b, demand: l.subject.Demand, before: b.taken()}
	l.account.load.add(float64(l.subject.Tokens), now)
}

// updateLimitsLocked takes from the head of an answer what is left. An upstream that
// refused has counted nothing. The caller holds the locks.
func (l *Lease) updateLimitsLocked(limits *claude.RateLimits, refused bool, now time.Time) {
	b := l.debit.budget
	if b == nil {
		return
	}
	others := b.taken()
	for i := range others {
		others[i] -= l.debit.before[i]
	}
	if !refused && !l.debit.confirmed {
		l.debit.confirmed = true
		b.requests.confirm(1, now)
		b.input.confirm(float64(l.debit.demand.Input), now)
	}
	if refused {
		l.releaseLocked(0, now)
	}
	b.requests.report(limits.Requests, others[0], now)
	b.input.report(limits.InputTokens, others[1], now)
	b.output.report(limits.OutputTokens, others[2], now)
	if limits.Unified.Known {
		b.unified, b.family = limits.Unified, limits.Unified.Families.Of(claude.ModelClass(l.subject.Model))
	}
}

// correctLocked corrects by what the upstream says it counted, where it does not tell what is left.
func (l *Lease) correctLocked(uncached int64, now time.Time) {
	if b := l.debit.budget; b != nil && l.debit.confirmed && b.input.limit > 0 && !b.input.reported {
		b.input.refill(now)
		b.input.level += float64(l.debit.demand.Input - uncached)
	}
}

// releaseLocked ends what the lease owes. The caller holds the locks.
func (l *Lease) releaseLocked(output int64, now time.Time) {
	b := l.debit.budget
	if b == nil {
		return
	}
	l.debit.budget = nil
	b.output.reserved = max(b.output.reserved-float64(l.debit.demand.Output), 0)
	if b.output.limit > 0 {
		b.output.refill(now)
		b.output.debit(float64(output))
	}
	if !l.debit.confirmed {
		b.requests.reserved = max(b.requests.reserved-1, 0)
		b.input.reserved = max(b.input.reserved-float64(l.debit.demand.Input), 0)
	}
}

// later returns the later of two times, zero being none.
func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// loadMemory is the time after which a token has lost two thirds of its weight in an account's load.
const loadMemory = 3 * time.Minute

// load is the tokens that an account was given lately, input and output,
// those that failed included: who fails fast must not look idle.
type load struct {
	tokens float64
	at     time.Time
}

func (l *load) add(tokens float64, now time.Time) {
	const most = 10_000_000 // that one request can have
	l.tokens, l.at = l.now(now)+min(max(tokens, 0), most), now
}

func (l *load) now(now time.Time) float64 {
	return l.tokens * math.Exp(-max(now.Sub(l.at), 0).Seconds()/loadMemory.Seconds())
}
