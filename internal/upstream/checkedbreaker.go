package upstream

import (
	"math/rand/v2"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/verdict"
)

// checkedBreaker gives health checks access to an endpoint's own circuit breaker.
type checkedBreaker struct {
	state    *endpointState
	policy   breakerPolicy
	notifier *notifier
}

// ProbePassed makes an open breaker half-open, once per success of real traffic. Otherwise an
// endpoint whose checks pass while its requests fail would be tried after every check.
func (c checkedBreaker) ProbePassed(now time.Time) bool {
	c.state.mu.Lock()
	defer c.state.mu.Unlock()
	b := &c.state.breaker
	if b.endedByCheck || !b.endCooldown(now) {
		return false
	}
	b.endedByCheck = true
	c.notifier.notify()
	return true
}

// ProbeFailed opens a closed breaker if no request has succeeded since the check began.
func (c checkedBreaker) ProbeFailed(since, now time.Time, reason string) bool {
	c.state.mu.Lock()
	defer c.state.mu.Unlock()
	b := &c.state.breaker
	if !b.isClosed() || c.state.lastSuccess.After(since) {
		return false
	}
	o := verdict.Outcome{Scope: verdict.ScopeEndpoint, Reason: reason}
	return b.fail(permit{epoch: b.epoch}, o, openOnFirst(c.policy.cooldown), now, rand.Float64()) > 0
}
