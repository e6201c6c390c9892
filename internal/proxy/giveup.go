package proxy

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/claude"
	"github.com/9bingyin/claude-code-lb/internal/ledger"
	"github.com/9bingyin/claude-code-lb/internal/routing"
	"github.com/9bingyin/claude-code-lb/internal/telemetry"
	"github.com/9bingyin/claude-code-lb/internal/upstream"
	"github.com/9bingyin/claude-code-lb/internal/verdict"
)

const (
	// maxRetryAfter is the longest Retry-After of the balancer's own errors. Claude Code gives up
	// at once on more.
	maxRetryAfter = time.Minute
	// shortRetryAfter is used if it is not known when an upstream returns.
	shortRetryAfter = 10 * time.Second
)

// giveUp responds when no further attempt is made. It sends the first of these, the most helpful
// one first:
//
//   - a refusal of the request itself that two upstreams gave alike;
//   - a short-lived failure of an upstream: overloaded, a short rate limit, a failed server;
//   - when every upstream is used up, the complete refusal of the one that recovers first;
//   - a refusal of the model, then one that only one upstream gave;
//   - else an error of the balancer. A refusal of our credential is never shown.
func (x *exchange) giveUp(why error) {
	x.forgive()
	x.entry.Outcome = ledger.Failed
	if x.allBlameRequest() {
		x.entry.Outcome = ledger.Answered
	}
	if x.refuseQuick() {
		return
	}
	wait, now := x.retryAfter(), time.Now()
	opened := x.keepalive.end()
	a := x.bestRefusal()
	if x.refusedTwice() == nil && (a == nil || a.rank() <= rankUsedUp) {
		if r, ok := x.poolExhaustion(now); ok {
			x.p.log.InfoContext(x.ctx, telemetry.NoUpstream, telemetry.ID, x.req.ID, telemetry.Attempts, len(x.entry.Attempts), telemetry.Err, "every upstream is used up")
			x.writeExhaustion(r, opened, now)
			return
		}
	}
	if a != nil && a.isFromAPI() {
		x.entry.Attempts[a.place].Served = true
		if opened {
			x.sendErrorEvent(a.asError())
			return
		}
		x.writeRefusal(a, wait)
		return
	}
	level := slog.LevelWarn
	if x.entry.Outcome == ledger.Answered {
		level = slog.LevelInfo
	}
	x.p.log.Log(x.ctx, level, telemetry.NoUpstream, telemetry.ID, x.req.ID, telemetry.Attempts, len(x.entry.Attempts), telemetry.Err, why)
	status, e := x.ownError(why)
	if !opened {
		x.trace()
		if status == http.StatusTooManyRequests { // Claude Code stops at once on a long wait, as intended
			x.client.w.Header().Set("Retry-After", wholeSeconds(x.availability().RetryAfter))
			wait = 0
		}
	}
	x.sendError(opened, status, wait, e)
}

// isFromAPI reports whether a refusal can be shown to the client as it is. A used-up account cannot
// while another one may serve, and a missing model only in the API's own words.
func (a *attempt) isFromAPI() bool {
	switch {
	case a.outcome.Cause == verdict.CauseNoModel:
		return a.res.StatusCode == http.StatusNotFound && a.claimed != nil && a.claimed.Type == claude.ErrNotFound
	case a.outcome.Scope == verdict.ScopeRequest:
		return true
	}
	return !a.usedUp()
}

// availability reports why no upstream would take the request now.
func (x *exchange) availability() *routing.Unavailable {
	return x.req.Table.Availability(&x.query, &x.attempts.tried, time.Now())
}

// retryAfter returns how long the client should wait before it retries.
func (x *exchange) retryAfter() time.Duration {
	available := x.availability()
	switch {
	case available.Mildest == upstream.Fit:
		return time.Second
	case available.Mildest == upstream.Draining: // only the operator can help
		return maxRetryAfter
	case available.RetryAfter <= 0:
		return shortRetryAfter
	case available.Mildest == upstream.Paused && !x.attempts.failed.reportedPause():
		// The cooldown is our own estimate. A client that retries earlier tests the upstream, and a
		// client with a fallback model switches to it sooner (measured: see docs/failover.md).
		return min(max(available.RetryAfter/2, time.Second), maxRetryAfter)
	default:
		return min(available.RetryAfter, maxRetryAfter)
	}
}

// reportedPause reports whether an overloaded upstream sent a retry-after.
func (f failures) reportedPause() bool {
	return slices.ContainsFunc(f, func(a *attempt) bool { return a.outcome.Scope == verdict.ScopeCapacity && a.outcome.RetryAfter > 0 })
}

// bestRefusal returns the failed attempt whose response helps the client most, and among equal ones
// the latest. A response about our own credential or account is never sent.
func (x *exchange) bestRefusal() *attempt {
	if first := x.refusedTwice(); first != nil {
		return first
	}
	var best *attempt
	incomplete := x.searchIncomplete()
	for _, a := range x.attempts.failed {
		if a.wrongAccount && incomplete {
			continue
		}
		if rank := a.rank(); rank > rankNone && (best == nil || rank >= best.rank()) {
			best = a
		}
	}
	return best
}

// The ranks of refusals by their worth to the client.
const (
	rankNone = iota
	rankRequest
	rankModel
	rankUsedUp
	rankEndpoint
	rankRateLimit
	rankCapacity
)

// rank orders refusals by their worth to the client; rankNone has none.
func (a *attempt) rank() int {
	if a.res == nil || a.res.StatusCode < http.StatusBadRequest && a.message.Err == nil {
		return rankNone
	}
	if a.usedUp() {
		return rankUsedUp
	}
	switch a.outcome.Scope {
	case verdict.ScopeCapacity:
		return rankCapacity
	case verdict.ScopeRateLimit:
		return rankRateLimit
	case verdict.ScopeEndpoint:
		if a.outcome.Cause == verdict.CausePage || a.outcome.Cause == verdict.CauseNoRoute {
			return rankNone // the page of a proxy on the way
		}
		return rankEndpoint
	case verdict.ScopeModel:
		return rankModel
	case verdict.ScopeRequest:
		return rankRequest
	default:
		return rankNone
	}
}

// writeRefusal sends a buffered refusal to the client. An error event inside a 200 becomes the
// plain error that the upstream would have sent a moment earlier.
func (x *exchange) writeRefusal(a *attempt, wait time.Duration) {
	if a.res.StatusCode < http.StatusBadRequest {
		h := x.copyResponseHeader(a.res.Header)
		for _, name := range []string{"Content-Type", "Content-Length", "Content-Encoding", "Retry-After-Ms"} {
			h.Del(name)
		}
		x.trace()
		x.entry.Status = WriteError(x.client.w, claude.StatusForType(a.message.Err.Type), wait, *a.message.Err)
		return
	}
	a.complete = true
	status := a.res.StatusCode
	switch {
	case a.usedUp() && a.outcome.RetryAfter > 0: // of the client's own account
		a.res.Header.Del("Retry-After-Ms")
		a.res.Header.Set("Retry-After", wholeSeconds(a.outcome.RetryAfter))
	case status == http.StatusTooManyRequests || status >= http.StatusInternalServerError:
		a.res.Header.Del("Retry-After-Ms")
		a.res.Header.Set("Retry-After", seconds(wait))
	}
	x.writeHeader(a)
	x.client.write(a.buffered)
}

// asError returns the response as an error event, for a client whose response keep-alive comments
// have opened.
func (a *attempt) asError() claude.Error {
	switch {
	case a.message.Err != nil:
		return *a.message.Err
	case a.claimed != nil:
		return *a.claimed
	case a.res.StatusCode >= http.StatusBadRequest:
		return claude.Error{Type: claude.TypeForStatus(a.res.StatusCode), Message: fmt.Sprintf("The upstream answered with status %d.", a.res.StatusCode)}
	default:
		return claude.Error{Type: claude.ErrAPI, Message: "The upstream answered a streaming request with a plain message: ask again."}
	}
}

// ownError returns the balancer's own error for the failure of all upstreams.
func (x *exchange) ownError(why error) (int, claude.Error) {
	e := claude.Error{Type: claude.ErrAPI}
	n := len(x.entry.Attempts)
	unavailable, _ := errors.AsType[*routing.Unavailable](why)
	switch {
	case n == 0 && unavailable != nil && unavailable.Mildest == upstream.Draining:
		e.Message = "No upstream takes new work: give a server a weight above 0 in the configuration of claude-code-lb."
		if x.pin.id != "" {
			e.Message = x.pin.servers() + " takes no new work: give its server a weight above 0 in the configuration of claude-code-lb."
		}
		return http.StatusServiceUnavailable, e
	case n == 0 && unavailable != nil && unavailable.Mildest == upstream.RateLimited:
		e.Type, e.Message = claude.ErrRateLimit, x.pin.servers()+" has reached its rate limit: try again when it is over."
		return http.StatusTooManyRequests, e
	case n == 0 && unavailable != nil && unavailable.Mildest == upstream.Paused:
		e.Type, e.Message = claude.ErrOverloaded, x.pin.servers()+" is overloaded: try again in a moment."
		return claude.StatusOverloaded, e
	case x.batchInDoubt():
		x.preventRetry()
		e.Message = "The upstream did not report whether it has created the batch: look at the list of batches before you send it again, or it may run twice."
	case x.modelOut() || x.attempts.failed.lackModel():
		e.Type, e.Message = claude.ErrNotFound, "model: "+x.entry.Model+" (refused by every upstream a moment ago: check its name)"
		return http.StatusNotFound, e
	case x.attempts.failed.all((*attempt).lackedDescriptors):
		x.client.w.Header().Set("Connection", "close") // frees one
		e.Message = "claude-code-lb has no file descriptors left to connect to an upstream: try again in a moment, and raise their limit."
	case n > 0 && x.attempts.timeouts == n:
		e.Type, e.Message = claude.ErrTimeout, "No upstream answered in time ("+strconv.Itoa(n)+" tried): try again in a moment."
		return http.StatusGatewayTimeout, e
	case x.isQuick() && x.attempts.failed.all((*attempt).refusedUs):
		e.Message = x.pin.servers() + " refused this path, or its credential for it: the log of claude-code-lb has the details under this request id."
	case x.attempts.failed.all((*attempt).refusedUs) || n == 0 && unavailable != nil && (unavailable.Mildest == upstream.CredentialOut || unavailable.Mildest == upstream.AccountOut):
		x.preventRetry() // only the operator can fix it
		e.Message = x.pin.servers() + " " + x.attempts.failed.describeRefusals(unavailable) + "; the log of claude-code-lb has the details under this request id."
	case x.searchIncomplete() && n > 0:
		e.Message = "Not every account could be asked for " + x.pin.unknown[0] + ": try again in a moment."
	case n == 0 && x.cooldownCause() != verdict.CauseOther:
		e.Message = x.pin.servers() + " is cooling down: it " + describe(x.cooldownCause()) + ". Try again in a moment; the log of claude-code-lb has the details."
	case n == 0:
		e.Message = x.pin.servers() + " is in a cooldown after failures: try again in a moment."
	case x.attempts.failed.commonCause() != verdict.CauseOther:
		e.Message = x.pin.servers() + " " + describe(x.attempts.failed.commonCause()) + " (" + strconv.Itoa(n) + " tried). Try again in a moment; the log of claude-code-lb has the details under this request id."
	default:
		e.Message = x.pin.servers() + " failed (" + strconv.Itoa(n) + " tried): try again in a moment; the log of claude-code-lb has the reasons under this request id."
	}
	return http.StatusServiceUnavailable, e
}

// allBlameRequest reports whether every upstream refused the request itself or does not know its
// model. Then the client most likely made a mistake.
func (x *exchange) allBlameRequest() bool {
	return x.modelOut() || x.attempts.failed.all(func(a *attempt) bool { return a.outcome.Cause == verdict.CauseNoModel || a.refused() })
}

// modelOut reports whether no upstream was asked because every one has refused the model lately.
func (x *exchange) modelOut() bool {
	return len(x.entry.Attempts) == 0 && x.trail.allSkippedFor(upstream.ModelOut)
}
