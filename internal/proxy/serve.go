package proxy

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/claude"
	"github.com/9bingyin/claude-code-lb/internal/quota"
	"github.com/9bingyin/claude-code-lb/internal/routing"
	"github.com/9bingyin/claude-code-lb/internal/upstream"
	"github.com/9bingyin/claude-code-lb/internal/verdict"
)

// Serve serves one request and releases its body. If a response breaks off, it panics with
// http.ErrAbortHandler, which makes net/http cut the client's connection.
func (p *Proxy) Serve(w http.ResponseWriter, req Request) {
	defer req.Body.Release()
	x := newExchange(p, w, req)
	defer x.forgetPrompt()
	p.journal.begin(&x.inFlight, &x.entry)
	defer x.finish()
	if x.refusePin() {
		return
	}
	x.startKeepalive(req.Settings.StreamKeepalive)
	defer x.keepalive.end()
	if x.admit() {
		x.run()
	}
}

// admit checks the limits of the client key, and waits for a slot if the key has a concurrency
// limit. If it returns false, the client has received an error or has left.
func (x *exchange) admit() bool {
	x.admittedAt = x.req.Start
	if x.req.Book == nil {
		x.req.Body.releaseText()
		return true
	}
	begin := time.Now()
	demand := x.quotaDemand(begin)
	x.req.Body.releaseText() // nothing reads it from here on, and the wait for a slot may be long
	demand.Until = begin.Add(x.slotPatience())
	reservation, err := x.req.Book.Enter(x.ctx, x.req.Key, demand)
	waited := time.Since(begin)
	x.entry.Waited += waited
	x.admittedAt = x.admittedAt.Add(waited) // no upstream is to blame for this wait
	x.reservation = reservation
	refusal, refused := errors.AsType[*quota.Refusal](err)
	switch {
	case err == nil:
		return true
	case refused:
		x.refuse(refusal)
	case x.ctx.Err() != nil:
		x.abort()
	default:
		x.refuse(&quota.Refusal{
			Status: http.StatusTooManyRequests, Type: claude.ErrRateLimit, Reason: "queue time-out", RetryAfter: shortRetryAfter,
			Message: "No slot became free in time for this client key: try again in a moment.",
		})
	}
	return false
}

// run makes attempts until one is worth committing to, the client leaves, or no endpoint is left.
func (x *exchange) run() {
	if !x.isSide() {
		x.p.budget.countRequest(x.req.Start)
	}
	for {
		lease, err := x.nextLease()
		switch {
		case errors.Is(err, errAborted):
			x.abort()
			return
		case err != nil:
			x.giveUp(err)
			return
		}
		a := x.attempt(lease)
		switch {
		case a.outcome.Scope == verdict.ScopeClient:
			x.settle(a)
			x.close(a)
			x.abort()
			return
		case a.outcome.Failover():
			x.recordFailure(a)
		default:
			x.commit(a)
			return
		}
	}
}

// nextLease leases the endpoint for the next attempt. If none is available, it waits for one that
// returns soon.
func (x *exchange) nextLease() (*upstream.Lease, error) {
	for {
		now := time.Now()
		if err := x.limitReached(now); err != nil {
			return nil, err
		}
		retry := len(x.entry.Attempts) > 0 && !x.isSide()
		x.query.FitOnly = retry && !x.p.budget.allows(now, x.req.Settings.RetryPercent, x.req.Settings.RetryFloor)
		if x.isQuick() { // a late response is worse than none
			x.query.FitOnly = len(x.entry.Attempts) > 0 || x.savedList() != nil
		}
		choice, err := x.req.Table.Next(&x.query, &x.attempts.tried, now)
		x.trail.addSkipped(choice.Considered, now)
		x.trail.addPlacement(choice.Placement, now)
		if wait, ok := errors.AsType[*routing.Wait](err); ok {
			if err := x.wait(wait, now); err != nil {
				return nil, err
			}
			continue
		}
		if err != nil {
			return nil, err
		}
		x.query.LeaseBuf = nil // in use now
		x.attempts.chose(&choice)
		if retry {
			x.p.budget.countRetry(now)
		}
		return choice.Lease, nil
	}
}

// attempt sends the request to the leased endpoint and returns the attempt with its outcome. If the
// response is slow to begin, a hedge may go to a second endpoint: then the first success is
// returned, and the other attempt has been settled.
func (x *exchange) attempt(lease *upstream.Lease) *attempt {
	a := x.open(lease)
	if after, ok := x.hedgeAfter(lease); ok {
		return x.race(a, after)
	}
	x.roundTrip(a)
	return a
}

// roundTrip sends the request, buffers the response until it proves good or bad, and judges it.
func (x *exchange) roundTrip(a *attempt) {
	s := x.req.Settings
	limit := x.firstWait(a)
	a.timeouts.expect(forFirst, limit)
	defer a.timeouts.arrived(forFirst)
	// The client determines how long an upload takes. Every read of it starts the time limit again.
	if x.req.Upload != nil {
		x.req.Upload.onProgress(func() { a.timeouts.expect(forFirst, limit) })
	}
	out := x.newRequest(a.ctx, a.lease)
	x.traceOut(a, out)
	s.Dump.Attempt(a.ctx, x.req.ID, a.lease.Name(), out)
	res, err := a.lease.RoundTrip(out)
	x.req.Upload.onProgress(nil)
	if err != nil {
		x.judge(a, nil, a.explain(err))
		return
	}
	a.res = res
	a.lease.UpdateFromHeader(res.StatusCode, res.Header, time.Now())
	s.Dump.Response(a.ctx, x.req.ID, a.lease.Name(), res)
	if x.kind == kindOther {
		a.timeouts.arrived(forFirst)
	}
	a.claimed, err = a.buffer(x.kind)
	if err != nil {
		err = a.explain(err)
	}
	x.judge(a, a.claimed, err)
}

// buffer reads as much of the response as its outcome depends on: the body of an error, a complete
// plain response, a stream up to its first content. It returns the error of the API that the
// response states, or a Go error if the response broke off or is not what the request asks for.
func (a *attempt) buffer(k kind) (*claude.Error, error) {
	if err := a.decode(k); err != nil {
		return nil, err
	}
	switch {
	case a.res.StatusCode >= http.StatusBadRequest:
		return a.bufferError()
	case k == kindOther:
		return nil, nil
	case k == kindResource:
		return nil, a.bufferResource(a.res.Request.Method)
	case a.res.StatusCode == http.StatusNotModified && a.x.outgoing.conditional:
		a.complete = true // the client has the body already: this response has none
		return nil, nil
	case a.res.StatusCode != http.StatusOK: // a 204 or a redirect does not answer a message
		return nil, fmt.Errorf("%w: status %d", verdict.ErrUnusable, a.res.StatusCode)
	}
	if err := a.sniff(); err != nil {
		return nil, err
	}
	a.dropByteOrderMark()
	// Some relays label their streams as plain text, so the first bytes decide.
	a.stream = looksLikeEvents(a.buffered) || a.labeledEvents() && looksLikeField(a.buffered)
	switch {
	case a.stream && (k == kindStream || k == kindEither):
		return a.bufferStream()
	case a.stream:
		return nil, fmt.Errorf("%w: a stream where a plain answer was asked for", verdict.ErrUnusable)
	default:
		return a.bufferPlain(k)
	}
}
