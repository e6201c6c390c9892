package proxy

import (
	"time"

	"github.com/9bingyin/claude-code-lb/internal/upstream"
	"github.com/9bingyin/claude-code-lb/internal/verdict"
)

// hedgeAfter returns how long to wait for an attempt before a hedge is sent. It returns false if
// none is to be sent.
func (x *exchange) hedgeAfter(lease *upstream.Lease) (time.Duration, bool) {
	if !x.req.Settings.Hedge || x.kind != kindStream || !x.query.Home.None() { // another account would only respond "not found"
		return 0, false
	}
	return lease.HedgeDelay(x.tokens())
}

// race performs the first attempt and, if it has no outcome after a while, a hedge beside it.
func (x *exchange) race(first *attempt, after time.Duration) *attempt {
	judged := make(chan *attempt, 2)
	go func() { x.roundTrip(first); judged <- first }()
	timer := time.NewTimer(after)
	defer timer.Stop()
	select {
	case a := <-judged:
		return a
	case <-timer.C:
	}
	hedge := x.openHedge()
	if hedge == nil {
		return <-judged
	}
	go func() { x.roundTrip(hedge); judged <- hedge }()
	return x.firstSuccess(first, hedge, judged)
}

// openHedge opens an attempt at a second endpoint, nil if none is fit or the retry budget is used
// up.
func (x *exchange) openHedge() *attempt {
	now, s := time.Now(), x.req.Settings
	if len(x.entry.Attempts)+1 >= s.MaxAttempts || !x.p.budget.allows(now, s.RetryPercent, s.RetryFloor) {
		return nil
	}
	query := x.query
	query.FitOnly, query.LeaseBuf = true, nil
	choice, err := x.req.Table.Next(&query, &x.attempts.tried, now)
	if err != nil {
		return nil
	}
	x.trail.addSkipped(choice.Considered, now)
	x.attempts.chose(&choice)
	x.p.budget.countRetry(now)
	return x.open(choice.Lease)
}

// firstSuccess returns the attempt that succeeds first, or the second one to fail if both fail. The
// other attempt is settled and closed.
func (x *exchange) firstSuccess(first, hedge *attempt, judged <-chan *attempt) *attempt {
	a := <-judged
	other := hedge
	if a == hedge {
		other = first
	}
	if a.outcome.Failover() {
		x.recordFailure(a)
		return <-judged
	}
	other.cancel(verdict.ErrOutrun)
	<-judged
	// If it was judged just before it was cancelled, its outcome is valid.
	x.settle(other)
	x.close(other)
	return a
}
