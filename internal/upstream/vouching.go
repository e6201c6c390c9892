package upstream

import (
	"math/rand/v2"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/verdict"
)

// vouching is an endpoint's own circuit breaker as health checks see it.
type vouching struct {
	learned *learned
	trip    trip
	bell    *bell
}

// ProbePassed makes an open breaker half-open, once per success of real
// traffic: an endpoint whose check passes while its requests fail would
// otherwise never be left alone.
func (c vouching) ProbePassed(now time.Time) bool {
	c.learned.mu.Lock()
	defer c.learned.mu.Unlock()
	b := &c.learned.breaker
	if b.vouched || !b.expire(now) {
		return false
	}
	b.vouched = true
	c.bell.ring()
	return true
}

// ProbeFailed opens a closed breaker if nothing has succeeded since the check began.
func (c vouching) ProbeFailed(since, now time.Time, reason string) bool {
	c.learned.mu.Lock()
	defer c.learned.mu.Unlock()
	b := &c.learned.breaker
	if !b.closed() || c.learned.succeeded.After(since) {
		return false
	}
	o := verdict.Outcome{Scope: verdict.ScopeEndpoint, Reason: reason}
	return b.fail(permit{epoch: b.epoch}, o, atOnce(c.trip.cooldown), now, rand.Float64()) > 0
}
