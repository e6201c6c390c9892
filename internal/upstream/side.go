package upstream

import (
	"time"

	"github.com/9bingyin/claude-code-lb/internal/claude"
	"github.com/9bingyin/claude-code-lb/internal/verdict"
)

// maxSides bounds the path classes that are remembered per endpoint.
const maxSides = 32

// side is the state of an endpoint for one class of paths other than /v1/messages. Responses on
// such a path, including refusals of the key or the account, are evidence about that path only:
// some relays lack count_tokens, forbid it to some keys, or serve a login page for models, and
// still create messages well. Only failures of the connection also count against the endpoint
// itself. The mutex of the endpoint's learned state guards it.
type side struct {
	breaker        breaker
	refusals       cooldowns // of models, for rate limits and for lack of capacity
	recentFailures recentFailures
	paced          time.Time // when the latest extra attempt was granted
}

// side returns the state of a path class, making it if needed. The caller holds the mutex.
func (l *endpointState) side(class string) *side {
	if known := l.sides[class]; known != nil {
		return known
	}
	if l.sides == nil || len(l.sides) >= maxSides {
		l.sides = map[string]*side{}
	}
	s := &side{}
	l.sides[class] = s
	return s
}

// refusedModel is the key under which a side's refusals name a model; no class of models contains a
// space.
func (s Subject) refusedModel() string { return "model " + s.model() }

// sideFitness is fitness for another path class than that of messages. The caller holds the mutexes
// of the endpoint and its account.
func (e *Endpoint) sideFitness(a *account, now time.Time, s Subject) View {
	l := e.state
	v := View{InFlight: l.inFlight.Load(), Share: 1, Headroom: 1, Load: a.load.now(now), Latency: l.latency.usual()}
	if l.breaker.connection && l.breaker.isOpen(now) {
		v.because(Cooling, l.breaker.openUntil, l.breaker.reason)
	}
	if l.balance.low && s.Path == claude.PathBatches { // the other paths cost nothing, or next to nothing
		v.because(LowBalance, time.Time{}, "balance low")
	}
	e.draining(&v)
	if known := l.sides[s.Path]; known != nil {
		v.broken(&known.breaker, Cooling, now)
		v.waiting(known.refusals[s.limit()], RateLimited, now)
		v.waiting(known.refusals[s.refusedModel()], ModelOut, now)
	}
	v.Ejected = v.Unfit == Cooling || v.Unfit == Probing
	v.Avoid = e.outForMessages(a, now, s)
	return v
}

// outForMessages reports whether the endpoint accepts no messages now. Then it is a worse choice
// for other paths too.
func (e *Endpoint) outForMessages(a *account, now time.Time, s Subject) bool {
	l := e.state
	model := l.models[s.model()]
	return !l.breaker.admits(now) || !l.credential.admits(now) || !a.out.admits(now) || l.balance.low || model != nil && !model.admits(now)
}

// admitSide takes the permits of a lease for another path class. It takes no
// half-open permit of the endpoint, which only a message can use. The caller holds the locks.
func (l *Lease) admitSide(now time.Time) {
	b := &l.state.breaker
	l.endpoint = permit{epoch: b.epoch, extra: !b.isClosed()}
	l.side = l.state.side(l.subject.Path)
	l.sidePermit = l.side.breaker.admit(now)
}

// IsForced reports whether the endpoint is used during its cooldown.
func (l *Lease) IsForced() bool { return l.endpoint.extra || l.sidePermit.extra }

// applySideLocked applies an outcome to the lease's path class. The caller holds the locks.
func (l *Lease) applySideLocked(o verdict.Outcome, now time.Time, spread float64, v *effect) {
	s, atOnce := l.side, openOnFirst(l.policy.cooldown)
	switch o.Scope {
	case verdict.ScopeNone:
		back := s.breaker.succeed(l.sidePermit, l.policy, now)
		back = s.refusals.served(l.subject.limit(), l.started, now) || back
		v.probeEnded = s.refusals.served(l.subject.refusedModel(), l.started, now) || back || v.probeEnded
	case verdict.ScopeEndpoint:
		if o.Connection {
			l.chargeEndpoint(o, now, spread, v)
		}
		s.recentFailures.note(l.subject.Body, now)
		before := s.breaker
		v.sideOut = s.breaker.fail(l.sidePermit, o, l.policy, now, spread)
		if !l.sidePermit.extra && l.sidePermit.epoch == before.epoch {
			l.sidePrior = &before
		}
	case verdict.ScopeCredential, verdict.ScopeAccount:
		v.sideOut = s.breaker.fail(l.sidePermit, o, atOnce, now, spread)
	case verdict.ScopeRateLimit:
		v.sideOut = l.refuseSide(l.subject.limit(), o, now, func(before int) time.Duration { return l.restAfter(o, before, spread) })
	case verdict.ScopeCapacity:
		v.sideOut = l.refuseSide(l.subject.limit(), o, now, func(before int) time.Duration {
			return pauseAfter(o.Bounded(verdict.MaxAskedPause), before, spread)
		})
	case verdict.ScopeModel:
		v.sideOut = l.refuseSide(l.subject.refusedModel(), o, now, func(before int) time.Duration { return l.restAfter(o, before, spread) })
	}
	s.breaker.release(l.sidePermit)
}

func (l *Lease) refuseSide(key string, o verdict.Outcome, now time.Time, wait func(before int) time.Duration) time.Duration {
	return l.side.refusals.refused(key, l.started, now, o.Reason, wait)
}
