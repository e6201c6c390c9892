package proxy

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/claude"
	"github.com/9bingyin/claude-code-lb/internal/ledger"
	"github.com/9bingyin/claude-code-lb/internal/routing"
	"github.com/9bingyin/claude-code-lb/internal/upstream"
	"github.com/9bingyin/claude-code-lb/internal/verdict"
)

// maxTimeouts is how many waits may run out before a request is given up: a
// slow answer may still be billed, so it is bought at most twice.
const maxTimeouts = 2

// errAborted says that the client left, or the balancer stops, while the request waited.
var errAborted = errors.New("interrupted")

// run tries endpoint after endpoint until one answer is committed, the client leaves, or none is left.
func (x *exchange) run() {
	if !x.isSide() {
		x.p.budget.request(x.req.Start)
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

// nextLease claims the endpoint to ask next, waiting for one to return where that is soon.
func (x *exchange) nextLease() (*upstream.Lease, error) {
	for {
		now := time.Now()
		if err := x.exhausted(now); err != nil {
			return nil, err
		}
		retry := len(x.entry.Attempts) > 0 && !x.isSide()
		x.query.FitOnly = retry && !x.p.budget.left(now, x.req.Settings.RetryPercent, x.req.Settings.RetryFloor)
		if x.isQuick() { // a late response is worse than none
			x.query.FitOnly = len(x.entry.Attempts) > 0 || x.savedList() != nil
		}
		choice, err := x.req.Table.Next(&x.query, &x.tried, now)
		x.trail.skipped(choice.Considered, now)
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
		x.warmth = choice.Warmth
		x.tried.Add(choice.Lease.ID())
		if retry {
			x.p.budget.retry(now)
		}
		return choice.Lease, nil
	}
}

// exhausted says why no further attempt is made, whatever endpoints are left.
func (x *exchange) exhausted(now time.Time) error {
	switch total := x.req.Settings.Total; {
	case len(x.entry.Attempts) == 0:
		return nil
	case x.uploading():
		return errors.New("an upload is sent once")
	case x.batchInDoubt():
		return errors.New("the batch may exist already")
	case len(x.entry.Attempts) >= x.mostAttempts():
		return errors.New("all attempts are used up")
	case x.timeoutCount >= maxTimeouts && !x.isSide(): // nothing else is billed
		return errors.New("two upstreams did not answer in time")
	case total > 0 && now.Sub(x.admittedAt) >= total:
		return errors.New("the time for all attempts is over")
	case x.overdue(now):
		return errors.New("the last list of models serves")
	case x.refusedTwice() != nil:
		return errors.New("two upstreams refused alike")
	}
	return nil
}

// mostAttempts is how many there may be: a search goes through all accounts.
func (x *exchange) mostAttempts() int {
	if x.pin.searching {
		return max(x.req.Settings.MaxAttempts, len(x.req.Table.Accounts()))
	}
	return x.req.Settings.MaxAttempts
}

// wait lets time pass until an endpoint returns, at the cost of the request's patience.
func (x *exchange) wait(w *routing.Wait, now time.Time) error {
	x.trail.waits(w.Until.Sub(now), now)
	timer := time.NewTimer(w.Until.Sub(now))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-w.Changed:
	case <-x.ctx.Done():
		return errAborted
	}
	waited := time.Since(now)
	x.entry.Waited += waited
	x.query.Patience = max(x.query.Patience-waited, 0)
	x.query.Queue = max(x.query.Queue-waited, 0)
	if total := x.req.Settings.Total; total > 0 {
		x.query.Patience = min(x.query.Patience, max(total-time.Since(x.admittedAt), 0))
	}
	return nil
}

// recordFailure notes a failed attempt and what follows from it.
func (x *exchange) recordFailure(a *attempt) {
	x.settle(a)
	x.close(a)
	x.failures = append(x.failures, a)
	if a.rank() == 0 {
		a.buffered = nil // nobody will see it
	}
	if a.outcome.Unbilled {
		x.tried.Refused(a.lease.ID(), time.Now())
	}
	if a.timedOut {
		x.timeoutCount++
	}
	x.outlived(a, time.Now())
}

// refusedTwice returns the first of two refusals alike that different
// endpoints gave and that may be the request's own fault.
func (x *exchange) refusedTwice() *attempt {
	if x.pin.searching {
		return nil
	}
	for i, a := range x.failures {
		for _, b := range x.failures[:i] {
			if a.refused() && b.refused() && a.res.StatusCode == b.res.StatusCode && a.lease.ID() != b.lease.ID() {
				return b
			}
		}
	}
	return nil
}

// refused says whether the answer may be the request's own fault.
func (a *attempt) refused() bool {
	return a.outcome.Ambiguous && a.res != nil && a.res.StatusCode >= http.StatusBadRequest
}

// poisonous says whether it seems to be the request that fails and not the
// endpoints: several of them, and nothing else, failed on it in the same way.
func (x *exchange) poisonous() bool {
	if len(x.failures) < 2 {
		return false
	}
	first, several := x.failures[0], false
	for _, a := range x.failures {
		if a.symptom() == "" || a.symptom() != first.symptom() {
			return false
		}
		several = several || a.lease.ID() != first.lease.ID()
	}
	return several
}

// forgive takes back what a request that kills whoever serves it has done to the endpoints' standing.
func (x *exchange) forgive() {
	if !x.poisonous() {
		return
	}
	now := time.Now()
	for _, a := range x.failures {
		a.lease.Forgive(now)
	}
}

// abort ends a request that was cancelled before its commit. Only when it was the balancer that
// stopped is somebody there to be told.
func (x *exchange) abort() {
	x.forgive()
	x.entry.Outcome = ledger.ClientGone
	opened := x.keepalive.end()
	if err := x.uploadProblem(); err != nil && x.ctx.Err() == nil {
		x.refuseUpload(err)
		return
	}
	if !errors.Is(context.Cause(x.ctx), verdict.ErrStopping) {
		return
	}
	x.entry.Outcome = ledger.Failed
	e := claude.Error{Type: claude.ErrAPI, Message: "claude-code-lb is stopping: try again in a moment.", RequestID: x.req.ID}
	if opened {
		x.tell(e)
		return
	}
	x.entry.Status = WriteError(x.w, http.StatusServiceUnavailable, time.Second, e)
}
