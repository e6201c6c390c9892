package upstream

import (
	"math/rand/v2"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/verdict"
)

// checkedBreaker is an endpoint's own circuit breaker as health checks see it.
type checkedBreaker struct {
	state    *endpointState
	policy   breakerPolicy
	notifier *notifier
}

// ProbePassed makes an open breaker half-open, once per success of real
// traffic: an endpoint whose check passes while its requests fail would
// otherwise never be left alone.
func (c checkedBreaker) ProbePassed(now time.Time) bool {
	c.state.mu.Lock()
	defer c.state.mu.Unlock()
	b := &c.state.breaker
	if b.endedByCheck || !b.expire(now) {
		return false
	}
	b.endedByCheck = true
	c.notifier.notify()
	return true
}

// ProbeFailed opens a closed breaker if nothing has succeeded since the check began.
func (c checkedBreaker) ProbeFailed(since, now time.Time, reason string) bool {
	c.state.mu.Lock()
	defer c.state.mu.Unlock()
	b := &c.state.breaker
	if !b.isClosed() || c.state.succeeded.After(since) {
		return false
	}
	o := verdict.Outcome{Scope: verdict.ScopeEndpoint, Reason: reason}
	return b.fail(permit{epoch: b.epoch}, o, openOnFirst(c.policy.cooldown), now, rand.Float64()) > 0
}
