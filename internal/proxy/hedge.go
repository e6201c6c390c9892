package proxy

import (
	"time"

	"github.com/9bingyin/claude-code-lb/internal/upstream"
	"github.com/9bingyin/claude-code-lb/internal/verdict"
)

// attempt sends the request to an endpoint and returns the attempt with its
// verdict. A slow streaming request may be sent to a second endpoint too: then
// the first good answer is returned and the other attempt is settled.
func (x *exchange) attempt(lease *upstream.Lease) *attempt {
	first := x.open(lease)
	after, known := time.Duration(0), false
	if x.req.Settings.Hedge && x.requestKind == kindStream && x.query.Home.None() { // another account would only say "not found"
		after, known = lease.HedgeAfter(x.tokens())
	}
	if !known {
		x.roundTrip(first)
		return first
	}
	verdicts := make(chan *attempt, 2)
	go func() { x.roundTrip(first); verdicts <- first }()
	timer := time.NewTimer(after)
	defer timer.Stop()
	select {
	case a := <-verdicts:
		return a
	case <-timer.C:
	}
	second := x.openHedge()
	if second == nil {
		return <-verdicts
	}
	go func() { x.roundTrip(second); verdicts <- second }()
	return x.firstSuccess(first, second, verdicts)
}

// openHedge opens an attempt at a second endpoint if one is fit and the budget allows it.
func (x *exchange) openHedge() *attempt {
	now, s := time.Now(), x.req.Settings
	if len(x.entry.Attempts)+1 >= s.MaxAttempts || !x.p.budget.left(now, s.RetryPercent, s.RetryFloor) {
		return nil
	}
	query := x.query
	query.FitOnly, query.LeaseBuf = true, nil
	choice, err := x.req.Table.Next(&query, &x.tried, now)
	if err != nil {
		return nil
	}
	x.trail.skipped(choice.Considered, now)
	x.warmth = choice.Warmth
	x.tried.Add(choice.Lease.ID())
	x.p.budget.retry(now)
	return x.open(choice.Lease)
}

// firstSuccess awaits the first good answer of two, and otherwise the last bad one.
func (x *exchange) firstSuccess(first, second *attempt, verdicts <-chan *attempt) *attempt {
	a := <-verdicts
	other := second
	if a == second {
		other = first
	}
	if a.outcome.Failover() {
		x.recordFailure(a)
		return <-verdicts
	}
	other.cancel(verdict.ErrOutrun)
	<-verdicts
	// It may have been ready in the same moment; what it said of its endpoint holds then.
	x.settle(other)
	x.close(other)
	return a
}

// tokens estimates the input tokens of the request, as if none were cached: about four bytes each.
func (x *exchange) tokens() int64 { return int64(x.req.Body.textLen()) / 4 }
