package upstream

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/event"
	"github.com/9bingyin/claude-code-lb/internal/telemetry"
	"github.com/9bingyin/claude-code-lb/internal/verdict"
)

// maxModels bounds the models with a breaker per endpoint.
const maxModels = 256

// effect is the result of applying an outcome.
type effect struct {
	cooldown     time.Duration // length of the new cooldown; 0: none
	failures     int           // consecutive failures, including this one
	recovered    bool          // a breaker or cooldown ended
	probeEnded   bool          // a probe ended: waiting requests look again
	pathCooldown time.Duration // length of the new cooldown of the lease's path class; 0: none
}

// Settle applies the outcome of the attempt to the endpoint and its account.
func (l *Lease) Settle(ctx context.Context, o verdict.Outcome, now time.Time) {
	if l.settled {
		return
	}
	l.settled = true
	v := effect{probeEnded: l.endpointPermit.probe || l.credentialPermit.probe || l.modelPermit.probe || l.accountPermit.probe || l.pathPermit.probe}
	l.lock()
	l.applyLocked(o, now, rand.Float64(), &v)
	l.unlock()
	l.publish(ctx, o, v)
}

func (l *Lease) publish(ctx context.Context, o verdict.Outcome, v effect) {
	if v.recovered || v.probeEnded {
		l.notifier.notify()
	}
	if v.recovered {
		l.log.Publish(ctx, event.ServerBack{Server: l.Name()})
	}
	if v.pathCooldown > 0 {
		l.log.InfoContext(ctx, telemetry.PathExcluded, telemetry.Server, l.Name(), telemetry.Path, l.subject.Path, telemetry.Reason, o.Reason,
			telemetry.Scope, o.Scope.String(), telemetry.Cooldown, v.pathCooldown.Round(time.Millisecond), telemetry.Model, l.subject.Model)
	}
	if v.cooldown <= 0 {
		return
	}
	if o.Scope == verdict.ScopeModel { // a client's misspelling is as likely as a fault of the server
		l.log.InfoContext(ctx, telemetry.ModelRefused, telemetry.Server, l.Name(), telemetry.Reason, o.Reason, telemetry.Scope, o.Scope.String(),
			telemetry.Cooldown, v.cooldown.Round(time.Millisecond), telemetry.Failures, v.failures, telemetry.Model, l.subject.Model)
		return
	}
	out := event.ServerOut{Server: l.Name(), Reason: o.Reason, Scope: o.Scope.String(), Cooldown: v.cooldown.Round(time.Millisecond), Failures: v.failures}
	if o.Scope == verdict.ScopeRateLimit || o.Scope == verdict.ScopeCapacity {
		out.Model = l.subject.Model
	}
	l.log.Publish(ctx, out)
}

// applyLocked applies an outcome to the state of its scope.
func (l *Lease) applyLocked(o verdict.Outcome, now time.Time, spread float64, v *effect) {
	if l.path != nil {
		l.applyPathLocked(o, now, spread, v)
		return
	}
	st, once := l.state, openOnFirst(l.policy.cooldown)
	st.history.record(o, l.subject.Model, l.brokeOff, now)
	switch o.Scope {
	case verdict.ScopeNone:
		l.succeedLocked(now, v)
		return
	case verdict.ScopeEndpoint:
		l.failEndpointLocked(o, now, spread, v)
	case verdict.ScopeCapacity:
		l.failCapacityLocked(o, now, spread, v)
	case verdict.ScopeRateLimit:
		v.cooldown = l.account.rateLimits.recordRefusal(l.subject.limit(), l.started, now, o.Reason, func(before int) time.Duration {
			v.failures = before + 1
			return l.rateLimitCooldown(o, before, spread)
		})
	case verdict.ScopeCredential:
		v.cooldown, v.failures = st.credential.fail(l.credentialPermit, o, once, now, spread), st.credential.openings
	case verdict.ScopeAccount:
		v.cooldown, v.failures = l.account.breaker.fail(l.accountPermit, o, once, now, spread), l.account.breaker.openings
	case verdict.ScopeModel:
		b := l.modelBreakerLocked(now)
		v.cooldown, v.failures = b.fail(l.modelPermit, o, once, now, spread), b.openings
	}
	if o.Scope != verdict.ScopeEndpoint && o.Scope >= verdict.ScopeCredential && o.Scope != verdict.ScopeCapacity {
		// An explicit refusal proves that the endpoint is alive. Only the refusal counts.
		v.recovered = st.breaker.succeed(l.endpointPermit, l.policy, now) || v.recovered
	}
	l.releasePermitsLocked()
}

func (l *Lease) succeedLocked(now time.Time, v *effect) {
	st, none := l.state, breakerPolicy{}
	st.lastSuccess = now
	l.forgetRefusalsLocked()
	recovered := st.breaker.succeed(l.endpointPermit, l.policy, now)
	recovered = st.credential.succeed(l.credentialPermit, none, now) || recovered
	recovered = l.account.breaker.succeed(l.accountPermit, none, now) || recovered
	if b := st.models[l.subject.model()]; b != nil {
		recovered = b.succeed(l.modelPermit, none, now) || recovered
		if b.isClosed() {
			delete(st.models, l.subject.model())
		}
	}
	class := l.subject.class()
	recovered = st.pauses.recordSuccess(class, l.started, now) || recovered
	l.origin.recordSuccess(l.account, class, l.started, now)
	v.recovered = l.account.rateLimits.recordSuccess(l.subject.limit(), l.started, now) || recovered
}

// failEndpointLocked records a failure of the endpoint itself.
func (l *Lease) failEndpointLocked(o verdict.Outcome, now time.Time, spread float64, v *effect) {
	st := l.state
	st.recentFailures.record(l.subject.Body, now)
	before := st.breaker
	v.cooldown = st.breaker.fail(l.endpointPermit, o, l.policy, now, spread)
	v.failures = st.breaker.openings
	if !l.endpointPermit.forced && l.endpointPermit.epoch == before.epoch {
		l.breakerBefore = &before
	}
}

// failCapacityLocked starts a pause. The breaker is not changed.
func (l *Lease) failCapacityLocked(o verdict.Outcome, now time.Time, spread float64, v *effect) {
	class := l.subject.class()
	v.cooldown = l.state.pauses.recordRefusal(class, l.started, now, o.Reason, func(before int) time.Duration {
		v.failures = before + 1
		return pauseAfter(o.Bounded(verdict.MaxAskedPause), before, spread)
	})
	l.origin.recordOverload(l.account, class, o.Reason, v.cooldown, l.started, now)
}

// rateLimitCooldown returns the cooldown after a rate limit. Without a stated end it lasts some
// seconds, and longer after each consecutive refusal.
func (l *Lease) rateLimitCooldown(o verdict.Outcome, before int, spread float64) time.Duration {
	return cooldownFor(o.Bounded(verdict.MaxRetryAfter), min(l.policy.cooldown, verdict.MinModelCooldown), before+1, spread)
}

// modelBreakerLocked returns the breaker of the requested model.
func (l *Lease) modelBreakerLocked(now time.Time) *breaker {
	st := l.state
	if b := st.models[l.subject.model()]; b != nil {
		return b
	}
	if st.models == nil || len(st.models) >= maxModels {
		st.models = map[string]*breaker{}
	}
	b := &breaker{}
	st.models[l.subject.model()] = b
	return b
}

// RecordBreak records a failure that happened after the attempt was settled as a success: a
// response that broke off. It has no effect on a breaker that is open already.
func (l *Lease) RecordBreak(ctx context.Context, o verdict.Outcome, now time.Time) {
	var v effect
	l.lock()
	l.brokeOff = true
	if l.path == nil && !l.state.breaker.isClosed() {
		l.state.history.record(o, l.subject.Model, true, now)
	}
	if l.path != nil {
		l.endpointPermit, l.pathPermit, l.started = permit{epoch: l.state.breaker.epoch}, permit{epoch: l.path.breaker.epoch}, now
		l.applyPathLocked(o, now, rand.Float64(), &v)
	} else if l.state.breaker.isClosed() {
		l.endpointPermit = permit{epoch: l.state.breaker.epoch}
		l.credentialPermit, l.accountPermit, l.modelPermit = permit{epoch: l.state.credential.epoch}, permit{epoch: l.account.breaker.epoch}, permit{}
		l.started = now
		l.applyLocked(o, now, rand.Float64(), &v)
	}
	l.unlock()
	l.publish(ctx, o, v)
}

// Forgive undoes the failure that Settle recorded for the endpoint, because the request was the
// cause. It reports false, and undoes nothing, if requests with other bodies have failed there
// recently.
func (l *Lease) Forgive(now time.Time) bool {
	st := l.state
	st.mu.Lock()
	defer st.mu.Unlock()
	forgiven := true
	if l.path != nil {
		if forgiven = !l.path.recentFailures.hasOther(l.subject.Body, now); forgiven {
			l.undoLocked(&l.path.breaker, l.pathBreakerBefore)
			l.pathBreakerBefore = nil
		}
	}
	if st.recentFailures.hasOther(l.subject.Body, now) {
		return false
	}
	l.undoLocked(&st.breaker, l.breakerBefore)
	l.breakerBefore = nil
	return forgiven
}

// undoLocked restores a breaker to its state before a failure; before is nil if there was no
// failure.
func (l *Lease) undoLocked(b, before *breaker) {
	if before == nil {
		return
	}
	switch epoch := b.epoch; epoch {
	case before.epoch: // the failure was counted, but did not open the breaker
		b.streak = max(b.streak-1, 0)
		b.window.undoFailure()
	case before.epoch + 1: // the failure opened the breaker
		*b = *before
		b.epoch, b.probing = epoch+1, false
		l.notifier.notify()
	}
}

// recentFailures are the last two distinct bodies that failed at an endpoint, the latest first.
type recentFailures [2]struct {
	body uint64
	at   time.Time
}

// failureMemory is how long a failure counts against the endpoint when another body fails there
// too.
const failureMemory = time.Minute

func (r *recentFailures) record(body uint64, now time.Time) {
	if r[0].body != body {
		r[1] = r[0]
	}
	r[0].body, r[0].at = body, now
}

// hasOther reports whether another body has failed recently.
func (r *recentFailures) hasOther(body uint64, now time.Time) bool {
	for _, failure := range r {
		if failure.body != body && !failure.at.IsZero() && now.Sub(failure.at) < failureMemory {
			return true
		}
	}
	return false
}
