package replay

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"syscall"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/claude"
	"github.com/9bingyin/claude-code-lb/internal/routing"
	"github.com/9bingyin/claude-code-lb/internal/upstream"
	"github.com/9bingyin/claude-code-lb/internal/verdict"
)

// exchange is one request of a client, with the balancer's state of it.
type exchange struct {
	*engine
	i        int // index of the request
	began    time.Duration
	query    routing.Query
	warmth   routing.Warmth
	tried    routing.Tried
	attempts int
	waited   bool
	limited  bool // an upstream responded with 429
	path     []*node
}

// arrive sends a request of the trace.
func (e *engine) arrive(i int) {
	x := &exchange{engine: e, i: i, began: e.now, path: slices.Clone(e.trace.requests[i].prompt.path(nil))}
	x.send()
}

// send passes the request to the balancer, for the first time or after a refusal.
func (x *exchange) send() {
	r := &x.trace.requests[x.i]
	x.tried, x.attempts = routing.Tried{}, 0
	prompt := *x.prompts.of(x.i)
	prompt.Turns = slices.Clone(prompt.Turns)
	x.query = routing.Query{
		Prompt: &prompt, Patience: x.cfg.MaxWait, Queue: x.cfg.Timeouts.Total, Hold: x.Hold,
		Subject: upstream.Subject{Model: r.model, Body: uint64(x.i) + 1}.WithKeys(),
	}
	if !x.NoSession && r.session >= 0 {
		header := http.Header{}
		if r.agent > 0 {
			header.Set("X-Claude-Code-Agent-Id", fmt.Sprint(r.agent))
		}
		x.query.Conversation = claude.ConversationKey(header, fmt.Sprint("session ", r.session), r.model, x.index.Seed())
	}
	x.failover()
}

// failover tries endpoints until one accepts the request, as the proxy does.
func (x *exchange) failover() {
	for {
		if x.attempts > 0 && x.attempts >= max(min(2*x.Accounts, 10), 4) {
			x.retryLater(time.Second)
			return
		}
		now := x.clock()
		choice, err := x.table.Next(&x.query, &x.tried, now)
		if wait, ok := errors.AsType[*routing.Wait](err); ok {
			x.wait(wait, now)
			return
		}
		if none, ok := errors.AsType[*routing.Unavailable](err); ok {
			x.retryLater(none.RetryAfter)
			return
		}
		x.warmth = choice.Warmth
		x.tried.Add(choice.Lease.ID())
		x.attempts++
		if x.attempt(choice.Lease) {
			return
		}
	}
}

// wait tries again after the wait, or earlier after a change.
func (x *exchange) wait(w *routing.Wait, now time.Time) {
	began, done := x.now, false
	if !x.waited {
		x.waited = true
		x.figures.waited++
	}
	again := func() {
		if done {
			return
		}
		done = true
		x.query.Patience = max(x.query.Patience-(x.now-began), 0)
		x.query.Queue = max(x.query.Queue-(x.now-began), 0)
		x.failover()
	}
	x.schedule(x.now+max(w.Until.Sub(now), time.Millisecond), again)
	x.waiting = append(x.waiting, waiter{w.Changed, again})
}

// wake notifies waiting requests of a change.
func (e *engine) wake() {
	e.waiting = slices.DeleteFunc(e.waiting, func(w waiter) bool {
		select {
		case <-w.changed:
			e.schedule(e.now, w.again)
			return true
		default:
			return false
		}
	})
}

// attempt sends the request to an account. It returns false if the balancer must choose another one
// at once.
func (x *exchange) attempt(lease *upstream.Lease) bool {
	r := &x.trace.requests[x.i]
	account := x.byName[lease.Name()]
	a := x.accounts[account]
	if a.down.covers(x.now) {
		x.recordFailure(lease, verdict.Evidence{Err: unreachable{}, Now: x.clock()}, nil)
		return false
	}
	read := a.lookup(x.path, x.now)
	meter := a.meter(r.model, x.clock())
	if refusal := meter.Admit(r.input-read, x.clock()); refusal != nil {
		x.figures.refused++
		x.limited = true
		header := http.Header{"Retry-After": {refusal.RetryAfter()}}
		meter.WriteHeaders(header, x.clock())
		apiErr := &claude.Error{Type: claude.ErrRateLimit, Message: "This request would exceed your account's rate limit."}
		x.recordFailure(lease, verdict.Evidence{Status: http.StatusTooManyRequests, Header: header, Error: apiErr, Now: x.clock()}, header)
		return false
	}
	a.refresh(x.path, read, x.now)
	x.figures.recordPlacement(x.trace, x.i, account, x.accounts, x.path, x.now)
	begin, warmth := x.now, x.warmth
	x.schedule(x.now+firstTokenAfter+time.Duration(r.input-read)*perUncachedToken, func() { x.handleFirstToken(lease, account, warmth, begin, read) })
	return true
}

// handleFirstToken handles the first token of a response.
func (x *exchange) handleFirstToken(lease *upstream.Lease, account int, warmth routing.Warmth, sent time.Duration, read int64) {
	r := &x.trace.requests[x.i]
	a, now := x.accounts[account], x.clock()
	if a.down.covers(x.now) {
		x.recordFailure(lease, verdict.Evidence{Err: unreachable{}, Now: now}, nil)
		x.failover()
		return
	}
	header := http.Header{}
	a.meter(r.model, now).WriteHeaders(header, now)
	lease.UpdateFromHeader(http.StatusOK, header, now)
	lease.Settle(context.Background(), verdict.Outcome{}, now)
	usage := claude.Usage{CacheReadTokens: read, CacheCreation5mTokens: r.prompt.tokens - read, InputTokens: r.input - r.prompt.tokens}
	lease.CorrectInput(r.input-read, now)
	x.table.RecordCached(&x.query, lease.Endpoint, warmth, usage, x.epoch.Add(sent))
	x.wake()
	lease.RecordLatency(x.now-sent, r.input-read, now)
	a.write(x.path, sent, x.now)
	x.figures.recordResponse(r, read, x.now-x.began)
	x.schedule(x.now+time.Duration(r.output)*perOutputToken, func() { x.handleLastToken(lease, account) })
}

// handleLastToken handles the last token of a response.
func (x *exchange) handleLastToken(lease *upstream.Lease, account int) {
	r := &x.trace.requests[x.i]
	x.accounts[account].meter(r.model, x.clock()).SpendOutput(r.output, x.clock())
	lease.RecordOutput(r.output, x.clock())
	x.table.RecordOutput(&x.query, r.output)
	lease.Release()
	if r.next == 0 {
		return
	}
	gap := x.trace.requests[r.next].at - r.at
	next := r.next
	x.schedule(max(x.began+gap, x.now), func() { x.arrive(next) })
}

func (x *exchange) recordFailure(lease *upstream.Lease, ev verdict.Evidence, header http.Header) {
	o := verdict.Judge(ev)
	if header != nil {
		lease.UpdateFromHeader(ev.Status, header, ev.Now)
	}
	lease.Settle(context.Background(), o, ev.Now)
	lease.Release()
	if o.Unbilled {
		x.tried.Refused(lease.ID(), ev.Now)
	}
}

// retryLater retries a refused request later, as real clients do.
func (x *exchange) retryLater(after time.Duration) {
	if x.limited {
		x.figures.clientRefused++
	} else {
		x.figures.clientFailed++
	}
	x.schedule(x.now+min(max(after, time.Second), time.Minute), x.send)
}

// unreachable is the error of a connection to a host that is down.
type unreachable struct{}

func (unreachable) Error() string { return "connection refused" }
func (unreachable) Unwrap() error { return syscall.ECONNREFUSED }
