package proxy

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/claude"
	"github.com/9bingyin/claude-code-lb/internal/ledger"
	"github.com/9bingyin/claude-code-lb/internal/routing"
	"github.com/9bingyin/claude-code-lb/internal/upstream"
	"github.com/9bingyin/claude-code-lb/internal/verdict"
)

// maxTimeouts is how many attempts may time out before a request is given up. The upstream may
// still bill a response that came too late, so a request is paid at most twice.
const maxTimeouts = 2

// errAborted reports that the client left or the balancer stopped while the request waited.
var errAborted = errors.New("interrupted")

// attempts is the state of the attempt loop.
type attempts struct {
	tried    routing.Tried
	warmth   routing.Warmth // what the account of the latest lease has cached of the prompt
	failed   failures
	timeouts int            // failed attempts that timed out
	leaseBuf upstream.Lease // memory of the first lease
}

// chose records that an endpoint has been leased.
func (s *attempts) chose(choice *routing.Choice) {
	s.warmth = choice.Warmth
	s.tried.Add(choice.Lease.ID())
}

// limitReached returns why no further attempt is made, whatever endpoints are left; nil if one may be
// made.
func (x *exchange) limitReached(now time.Time) error {
	switch total := x.req.Settings.Total; {
	case len(x.entry.Attempts) == 0:
		return nil
	case x.uploadBegun():
		return errors.New("an upload is sent once")
	case x.batchInDoubt():
		return errors.New("the batch may exist already")
	case len(x.entry.Attempts) >= x.mostAttempts():
		return errors.New("all attempts are used up")
	case x.attempts.timeouts >= maxTimeouts && !x.isSide(): // other paths are not billed
		return errors.New("two upstreams did not answer in time")
	case total > 0 && now.Sub(x.admittedAt) >= total:
		return errors.New("the time for all attempts is over")
	case x.savedListDue(now):
		return errors.New("the last list of models serves")
	case x.refusedTwice() != nil:
		return errors.New("two upstreams refused alike")
	}
	return nil
}

// mostAttempts returns the limit of attempts. A search may ask every account.
func (x *exchange) mostAttempts() int {
	if x.pin.searching {
		return max(x.req.Settings.MaxAttempts, len(x.req.Table.Accounts()))
	}
	return x.req.Settings.MaxAttempts
}

// wait waits until an endpoint may be available again, and deducts the time from the request's
// patience.
func (x *exchange) wait(w *routing.Wait, now time.Time) error {
	x.trail.addWait(w.Until.Sub(now), now)
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

// recordFailure settles a failed attempt and keeps it for giveUp.
func (x *exchange) recordFailure(a *attempt) {
	x.settle(a)
	x.close(a)
	x.attempts.failed = append(x.attempts.failed, a)
	if a.rank() == rankNone {
		a.buffered = nil // it is never shown
	}
	if a.outcome.Unbilled {
		x.attempts.tried.Refused(a.lease.ID(), time.Now())
	}
	if a.timedOut {
		x.attempts.timeouts++
	}
	x.extendTotal(a, time.Now())
}

// refusedTwice returns the first of two equal refusals by different endpoints that may be the
// request's own fault, or nil. In a search, such refusals are expected.
func (x *exchange) refusedTwice() *attempt {
	if x.pin.searching {
		return nil
	}
	return x.attempts.failed.twoAlike()
}

// forgive takes back what failures that the request itself seems to have caused did to the state of
// the endpoints.
func (x *exchange) forgive() {
	if !x.attempts.failed.causedByRequest() {
		return
	}
	now := time.Now()
	for _, a := range x.attempts.failed {
		a.lease.Forgive(now)
	}
}

// abort ends a request that was cancelled before its commit. If the balancer stops, the client is
// still there and receives an error.
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
	x.sendError(opened, http.StatusServiceUnavailable, time.Second, claude.Error{Type: claude.ErrAPI, Message: "claude-code-lb is stopping: try again in a moment."})
}

// failures are the failed attempts of a request, in order.
type failures []*attempt

// all reports whether there are failures and all of them satisfy is.
func (f failures) all(is func(*attempt) bool) bool {
	return len(f) > 0 && !slices.ContainsFunc(f, func(a *attempt) bool { return !is(a) })
}

// twoAlike returns the first of two refusals with the same status by different endpoints.
func (f failures) twoAlike() *attempt {
	for i, a := range f {
		for _, b := range f[:i] {
			if a.refused() && b.refused() && a.res.StatusCode == b.res.StatusCode && a.lease.ID() != b.lease.ID() {
				return b
			}
		}
	}
	return nil
}

// causedByRequest reports whether the request seems to be at fault and not the endpoints: several
// endpoints failed, and all in the same way.
func (f failures) causedByRequest() bool {
	if len(f) < 2 {
		return false
	}
	first, several := f[0], false
	for _, a := range f {
		if a.symptom() == "" || a.symptom() != first.symptom() {
			return false
		}
		several = several || a.lease.ID() != first.lease.ID()
	}
	return several
}

// latestAt returns the latest failed attempt at an endpoint, or nil.
func (f failures) latestAt(e *upstream.Endpoint) *attempt {
	for _, a := range slices.Backward(f) {
		if a.lease.ID() == e.ID() {
			return a
		}
	}
	return nil
}

// refused reports whether the response is a refusal that may be the request's own fault.
func (a *attempt) refused() bool {
	return a.outcome.Ambiguous && a.res != nil && a.res.StatusCode >= http.StatusBadRequest
}

// refusedUs reports whether the response is about our own credential or account.
func (a *attempt) refusedUs() bool {
	return a.outcome.Scope == verdict.ScopeCredential || a.outcome.Scope == verdict.ScopeAccount
}

// lackedDescriptors reports whether the balancer had no file descriptors left for the attempt.
func (a *attempt) lackedDescriptors() bool { return a.outcome.Scope == verdict.ScopeBalancer }
