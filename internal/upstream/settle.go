package upstream

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/event"
	"github.com/9bingyin/claude-code-lb/internal/telemetry"
	"github.com/9bingyin/claude-code-lb/internal/verdict"
)

// maxModels bounds the models that one endpoint is remembered to refuse.
const maxModels = 256

// effect is what an outcome changed.
type effect struct {
	out        time.Duration // how long somebody rests from now on; 0: nobody
	failures   int           // in a row, that one's
	back       bool          // somebody came back
	probeEnded bool          // a probe ended: those who wait for it look again
	sideOut    time.Duration // how long the endpoint is not asked for the lease's path class; 0: it may be
}

// Settle applies the outcome of the attempt to the endpoint and its account.
func (l *Lease) Settle(ctx context.Context, o verdict.Outcome, now time.Time) {
	if l.settled {
		return
	}
	l.settled = true
	v := effect{probeEnded: l.endpoint.probe || l.credential.probe || l.model.probe || l.out.probe || l.sidePermit.probe}
	l.lock()
	l.applyLocked(o, now, rand.Float64(), &v)
	l.unlock()
	l.report(ctx, o, v)
}

func (l *Lease) report(ctx context.Context, o verdict.Outcome, v effect) {
	if v.back || v.probeEnded {
		l.notifier.notify()
	}
	if v.back {
		l.log.Publish(ctx, event.ServerBack{Server: l.Name()})
	}
	if v.sideOut > 0 {
		l.log.InfoContext(ctx, telemetry.PathExcluded, telemetry.Server, l.Name(), telemetry.Path, l.subject.Path, telemetry.Reason, o.Reason,
			telemetry.Scope, o.Scope.String(), telemetry.Cooldown, v.sideOut.Round(time.Millisecond), telemetry.Model, l.subject.Model)
	}
	if v.out <= 0 {
		return
	}
	if o.Scope == verdict.ScopeModel { // as likely a client's misspelling as a fault of the server
		l.log.InfoContext(ctx, telemetry.ModelRefused, telemetry.Server, l.Name(), telemetry.Reason, o.Reason, telemetry.Scope, o.Scope.String(),
			telemetry.Cooldown, v.out.Round(time.Millisecond), telemetry.Failures, v.failures, telemetry.Model, l.subject.Model)
		return
	}
	out := event.ServerOut{Server: l.Name(), Reason: o.Reason, Scope: o.Scope.String(), Cooldown: v.out.Round(time.Millisecond), Failures: v.failures}
	if o.Scope == verdict.ScopeRateLimit || o.Scope == verdict.ScopeCapacity {
		out.Model = l.subject.Model
	}
	l.log.Publish(ctx, out)
}

// applyLocked applies an outcome to the state that its scope has. The caller holds the locks.
func (l *Lease) applyLocked(o verdict.Outcome, now time.Time, spread float64, v *effect) {
	if l.side != nil {
		l.applySideLocked(o, now, spread, v)
		return
	}
	d, cooldown := l.state, openOnFirst(l.policy.cooldown)
	d.history.note(o, l.subject.Model, l.broken, now)
	switch o.Scope {
	case verdict.ScopeNone:
		l.succeed(now, v)
		return
	case verdict.ScopeEndpoint:
		l.chargeEndpoint(o, now, spread, v)
	case verdict.ScopeCapacity:
		l.pause(o, now, spread, v)
	case verdict.ScopeRateLimit:
		v.out = l.account.limits.refused(l.subject.limit(), l.started, now, o.Reason, func(before int) time.Duration {
			v.failures = before + 1
			return l.restAfter(o, before, spread)
		})
	case verdict.ScopeCredential:
		v.out, v.failures = d.credential.fail(l.credential, o, cooldown, now, spread), d.credential.openings
	case verdict.ScopeAccount:
		v.out, v.failures = l.account.out.fail(l.out, o, cooldown, now, spread), l.account.out.openings
	case verdict.ScopeModel:
		b := l.modelBreaker(now)
		v.out, v.failures = b.fail(l.model, o, cooldown, now, spread), b.openings
	}
	if o.Scope != verdict.ScopeEndpoint && o.Scope >= verdict.ScopeCredential && o.Scope != verdict.ScopeCapacity {
		// Whoever refuses in so many words is there: only the refusal counts.
		v.back = d.breaker.succeed(l.endpoint, l.policy, now) || v.back
	}
	l.giveBack()
}

func (l *Lease) succeed(now time.Time, v *effect) {
	d, none := l.state, breakerPolicy{}
	d.succeeded = now
	l.forgetRefusalsLocked()
	back := d.breaker.succeed(l.endpoint, l.policy, now)
	back = d.credential.succeed(l.credential, none, now) || back
	back = l.account.out.succeed(l.out, none, now) || back
	if b := d.models[l.subject.model()]; b != nil {
		back = b.succeed(l.model, none, now) || back
		if b.isClosed() {
			delete(d.models, l.subject.model())
		}
	}
	class := l.subject.class()
	back = d.pauses.served(class, l.started, now) || back
	l.origin.served(l.account, class, l.started, now)
	v.back = l.account.limits.served(l.subject.limit(), l.started, now) || back
}

// chargeEndpoint counts a failure of the endpoint itself.
func (l *Lease) chargeEndpoint(o verdict.Outcome, now time.Time, spread float64, v *effect) {
	d := l.state
	d.recentFailures.note(l.subject.Body, now)
	before := d.breaker
	v.out = d.breaker.fail(l.endpoint, o, l.policy, now, spread)
	v.failures = d.breaker.openings
	if !l.endpoint.extra && l.endpoint.epoch == before.epoch {
		l.prior = &before
	}
}

// pause keeps off an overloaded service for a moment. Its breaker stays as it is.
func (l *Lease) pause(o verdict.Outcome, now time.Time, spread float64, v *effect) {
	class := l.subject.class()
	v.out = l.state.pauses.refused(class, l.started, now, o.Reason, func(before int) time.Duration {
		v.failures = before + 1
		return pauseAfter(o.Bounded(verdict.MaxAskedPause), before, spread)
	})
	l.origin.overloaded(l.account, class, o.Reason, v.out, l.started, now)
}

// restAfter returns the cooldown after a rate limit. Without a stated end it is some seconds, and grows
// while refusals repeat.
func (l *Lease) restAfter(o verdict.Outcome, before int, spread float64) time.Duration {
	return cooldownFor(o.Bounded(verdict.MaxRetryAfter), min(l.policy.cooldown, verdict.MinModelCooldown), before+1, spread)
}

// modelBreaker returns the breaker of the model that was asked for.
func (l *Lease) modelBreaker(now time.Time) *breaker {
	d := l.state
	if b := d.models[l.subject.model()]; b != nil {
		return b
	}
	if d.models == nil || len(d.models) >= maxModels {
		d.models = map[string]*breaker{}
	}
	b := &breaker{}
	d.models[l.subject.model()] = b
	return b
}

// RecordBreak charges a failure that came after the attempt had been settled as
// good: an answer that broke off. It says nothing where the endpoint is resting
// already.
func (l *Lease) RecordBreak(ctx context.Context, o verdict.Outcome, now time.Time) {
	var v effect
	l.lock()
	l.broken = true
	if l.side == nil && !l.state.breaker.isClosed() {
		l.state.history.note(o, l.subject.Model, true, now)
	}
	if l.side != nil {
		l.endpoint, l.sidePermit, l.started = permit{epoch: l.state.breaker.epoch}, permit{epoch: l.side.breaker.epoch}, now
		l.applySideLocked(o, now, rand.Float64(), &v)
	} else if l.state.breaker.isClosed() {
		l.endpoint = permit{epoch: l.state.breaker.epoch}
		l.credential, l.out, l.model = permit{epoch: l.state.credential.epoch}, permit{epoch: l.account.out.epoch}, permit{}
		l.started = now
		l.applyLocked(o, now, rand.Float64(), &v)
	}
	l.unlock()
	l.report(ctx, o, v)
}

// Forgive takes back what Settle charged to the endpoint itself, because it
// was the request that failed and not the endpoint. It reports false, and takes
// nothing back, when requests with other bodies have failed there lately.
func (l *Lease) Forgive(now time.Time) bool {
	d := l.state
	d.mu.Lock()
	defer d.mu.Unlock()
	forgiven := true
	if l.side != nil {
		if forgiven = !l.side.recentFailures.others(l.subject.Body, now); forgiven {
			l.takeBack(&l.side.breaker, l.sidePrior)
			l.sidePrior = nil
		}
	}
	if d.recentFailures.others(l.subject.Body, now) {
		return false
	}
	l.takeBack(&d.breaker, l.prior)
	l.prior = nil
	return forgiven
}

// takeBack restores the state of a breaker before a failure, which is prior; nil if there was no failure.
func (l *Lease) takeBack(b, prior *breaker) {
	if prior == nil {
		return
	}
	switch epoch := b.epoch; epoch {
	case prior.epoch: // it was counted, and opened nothing
		b.streak = max(b.streak-1, 0)
		b.window.undo()
	case prior.epoch + 1: // it opened the breaker
		*b = *prior
		b.epoch, b.probing = epoch+1, false
		l.notifier.notify()
	}
}

// recentFailures are the bodies that failed at an endpoint last, the latest first.
type recentFailures [2]struct {
	body uint64
	at   time.Time
}

// suspicion is how long a failure counts against the endpoint when another body fails there too.
const suspicion = time.Minute

func (s *recentFailures) note(body uint64, now time.Time) {
	if s[0].body != body {
		s[1] = s[0]
	}
	s[0].body, s[0].at = body, now
}

// others says whether another body has failed lately.
func (s *recentFailures) others(body uint64, now time.Time) bool {
	for _, suspect := range s {
		if suspect.body != body && !suspect.at.IsZero() && now.Sub(suspect.at) < suspicion {
			return true
		}
	}
	return false
}
