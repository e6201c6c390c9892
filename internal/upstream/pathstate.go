package upstream

import (
	"time"

	"github.com/9bingyin/claude-code-lb/internal/claude"
	"github.com/9bingyin/claude-code-lb/internal/verdict"
)

// maxPaths bounds the path classes per endpoint.
const maxPaths = 32

// pathState is the state of an endpoint for one class of paths other than /v1/messages. Responses
// on such a path, including refusals of the key or the account, prove something about that path
// only: some relays lack count_tokens, forbid it to some keys, or serve a login page for models,
// although messages work. Only failures of the connection also count against the endpoint itself.
// The endpoint's mutex guards it.
type pathState struct {
	breaker        breaker
	refusals       cooldowns // of models, for rate limits and for lack of capacity
	recentFailures recentFailures
	lastForced     time.Time // when the latest forced attempt was granted
}

// pathLocked returns the state of a path class, and creates it if needed.
func (st *endpointState) pathLocked(class string) *pathState {
	if known := st.paths[class]; known != nil {
		return known
	}
	if st.paths == nil || len(st.paths) >= maxPaths {
		st.paths = map[string]*pathState{}
	}
	s := &pathState{}
	st.paths[class] = s
	return s
}

// modelRefusalKey is the key of a refused model in pathState.refusals. Classes of models contain no
// space.
func (s Subject) modelRefusalKey() string { return "model " + s.model() }

// pathViewLocked is viewLocked for paths other than that of messages.
func (e *Endpoint) pathViewLocked(a *account, now time.Time, s Subject) View {
	st := e.state
	v := View{InFlight: st.inFlight.Load(), Share: 1, Headroom: 1, Load: a.load.value(now), Latency: st.latency.recentMean()}
	if st.breaker.connectionFailed && st.breaker.isOpen(now) {
		v.addReason(Cooling, st.breaker.openUntil, st.breaker.reason)
	}
	if st.balance.low && s.Path == claude.PathBatches { // the other paths cost little or nothing
		v.addReason(LowBalance, time.Time{}, "balance low")
	}
	e.addDrainingLocked(&v)
	if known := st.paths[s.Path]; known != nil {
		v.addBreaker(&known.breaker, Cooling, now)
		v.addCooldown(known.refusals[s.limit()], RateLimited, now)
		v.addCooldown(known.refusals[s.modelRefusalKey()], ModelOut, now)
	}
	v.Ejected = v.Unfit == Cooling || v.Unfit == Probing
	v.Avoid = e.isOutForMessagesLocked(a, now, s)
	return v
}

// isOutForMessagesLocked reports whether the endpoint accepts no messages now. It is then a worse
// choice for other paths too.
func (e *Endpoint) isOutForMessagesLocked(a *account, now time.Time, s Subject) bool {
	st := e.state
	model := st.models[s.model()]
	return !st.breaker.canAdmit(now) || !st.credential.canAdmit(now) || !a.breaker.canAdmit(now) || st.balance.low || model != nil && !model.canAdmit(now)
}

// admitPathLocked takes the permits of a lease for another path. It does not take the half-open
// permit of the endpoint, because only messages can use it.
func (l *Lease) admitPathLocked(now time.Time) {
	b := &l.state.breaker
	l.endpointPermit = permit{epoch: b.epoch, forced: !b.isClosed()}
	l.path = l.state.pathLocked(l.subject.Path)
	l.pathPermit = l.path.breaker.acquireForced(now)
}

// IsForced reports whether the endpoint is used although its breaker, or that of the path, is not
// closed and the lease is not the probe.
func (l *Lease) IsForced() bool { return l.endpointPermit.forced || l.pathPermit.forced }

// applyPathLocked applies an outcome to the lease's path class.
func (l *Lease) applyPathLocked(o verdict.Outcome, now time.Time, spread float64, v *effect) {
	s, once := l.path, openOnFirst(l.policy.cooldown)
	switch o.Scope {
	case verdict.ScopeNone:
		ended := s.breaker.succeed(l.pathPermit, l.policy, now)
		ended = s.refusals.recordSuccess(l.subject.limit(), l.started, now) || ended
		v.probeEnded = s.refusals.recordSuccess(l.subject.modelRefusalKey(), l.started, now) || ended || v.probeEnded
	case verdict.ScopeEndpoint:
		if o.Connection {
			l.failEndpointLocked(o, now, spread, v)
		}
		s.recentFailures.record(l.subject.Body, now)
		before := s.breaker
		v.pathCooldown = s.breaker.fail(l.pathPermit, o, l.policy, now, spread)
		if !l.pathPermit.forced && l.pathPermit.epoch == before.epoch {
			l.pathBreakerBefore = &before
		}
	case verdict.ScopeCredential, verdict.ScopeAccount:
		v.pathCooldown = s.breaker.fail(l.pathPermit, o, once, now, spread)
	case verdict.ScopeRateLimit:
		v.pathCooldown = l.refusePathLocked(l.subject.limit(), o, now, func(before int) time.Duration { return l.rateLimitCooldown(o, before, spread) })
	case verdict.ScopeCapacity:
		v.pathCooldown = l.refusePathLocked(l.subject.limit(), o, now, func(before int) time.Duration {
			return pauseAfter(o.Bounded(verdict.MaxAskedPause), before, spread)
		})
	case verdict.ScopeModel:
		v.pathCooldown = l.refusePathLocked(l.subject.modelRefusalKey(), o, now, func(before int) time.Duration { return l.rateLimitCooldown(o, before, spread) })
	}
	s.breaker.release(l.pathPermit)
}

func (l *Lease) refusePathLocked(key string, o verdict.Outcome, now time.Time, wait func(before int) time.Duration) time.Duration {
	return l.path.refusals.recordRefusal(key, l.started, now, o.Reason, wait)
}
