package upstream

import (
	"math"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/claude"
	"github.com/9bingyin/claude-code-lb/internal/config"
	"github.com/9bingyin/claude-code-lb/internal/verdict"
)

// Demand is the expected use of an account's rate limits by one request.
type Demand struct {
	Input  int64 // tokens that are not read from the prompt cache; reads do not count (rate-limits docs)
	Output int64 // tokens
}

const (
	// maxBudgets bounds the budgets per account.
	maxBudgets = 1024
	// roundingError is the largest error of a reported number of remaining tokens, because it is
	// rounded to thousands (rate-limits docs).
	roundingError = 500
)

// budget is the remaining part of an account's limits for one class of models. The account's mutex
// guards it.
type budget struct {
	requests, input, output bucket
	unified                 claude.Unified
	family                  claude.Window // for this class only
}

// bucket is a token bucket like the upstream's: it refills continuously, and its capacity is the
// limit of one minute (rate-limits docs).
type bucket struct {
	limit    float64 // per minute, and capacity; 0: unknown
	level    float64
	at       time.Time // time of level
	reserved float64   // expected use by attempts in flight that level does not contain
	debited  float64   // sum of all debits
	reported bool      // limit was reported by the upstream, not configured
}

// assume sets a limit from the configuration, until the upstream reports its own.
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

// available returns the unreserved level at a time.
func (b *bucket) available(now time.Time) float64 {
	return min(b.limit, b.level+max(now.Sub(b.at), 0).Minutes()*b.limit) - b.reserved
}

// readyAt returns when a need fits, or zero if it fits now. A need above the capacity fits a full
// bucket, because only the upstream knows how it treats such a request.
func (b *bucket) readyAt(need float64, now time.Time) time.Time {
	if b.limit <= 0 {
		return time.Time{}
	}
	missing := min(need, b.limit) - b.available(now)
	if missing < 1e-6 {
		return time.Time{}
	}
	return now.Add(time.Duration(math.Ceil(missing / b.limit * float64(time.Minute))))
}

// confirm turns a reserved amount into a debit, because the upstream has counted the attempt.
func (b *bucket) confirm(amount float64, now time.Time) {
	b.refill(now)
	b.reserved = max(b.reserved-amount, 0)
	b.debit(amount)
}

// debit subtracts n from the level. Usage in responses may be absurd, so the debt is never more
// than what one minute refills.
func (b *bucket) debit(n float64) {
	n = min(n, b.level+b.limit)
	b.level -= n
	b.debited += n
}

// correct adjusts the level by the remaining amount that a response reports. It is unknown whether
// that amount already contains the other attempts in flight and the debits since the request was
// sent (since), so the level is only moved into the range between both cases.
func (b *bucket) correct(reported claude.Bucket, since float64, now time.Time) {
	if !reported.Known || reported.Limit <= 0 {
		return
	}
	remaining := float64(reported.Remaining)
	if !b.reported || b.limit != float64(reported.Limit) {
		b.limit, b.reported, b.level = float64(reported.Limit), true, remaining+b.reserved
	}
	b.refill(now)
	b.level = min(max(b.level, remaining-since), remaining+b.reserved)
}

// assume sets limits from the configuration.
func (b *budget) assume(limits config.RateLimit, now time.Time) {
	b.requests.assume(limits.Requests, now)
	b.input.assume(limits.InputTokens, now)
	b.output.assume(limits.OutputTokens, now)
}

func (b *budget) debited() [3]float64 {
	return [3]float64{b.requests.debited, b.input.debited, b.output.debited}
}

// reserve adds the demand of an attempt that begins.
func (b *budget) reserve(d Demand) {
	b.requests.reserved++
	b.input.reserved += float64(d.Input)
	b.output.reserved += float64(d.Output)
}

// readyAt returns when a demand fits, or zero if it fits now.
func (b *budget) readyAt(d Demand, now time.Time) time.Time {
	input := float64(d.Input)
	if b.input.reported {
		input += roundingError
	}
	at := later(b.requests.readyAt(1, now), b.input.readyAt(input, now))
	at = later(at, b.output.readyAt(float64(d.Output), now))
	return later(at, b.exhaustedUntil(now))
}

// windows returns the subscription windows that apply to this class.
func (b *budget) windows() [3]claude.Window {
	return [...]claude.Window{b.unified.FiveHour, b.unified.SevenDay, b.family}
}

// exhaustedUntil returns the end of a used-up subscription window. If usage beyond the windows is
// allowed, no window counts until the upstream refuses, regardless of its status (observed:
// rejected together with an overage status of allowed).
func (b *budget) exhaustedUntil(now time.Time) time.Time {
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

// headroom returns the remaining fraction of the limit that is closest to its end.
func (b *budget) headroom(now time.Time) float64 {
	least := 1.0
	for _, each := range [...]*bucket{&b.requests, &b.input, &b.output} {
		if each.limit > 0 {
			least = min(least, each.available(now)/each.limit)
		}
	}
	for _, w := range b.windows() {
		if w.Known && w.Reset.After(now) {
			least = min(least, 1-w.Utilization)
		}
	}
	return max(least, 0)
}

// budgetLocked returns the budget of a subject, with the limits that a server's configuration
// states.
func (a *account) budgetLocked(s Subject, stated config.RateLimit, now time.Time) *budget {
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

// reservation is what a lease has reserved in a budget.
type reservation struct {
	budget        *budget // nil: released
	demand        Demand
	confirmed     bool       // the upstream has counted the request and its input
	debitedBefore [3]float64 // debits of requests, input and output before the lease began
}

// reserveLocked reserves the lease's demand in its account's budget, and adds its tokens to the
// account's load.
func (l *Lease) reserveLocked(now time.Time) {
	b := l.account.budgetLocked(l.subject, l.spec.RateLimit, now)
	b.reserve(l.subject.Demand)
	l.reservation = reservation{budget: b, demand: l.subject.Demand, debitedBefore: b.debited()}
	l.account.load.add(float64(l.subject.Tokens), now)
}

// updateLimitsLocked updates the budget from the header of a response. A refusal means that the
// upstream has counted nothing.
func (l *Lease) updateLimitsLocked(limits *claude.RateLimits, refused bool, now time.Time) {
	b := l.reservation.budget
	if b == nil {
		return
	}
	others := b.debited()
	for i := range others {
		others[i] -= l.reservation.debitedBefore[i]
	}
	if !refused && !l.reservation.confirmed {
		l.reservation.confirmed = true
		b.requests.confirm(1, now)
		b.input.confirm(float64(l.reservation.demand.Input), now)
	}
	if refused {
		l.releaseReservationLocked(0, now)
	}
	b.requests.correct(limits.Requests, others[0], now)
	b.input.correct(limits.InputTokens, others[1], now)
	b.output.correct(limits.OutputTokens, others[2], now)
	if limits.Unified.Known {
		b.unified, b.family = limits.Unified, limits.Unified.Families.Of(claude.ModelClass(l.subject.Model))
	}
}

// correctLocked corrects the input by the response's usage, if the upstream does not report what
// remains.
func (l *Lease) correctLocked(uncached int64, now time.Time) {
	if b := l.reservation.budget; b != nil && l.reservation.confirmed && b.input.limit > 0 && !b.input.reported {
		b.input.refill(now)
		b.input.level += float64(l.reservation.demand.Input - uncached)
	}
}

// releaseReservationLocked ends the lease's reservation and debits the output.
func (l *Lease) releaseReservationLocked(output int64, now time.Time) {
	b := l.reservation.budget
	if b == nil {
		return
	}
	l.reservation.budget = nil
	b.output.reserved = max(b.output.reserved-float64(l.reservation.demand.Output), 0)
	if b.output.limit > 0 {
		b.output.refill(now)
		b.output.debit(float64(output))
	}
	if !l.reservation.confirmed {
		b.requests.reserved = max(b.requests.reserved-1, 0)
		b.input.reserved = max(b.input.reserved-float64(l.reservation.demand.Input), 0)
	}
}

// later returns the later of two times, zero being none.
func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// loadMemory is the time after which a token has lost two thirds of its weight in the load.
const loadMemory = 3 * time.Minute

// load is the number of tokens that an account received recently, input and output. Failed attempts
// count too, so that an account that fails fast does not look idle.
type load struct {
	tokens float64
	at     time.Time
}

func (l *load) add(tokens float64, now time.Time) {
	const maxTokens = 10_000_000 // per request
	l.tokens, l.at = l.value(now)+min(max(tokens, 0), maxTokens), now
}

func (l *load) value(now time.Time) float64 {
	return l.tokens * math.Exp(-max(now.Sub(l.at), 0).Seconds()/loadMemory.Seconds())
}
