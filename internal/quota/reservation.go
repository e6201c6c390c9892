package quota

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/claude"
	"github.com/9bingyin/claude-code-lb/internal/event"
	"github.com/9bingyin/claude-code-lb/internal/ledger"
)

// Demand is everything about a request that limits depend on.
type Demand struct {
	Model   string   // "" if the request names none
	Models  []string // further models in the request: in a batch, an advisor, fallbacks
	Session string
	Seat    *Seat // of the request while its body was read
	Counted bool  // counts towards the requests per minute
	Message bool  // a model responds to it, so it costs something
	Batch   bool  // its responses come later, and their cost is unknown now
	Open    bool  // the API may choose a further model
	Unclear bool  // its models are ambiguous, or cannot be read
	// Unreadable is the refusal for a key whose limits depend on the body; nil if the body can be read.
	Unreadable *Refusal
	Unknown    bool      // an unknown path, whose effect and cost are unknown
	Input      int64     // tokens of the prompt, estimated
	Cached     int64     // of Input, the tokens that are probably read from the prompt cache
	Output     int64     // maximum output tokens
	Until      time.Time // end of its patience; zero: no patience
	// Price returns the maximum cost of a response with this usage; nil: unknown.
	Price func(claude.Usage) ledger.Cost
}

// Reservation admits one request. One goroutine settles it exactly once.
type Reservation struct {
	key      *Key
	party    [2]string // in the queue of the key and in the common queue
	tokens   float64
	reserved ledger.Money
	estimate claude.Usage // maximum usage
	price    func(claude.Usage) ledger.Cost
}

const (
	// retrySoon is the Retry-After if only requests in flight block the request.
	retrySoon = 5 * time.Second
	// maxRetryAfter is the longest wait that a client is asked for: Claude Code gives up at once on
	// longer ones.
	maxRetryAfter = time.Minute
)

// ErrNoSlot means that no slot became free within a request's patience.
var ErrNoSlot = errors.New("no slot became free in time")

// Enter admits a request. It waits for a slot as long as ctx and the request's patience last. The
// error is that of ctx, ErrNoSlot or a *Refusal. A nil key has no limits except the common ones.
func (b *Book) Enter(ctx context.Context, k *Key, ask Demand) (*Reservation, error) {
	if k == nil {
		return b.enterAll(ctx, ask.Until, &Reservation{}, "", 0)
	}
	if r := k.refuses(ask); r != nil {
		return nil, r
	}
	session, seated := ask.Seat.takeSlot()
	if !seated {
		session = ask.Session
		in, full := k.account.slots.enter(ctx, ask.Until, session, 0)
		switch {
		case full:
			return nil, queueFull(fmt.Sprintf("Too many requests of the client key %s wait for one of its %d slots: try again in a moment.", k.Name(), k.spec.Concurrency))
		case !in:
			return nil, hasWaitedEnough(ctx)
		}
	}
	p := &Reservation{key: k, party: [2]string{session, k.Name()}}
	if _, err := b.enterAll(ctx, ask.Until, p, k.Name(), k.spec.Priority); err != nil {
		k.account.slots.leave(session)
		return nil, err
	}
	// The debit comes last, because the wait may have changed what is available.
	if r := k.debit(p, ask, time.Now()); r != nil {
		p.leave(b)
		return nil, r
	}
	return p, nil
}

func (b *Book) enterAll(ctx context.Context, until time.Time, p *Reservation, party string, priority int) (*Reservation, error) {
	in, full := b.all.enter(ctx, until, party, priority)
	switch {
	case full:
		return nil, queueFull("Too many requests wait for one of the slots of claude-code-lb: try again in a moment.")
	case !in:
		return nil, hasWaitedEnough(ctx)
	}
	return p, nil
}

func hasWaitedEnough(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return ErrNoSlot
}

func queueFull(message string) *Refusal {
	return &Refusal{Status: http.StatusTooManyRequests, Type: claude.ErrRateLimit, Reason: "queue full", Message: message, RetryAfter: retrySoon}
}

// anyModel matches the patterns that match every model of the API.
const anyModel = "claude-"

// refuses returns a refusal that waiting would not change, or nil.
func (k *Key) refuses(ask Demand) *Refusal {
	if ask.Unreadable != nil && (k.PicksModels() || k.isLimited()) {
		return ask.Unreadable
	}
	for _, model := range append([]string{ask.Model}, ask.Models...) {
		if model != "" && !k.mayUse(model) {
			return forbidden("model", fmt.Sprintf("The client key %s may not ask the model %s.", k.Name(), model))
		}
	}
	if ask.Open && !k.mayUse(anyModel) {
		return forbidden("model", fmt.Sprintf("The client key %s may ask some models only, and \"default\" lets the API choose another one: name the models of fallbacks.", k.Name()))
	}
	if ask.Unclear && k.PicksModels() {
		return forbidden("model", fmt.Sprintf("The client key %s may ask some models only, and which one this request asks is not clear: name it once, and split large batches.", k.Name()))
	}
	if k.PicksModels() && ask.Model == "" && (ask.Message || ask.Unknown) {
		return forbidden("model", fmt.Sprintf("The client key %s may ask some models only, and this request names none that could be read.", k.Name()))
	}
	if ask.Unknown && k.isLimited() {
		return forbidden("endpoint", fmt.Sprintf("The client key %s has a limit on tokens or dollars, and what a request to this path uses is not known: send it to /v1/messages.", k.Name()))
	}
	if ask.Batch && k.isLimited() {
		return forbidden("batch", fmt.Sprintf("The client key %s has a limit on tokens or dollars, and what a batch uses is not known when it is sent: send messages one by one.", k.Name()))
	}
	return nil
}

// debit takes the maximum usage of a request from all limits, or nothing.
func (k *Key) debit(p *Reservation, ask Demand, now time.Time) *Refusal {
	if !ask.Counted && !ask.Message {
		return nil
	}
	a := k.account
	a.mu.Lock()
	defer a.mu.Unlock()
	estimate := claude.Usage{CacheReadTokens: ask.Cached, CacheCreation5mTokens: max(ask.Input-ask.Cached, 0), OutputTokens: a.output.bound(max(ask.Output, 0))}
	tokens, money := float64(estimate.CacheCreation5mTokens)+float64(estimate.OutputTokens), ledger.Money(0)
	if ask.Price != nil && a.hasBudget(k.spec.Budget) {
		money = ask.Price(estimate).Sum
	}
	if s, short := a.shortageLocked(k.spec.Budget, money, now); short {
		return k.overBudget(s, money)
	}
	if wait := max(a.rpm.wait(1, now), a.tpm.wait(tokens, now)); wait > 0 {
		what := "requests"
		if a.rpm.wait(1, now) == 0 {
			what = "tokens"
		}
		return &Refusal{
			Status: http.StatusTooManyRequests, Type: claude.ErrRateLimit, Reason: what + " per minute", RetryAfter: min(wait, maxRetryAfter),
			Message: fmt.Sprintf("The client key %s has used up its %s per minute: try again in %d s.", k.Name(), what, int(math.Ceil(wait.Seconds()))),
		}
	}
	a.rpm.take(1)
	a.tpm.take(tokens)
	a.reserved = plus(a.reserved, money)
	p.tokens, p.reserved, p.estimate, p.price = tokens, money, estimate, ask.Price
	return nil
}

func (k *Key) overBudget(s shortage, estimate ledger.Money) *Refusal {
	r := &Refusal{Status: http.StatusTooManyRequests, Type: claude.ErrRateLimit, Reason: "budget of the " + s.window.String(), Final: true}
	of := fmt.Sprintf("its budget of $%.2f per %s", s.limit.Dollars(), s.window)
	if s.window == forever {
		of = fmt.Sprintf("its budget of $%.2f", s.limit.Dollars())
	}
	what := fmt.Sprintf("The client key %s has spent %s", k.Name(), of)
	if s.left > 0 {
		what = fmt.Sprintf("The client key %s has $%.4f left of %s, and this request may cost up to $%.4f", k.Name(), s.left.Dollars(), of, estimate.Dollars())
	}
	switch {
	case s.retrySoon:
		r.Final, r.RetryAfter = false, retrySoon
		r.Message = what + " while others are under way: try again in a moment."
	case s.ends.IsZero():
		r.Message = what + ": ask who gave it to you for more."
	default:
		r.Message = what + ": it is renewed on " + s.ends.Format("Monday, 2 January 2006 at 15:04 MST") + "."
	}
	return r
}

// leave gives the slots back.
func (p *Reservation) leave(b *Book) {
	if p.key != nil {
		p.key.account.slots.leave(p.party[0])
	}
	b.all.leave(p.party[1])
}

// Settle replaces the reserved usage by the actual one and gives the slots back. A nil Reservation
// does nothing.
func (b *Book) Settle(p *Reservation, e *ledger.Entry) {
	if p == nil {
		return
	}
	p.leave(b)
	if p.key == nil {
		return
	}
	tokens, cost := p.unbilled(e)
	cost = plus(cost, e.Cost().Sum)
	var output int64
	for i := range e.Attempts {
		if !e.Attempts[i].IsBatch() { // batches have separate rate limits
			tokens += charged(e.Attempts[i].Usage())
		}
		output = max(output, e.Attempts[i].Answer.Usage.OutputTokens)
	}
	a, now := p.key.account, time.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.tpm.fill(now)
	a.tpm.take(float64(tokens) - p.tokens)
	a.reserved -= p.reserved
	if output > 0 && e.Outcome == ledger.Answered {
		a.output.learn(float64(output))
	}
	for w := range window(windows) {
		period := &a.periods[w]
		period.roll(w, now, a.zone)
		period.spent = plus(period.spent, cost)
		b.announceLocked(p.key, w, period)
	}
}

// announceLocked logs that a budget is nearly spent, and that it is spent, once each.
func (b *Book) announceLocked(k *Key, w window, p *budgetPeriod) {
	limit := w.limit(k.spec.Budget)
	if limit == 0 {
		return
	}
	for _, percent := range [...]int{100, 80} {
		if p.announced >= percent || p.spent < limit/100*ledger.Money(percent) {
			continue
		}
		p.announced = percent
		b.log.Publish(context.Background(), event.BudgetUsed{
			Client: k.Name(), Window: w.String(), Spent: p.spent.String(), Limit: limit.String(), Resets: w.end(p.begin), Exhausted: percent == 100,
		})
		return
	}
}
