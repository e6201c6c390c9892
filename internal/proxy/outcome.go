package proxy

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/claude"
	"github.com/9bingyin/claude-code-lb/internal/ledger"
	"github.com/9bingyin/claude-code-lb/internal/telemetry"
	"github.com/9bingyin/claude-code-lb/internal/verdict"
)

// judge sets the outcome of an attempt from what is known by now. claimed is the error that the
// response states, err why it could not be read.
func (x *exchange) judge(a *attempt, claimed *claude.Error, err error) {
	ev := verdict.Evidence{
		Error: claimed, Err: err, Now: time.Now(), Server: a.lease.Name(), Model: x.entry.Model, Path: x.query.Subject.Path,
		Variant: x.query.Subject.Variant, OwnCredential: x.req.Settings.PassCredentials && !a.lease.HasToken(),
	}
	if a.res != nil {
		ev.Status, ev.Header = a.res.StatusCode, a.res.Header
	}
	if a.wrongShape && err != nil && isVendorRefusal(a.buffered, x.entry.Model) {
		ev.Err, ev.Error, claimed = nil, &claude.Error{Type: claude.ErrAPI}, nil
		ev.Body = a.buffered
	}
	switch {
	case ev.Status >= http.StatusBadRequest:
		ev.Body = a.buffered
	case claimed != nil && a.message.Err != nil:
		ev.Body = a.message.ErrData
	case claimed != nil:
		ev.Body = a.buffered
	}
	a.outcome, a.judged = x.req.Settings.Rules.Judge(ev), ev.Now
	if errors.Is(err, verdict.ErrUnusable) && claude.ReadRefusal(a.buffered).Page {
		a.outcome.Cause = verdict.CausePage
	}
	x.judgeSearch(a)
	if x.uploadProblem() != nil {
		a.outcome = verdict.Outcome{Scope: verdict.ScopeClient, Reason: "the upload broke off"}
	}
	timeout, ok := errors.AsType[*verdict.TimeoutError](err)
	a.timedOut = ok
	if ok && a.deadlineShortened && timeout.Waiting != nextByte {
		// The attempt had less time than the endpoint's own limit, so the time-out proves nothing
		// about the endpoint.
		a.outcome = verdict.Outcome{Scope: verdict.ScopeRequest, Ambiguous: true, Reason: "the time for all attempts is over"}
	}
}

// isVendorRefusal reports whether a body with status 200 is a vendor's refusal that we understand.
func isVendorRefusal(body []byte, model string) bool {
	switch claude.ReadRefusal(body).Classify(model).Meaning {
	case claude.ModelUnavailable, claude.QuotaExhausted, claude.Overloaded:
		return true
	}
	return false
}

// symptom returns a name for a failure that the request may cause at any endpoint, "" for every
// other.
func (a *attempt) symptom() string {
	switch {
	case a.outcome.Scope != verdict.ScopeEndpoint || a.timedOut:
		return ""
	case a.wrongShape, a.res != nil && a.res.StatusCode >= http.StatusBadRequest && (a.outcome.Cause == verdict.CausePage || a.outcome.Cause == verdict.CauseNoRoute): // perhaps of a firewall
		return a.outcome.Reason
	case a.res != nil && (a.res.StatusCode >= http.StatusInternalServerError || a.res.StatusCode < http.StatusBadRequest && a.claimed != nil):
		return a.outcome.Reason
	case a.res == nil && !a.outcome.Unbilled:
		return "broken connection"
	default:
		return ""
	}
}

// explain replaces the bare cancellation that reading or sending returns by its cause.
func (a *attempt) explain(err error) error {
	if a.client.Err() != nil {
		if cause := context.Cause(a.client); errors.Is(cause, verdict.ErrStopping) {
			return cause
		}
		return verdict.ErrClientGone
	}
	if cause := context.Cause(a.ctx); cause != nil {
		return cause
	}
	return err
}

// settle gives the outcome to the endpoint and adds the attempt to the entry, the trail and the
// log.
func (x *exchange) settle(a *attempt) {
	now := time.Now()
	a.lease.Settle(x.ctx, a.outcome, now)
	x.saveRefusal(a)
	x.addAttempt(a, now)
	x.recordUsage(a)
	if a.outcome.Scope == verdict.ScopeBalancer && x.p.short.Allow(now) {
		x.p.log.WarnContext(x.ctx, telemetry.NoDescriptors, telemetry.NeededTo, "connect", telemetry.Server, a.lease.Name())
	}
	x.trail.addAttempt(a, claude.ShortenIDs(x.pin.id), now)
	if a.outcome.Failover() {
		x.p.log.InfoContext(x.ctx, telemetry.AttemptFailed, telemetry.ID, x.req.ID, telemetry.Server, a.lease.Name(),
			telemetry.Reason, a.outcome.Reason, telemetry.Scope, a.outcome.Scope.String(), telemetry.Duration, now.Sub(a.start).Round(time.Millisecond))
	}
}

// addAttempt adds an attempt to the entry of the request. It is not inlined: a ledger.Attempt is
// large, and a copy of it in the frame of settle would enlarge the stack of every open stream.
//
//go:noinline
func (x *exchange) addAttempt(a *attempt, now time.Time) {
	status, upstreamID := 0, ""
	if a.res != nil {
		status, upstreamID = a.res.StatusCode, a.res.Header.Get("Request-Id")
	}
	a.place = len(x.entry.Attempts)
	x.entry.Attempts = append(x.entry.Attempts, ledger.Attempt{
		Server: a.lease.Name(), Status: status, Scope: a.outcome.Scope.String(), Reason: a.outcome.Reason, RequestID: upstreamID,
		Start: a.start, TimeToOutcome: now.Sub(a.start), ExpectedCached: a.warm.Cached, MaxExpectedCached: a.warm.Most, EstimatedInput: a.warm.Total,
	})
}

// charge records a failure after the commit in the entry and in the state of the endpoint.
func (x *exchange) charge(a *attempt, o verdict.Outcome) {
	x.entry.Outcome = ledger.Truncated
	charged := &x.entry.Attempts[a.place]
	charged.Reason, charged.Scope = o.Reason, o.Scope.String()
	a.lease.RecordBreak(x.ctx, o, time.Now())
}
