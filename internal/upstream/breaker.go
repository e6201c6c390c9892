package upstream

import (
	"time"

	"github.com/9bingyin/claude-code-lb/internal/verdict"
)

const (
	// maxCooldown bounds cooldowns that the balancer chooses itself.
	maxCooldown = 10 * time.Minute
	// jitterShare is the random part of a cooldown. With it, servers that failed together do not
	// return together.
	jitterShare = 0.1
)

// breakerPolicy decides when failures open a breaker, and for how long.
type breakerPolicy struct {
	cooldown    time.Duration // of the first opening; 0 disables cooldowns
	consecutive int           // consecutive failures that open the breaker
	percent     int           // percentage of failed attempts in the window that opens the breaker; 0: never
	minimum     int           // attempts in the window below which percent does not apply
	window      time.Duration
}

// openOnFirst returns the policy for failures that need no repetition, because the upstream stated
// them: an invalid key, for example.
func openOnFirst(cooldown time.Duration) breakerPolicy {
	return breakerPolicy{cooldown: cooldown, consecutive: 1}
}

// breaker is a circuit breaker. It is closed while openUntil is zero, open until openUntil, and
// then half-open until one probe has a result. The zero value is closed. The owner's mutex guards
// it.
type breaker struct {
	openings         int           // consecutive openings
	openUntil        time.Time     // zero: closed
	probing          bool          // the half-open permit is in use
	epoch            uint64        // incremented when it opens or closes; outcomes from an earlier epoch are ignored
	reason           string        // of the last opening
	cause            verdict.Cause // the same as a code, for clients
	streak           int           // consecutive failures while closed
	window           window        // successes and failures while closed
	closedAt         time.Time     // when it last closed; zero: it was never open
	endedByCheck     bool          // a health check has ended a cooldown since the last success
	connectionFailed bool          // opened by a connection that failed, or that broke before a response
}

// permit allows an attempt that a breaker admitted.
type permit struct {
	epoch  uint64
	probe  bool // the half-open permit
	forced bool // granted although the breaker was open
}

func (b *breaker) isClosed() bool { return b.openUntil.IsZero() }

// isOpen reports whether the breaker rejects all attempts until openUntil.
func (b *breaker) isOpen(now time.Time) bool { return now.Before(b.openUntil) }

// canAdmit reports whether acquire would grant a permit.
func (b *breaker) canAdmit(now time.Time) bool { return b.isClosed() || !b.isOpen(now) && !b.probing }

// acquire returns a permit, which is the single half-open permit if the cooldown is over.
func (b *breaker) acquire(now time.Time) (permit, bool) {
	if !b.canAdmit(now) {
		return permit{}, false
	}
	b.probing = !b.isClosed()
	return permit{epoch: b.epoch, probe: b.probing}, true
}

// acquireForced returns a permit like acquire, or a forced one if the breaker does not admit the
// attempt. A nil breaker is closed.
func (b *breaker) acquireForced(now time.Time) permit {
	if b == nil {
		return permit{}
	}
	if p, ok := b.acquire(now); ok {
		return p
	}
	return permit{epoch: b.epoch, forced: true}
}

// release returns a permit without an outcome.
func (b *breaker) release(p permit) {
	if p.probe && p.epoch == b.epoch {
		b.probing = false
	}
}

// succeed records a success. It closes the breaker and reports whether it was open. A success of an
// attempt from before the opening is ignored.
func (b *breaker) succeed(p permit, policy breakerPolicy, now time.Time) bool {
	if p.epoch != b.epoch {
		return false
	}
	if b.isClosed() {
		b.streak, b.endedByCheck = 0, false
		b.window.record(true, policy.window, now)
		return false
	}
	*b = breaker{epoch: b.epoch + 1, closedAt: now}
	return true
}

// fail records a failure. It returns how long the breaker is open, or 0 if the failure does not
// open it. Concurrent attempts that fail together count as one failure. spread is a random
// number in [0, 1).
func (b *breaker) fail(p permit, o verdict.Outcome, policy breakerPolicy, now time.Time, spread float64) time.Duration {
	if p.epoch != b.epoch {
		return 0
	}
	if p.forced {
		return b.extendCooldown(o, now)
	}
	wait := cooldownFor(o.Bounded(verdict.MaxRetryAfter), policy.cooldown, b.openings+1, spread)
	if wait <= 0 || !p.probe && !b.recordFailure(policy, now) {
		b.release(p)
		return 0
	}
	*b = breaker{openings: b.openings + 1, openUntil: now.Add(wait), epoch: b.epoch + 1, reason: o.Reason, cause: o.Cause, endedByCheck: b.endedByCheck, connectionFailed: o.Connection}
	return wait
}

// recordFailure counts a failure of a closed breaker and reports whether the breaker must open.
func (b *breaker) recordFailure(policy breakerPolicy, now time.Time) bool {
	b.streak++
	successes, failures := b.window.record(false, policy.window, now)
	total := successes + failures
	return b.streak >= policy.consecutive || policy.percent > 0 && total >= policy.minimum && failures*100 >= policy.percent*total
}

// extendCooldown handles the failure of a forced attempt: it only applies a later time that the
// upstream asks for.
func (b *breaker) extendCooldown(o verdict.Outcome, now time.Time) time.Duration {
	until := now.Add(o.Bounded(verdict.MaxRetryAfter))
	if o.RetryAfter <= 0 || !until.After(b.openUntil) {
		return 0
	}
	b.openUntil, b.reason = until, o.Reason
	return until.Sub(now)
}

// endCooldown makes an open breaker half-open at once, and reports whether it was open.
func (b *breaker) endCooldown(now time.Time) bool {
	if !b.isOpen(now) {
		return false
	}
	b.openUntil = now
	return true
}

// cooldownFor returns the cooldown after a number of consecutive failures: the time that the
// upstream asked for, otherwise base, doubled with every failure, minus some jitter. A base of 0
// disables cooldowns.
func cooldownFor(retryAfter, base time.Duration, failures int, spread float64) time.Duration {
	if base <= 0 {
		return 0
	}
	if retryAfter > 0 {
		return retryAfter
	}
	wait := min(base, maxCooldown)
	for range failures - 1 {
		if wait = min(2*wait, maxCooldown); wait == maxCooldown {
			break
		}
	}
	return wait - time.Duration(jitterShare*spread*float64(wait))
}

// window counts attempts in a sliding window, with a precision of half its length.
type window struct {
	since             time.Time // start of the current half
	current, previous [2]int    // failures and successes in the current and the previous half
}

// record counts one attempt and returns the sums of the window.
func (w *window) record(success bool, length time.Duration, now time.Time) (successes, failures int) {
	switch half := length / 2; {
	case now.Sub(w.since) >= length:
		w.since, w.previous, w.current = now, [2]int{}, [2]int{}
	case now.Sub(w.since) >= half:
		w.since, w.previous, w.current = w.since.Add(half), w.current, [2]int{}
	}
	if success {
		w.current[1]++
	} else {
		w.current[0]++
	}
	return w.current[1] + w.previous[1], w.current[0] + w.previous[0]
}

// undoFailure removes the latest failure.
func (w *window) undoFailure() { w.current[0] = max(w.current[0]-1, 0) }
