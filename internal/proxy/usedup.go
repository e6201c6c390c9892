package proxy

import (
	"maps"
	"net/http"
	"strconv"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/claude"
	"github.com/9bingyin/claude-code-lb/internal/upstream"
	"github.com/9bingyin/claude-code-lb/internal/verdict"
)

// usedUp reports whether, according to the upstream, a plan, a spending limit or a rate limit is
// used up for longer than a client would wait. Such a refusal helps the client more than an error
// of the balancer: it names the limit and its end, and Claude Code stops at once and shows it.
func (a *attempt) usedUp() bool {
	if a.outcome.Cause == verdict.CauseUsedUp {
		return true
	}
	limit := a.outcome.Scope == verdict.ScopeRateLimit || a.outcome.Scope == verdict.ScopeModel && a.status() == http.StatusTooManyRequests && a.outcome.Cause != verdict.CauseNoModel
	return limit && a.outcome.RetryAfter > maxRetryAfter
}

// refusalOf returns the error response of a failed attempt in the form that is saved and passed on.
func (x *exchange) refusalOf(a *attempt) (verdict.Refusal, bool) {
	if a.res == nil {
		return verdict.Refusal{}, false
	}
	var until time.Time
	if a.outcome.RetryAfter > 0 {
		until = a.judged.Add(a.outcome.RetryAfter)
	}
	if a.res.StatusCode >= http.StatusBadRequest {
		id := a.res.Header.Get("Request-Id")
		if a.claimed != nil && a.claimed.RequestID != "" {
			id = a.claimed.RequestID
		}
		return verdict.NewRefusal(a.res.StatusCode, a.res.Header, a.buffered, id, until)
	}
	if a.message.Err == nil {
		return verdict.Refusal{}, false
	}
	e := *a.message.Err
	e.RequestID = ""
	h := a.res.Header.Clone()
	h.Set("Content-Type", "application/json")
	return verdict.NewRefusal(claude.StatusForType(e.Type), h, e.AppendJSON(nil), "", until)
}

// saveRefusal saves a refusal for later requests.
func (x *exchange) saveRefusal(a *attempt) {
	if x.isSide() || !a.usedUp() && !a.outcome.Final || a.outcome.Scope <= verdict.ScopeRequest {
		return
	}
	if r, ok := x.refusalOf(a); ok && beginsObject(r.Body) {
		a.lease.RememberRefusal(r, a.outcome.Scope == verdict.ScopeAccount || a.outcome.Scope == verdict.ScopeCredential)
	}
}

// exhaustion is the refusal to send when every upstream is used up.
type exhaustion struct {
	verdict.Refusal
	attempt *attempt // its source; nil for a saved refusal
}

// poolExhaustion returns the refusal of the upstream that recovers first, if every upstream is used
// up or out for longer. It returns false if an upstream may recover in a moment, or if no upstream
// has reported that it is used up.
func (x *exchange) poolExhaustion(now time.Time) (exhaustion, bool) {
	var first exhaustion
	var earliest time.Time // when the first one without a refusal recovers
	found := false
	for _, e := range x.req.Table.Endpoints() {
		if x.query.Account != nil && e.CacheScope() != *x.query.Account {
			continue
		}
		v := e.View(now, x.query.Subject)
		if v.Unfit == upstream.Draining {
			continue
		}
		candidate, state := x.exhaustionAt(e, v, now)
		switch {
		case state == poolBackSoon:
			return exhaustion{}, false
		case state == poolReported && (!found || isEarlier(candidate.Until, first.Until)):
			first, found = candidate, true
		case state == poolOut && v.Unfit == upstream.RateLimited && (earliest.IsZero() || v.ReadyAt.Before(earliest)):
			earliest = v.ReadyAt
		}
	}
	if !earliest.IsZero() && isEarlier(earliest, first.Until) {
		first.Until = earliest
	}
	return first, found
}

// poolState is the state of one upstream when no upstream took the request.
type poolState uint8

const (
	poolOut      poolState = iota // out, for another reason
	poolReported                  // it reported that it is used up
	poolBackSoon                  // it may recover in a moment
)

// exhaustionAt returns the state of one endpoint, and its refusal if it has reported one.
func (x *exchange) exhaustionAt(e *upstream.Endpoint, v upstream.View, now time.Time) (exhaustion, poolState) {
	if a := x.attempts.failed.latestAt(e); a != nil {
		if a.usedUp() {
			r, ok := x.refusalOf(a)
			if ok {
				return exhaustion{r, a}, poolReported
			}
			return exhaustion{}, poolOut
		}
		switch a.outcome.Scope {
		case verdict.ScopeCredential, verdict.ScopeAccount, verdict.ScopeModel:
			return exhaustion{}, poolOut
		}
		return exhaustion{}, poolBackSoon
	}
	switch v.Unfit {
	case upstream.RateLimited, upstream.ModelOut, upstream.AccountOut, upstream.CredentialOut:
		if r, ok := e.Refusal(now, x.query.Subject); ok {
			return exhaustion{Refusal: r}, poolReported
		}
		if v.Unfit == upstream.RateLimited && v.ReadyAt.Sub(now) <= maxRetryAfter {
			return exhaustion{}, poolBackSoon
		}
		return exhaustion{}, poolOut
	case upstream.LowBalance:
		return exhaustion{}, poolOut
	}
	return exhaustion{}, poolBackSoon
}

// isEarlier reports whether a is before b. Zero means unknown and is after all others.
func isEarlier(a, b time.Time) bool { return !a.IsZero() && (b.IsZero() || a.Before(b)) }

// writeExhaustion responds with an upstream's own complete refusal, and with the wait that it asks
// for.
func (x *exchange) writeExhaustion(r exhaustion, opened bool, now time.Time) {
	if r.attempt != nil {
		x.entry.Attempts[r.attempt.place].Served = true
	}
	if opened {
		e, ok := claude.ParseError(r.Body)
		if !ok {
			e = claude.Error{Type: claude.TypeForStatus(r.Status), Message: "The upstream's limit is used up."}
		}
		e.RequestID = x.req.ID
		x.sendErrorEvent(e)
		return
	}
	h := x.client.w.Header()
	if r.attempt != nil && r.attempt.res.StatusCode == r.Status {
		h = x.copyResponseHeader(r.attempt.res.Header)
		if r.attempt.decoded {
			h.Del("Content-Encoding")
		}
		r.Body = r.attempt.buffered
	} else {
		maps.Copy(h, r.Header)
		h.Set("Request-Id", x.req.ID)
		r.Body = r.BodyFor(x.req.ID)
	}
	h.Del("Retry-After-Ms")
	if !r.Until.IsZero() {
		h.Set("Retry-After", wholeSeconds(r.Until.Sub(now)))
	}
	h.Set("Content-Length", strconv.Itoa(len(r.Body)))
	x.trace()
	x.entry.Status = r.Status
	x.client.w.WriteHeader(r.Status)
	x.client.write(r.Body)
}
