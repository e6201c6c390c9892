package upstream

import (
	"time"

	"github.com/9bingyin/claude-code-lb/internal/verdict"
)

const (
	// maxCooldown bounds what the balancer imposes by itself.
	maxCooldown = 10 * time.Minute
	// jitterShare of a cooldown is drawn at random, so that servers that failed together do not return together.
	jitterShare = 0.1
)

// breakerPolicy says when failures open a breaker, and for how long.
type breakerPolicy struct {
	cooldown    time.Duration // of the first opening; 0 switches resting off
	consecutive int           // failures in a row
	percent     int           // share of failures among the attempts of the window; 0: never
	minimum     int           // attempts in the window below which percent does not count
	window      time.Duration
}

// openOnFirst is the trip of everything an upstream says outright, such as that a key is not valid.
func openOnFirst(cooldown time.Duration) breakerPolicy {
	return breakerPolicy{cooldown: cooldown, consecutive: 1}
}

// breaker is a circuit breaker. It is closed while openUntil is zero, open
// before openUntil, and half-open from then on until one probe has told. The
// zero value is closed. Its owner guards it by a mutex.
type breaker struct {
	openings     int           // consecutive openings
	openUntil    time.Time     // zero: closed
	probing      bool          // the half-open permit is taken
	epoch        uint64        // counts openings and closings: verdicts of an earlier epoch are stale
	reason       string        // of the last opening
	cause        verdict.Cause // the same for clients
	streak       int           // consecutive failures while closed
	window       window        // successes and failures while closed
	closedAt     time.Time     // when it closed again; zero if it never was open
	endedByCheck bool          // a health check has ended a rest since the last success
	connection   bool          // opened because a connection failed, or broke before a response
}

// permit is what an attempt holds of a breaker.
type permit struct {
	epoch uint64
	probe bool // the half-open permit
	extra bool // granted although the breaker was open
}

func (b *breaker) isClosed() bool { return b.openUntil.IsZero() }

// isOpen says whether the breaker admits nobody until openUntil.
func (b *breaker) isOpen(now time.Time) bool { return now.Before(b.openUntil) }

// admits says whether acquire would grant a permit.
func (b *breaker) admits(now time.Time) bool { return b.isClosed() || !b.isOpen(now) && !b.probing }

// acquire takes a permit, and the only half-open one where it is due.
func (b *breaker) acquire(now time.Time) (permit, bool) {
	if !b.admits(now) {
		return permit{}, false
	}
	b.probing = !b.isClosed()
	return permit{epoch: b.epoch, probe: b.probing}, true
}

// admit takes a permit that an open breaker would refuse to acquire. No breaker is a closed one.
func (b *breaker) admit(now time.Time) permit {
	if b == nil {
		return permit{}
	}
	if p, ok := b.acquire(now); ok {
		return p
	}
	return permit{epoch: b.epoch, extra: true}
}

// release returns a permit without a verdict.
func (b *breaker) release(p permit) {
	if p.probe && p.epoch == b.epoch {
		b.probing = false
	}
}

// succeed counts a success; it closes the breaker and reports whether it was
// open. A success that began before the opening says nothing about the time since.
func (b *breaker) succeed(p permit, t breakerPolicy, now time.Time) bool {
	if p.epoch != b.epoch {
		return false
	}
	if b.isClosed() {
		b.streak, b.endedByCheck = 0, false
		b.window.add(true, t.window, now)
		return false
	}
	*b = breaker{epoch: b.epoch + 1, closedAt: now}
	return true
}

// fail counts a failure. It returns for how long the breaker opens, or 0 when
// the failure opens nothing: many requests that were under way together fail
// together, and that is one failure, not many. spread is a random number in [0, 1).
func (b *breaker) fail(p permit, o verdict.Outcome, t breakerPolicy, now time.Time, spread float64) time.Duration {
	if p.epoch != b.epoch {
		return 0
	}
	if p.extra {
		return b.extend(o, now)
	}
	wait := cooldownFor(o.Bounded(verdict.MaxRetryAfter), t.cooldown, b.openings+1, spread)
	if wait <= 0 || !p.probe && !b.trips(t, now) {
		b.release(p)
		return 0
	}
	*b = breaker{openings: b.openings + 1, openUntil: now.Add(wait), epoch: b.epoch + 1, reason: o.Reason, cause: o.Cause, endedByCheck: b.endedByCheck, connection: o.Connection}
	return wait
}

// trips counts a failure of a closed breaker and says whether it is one too many.
func (b *breaker) trips(t breakerPolicy, now time.Time) bool {
	b.streak++
	good, bad := b.window.add(false, t.window, now)
	total := good + bad
	return b.streak >= t.consecutive || t.percent > 0 && total >= t.minimum && bad*100 >= t.percent*total
}

// extend lets a failed attempt through an open breaker do no more than convey what the upstream asks for.
func (b *breaker) extend(o verdict.Outcome, now time.Time) time.Duration {
	until := now.Add(o.Bounded(verdict.MaxRetryAfter))
	if o.RetryAfter <= 0 || !until.After(b.openUntil) {
		return 0
	}
	b.openUntil, b.reason = until, o.Reason
	return until.Sub(now)
}

// expire makes an open breaker half-open at once, and reports whether it was resting.
func (b *breaker) expire(now time.Time) bool {
	if !b.isOpen(now) {
		return false
	}
	b.openUntil = now
	return true
}

// cooldownFor is how long an endpoint rests after so many consecutive failures:
// what the upstream asked for, else the base doubled with every failure, less
// some jitter. A base of 0 switches resting off.
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

// window counts attempts over a sliding window, to the precision of half of it.
type window struct {
	since       time.Time // begin of the present half
	now, before [2]int    // failures and successes of the present half and the one before
}

// add counts one attempt and returns the sums of the window.
func (t *window) add(good bool, window time.Duration, now time.Time) (goods, bads int) {
	switch half := window / 2; {
	case now.Sub(t.since) >= window:
		t.since, t.before, t.now = now, [2]int{}, [2]int{}
	case now.Sub(t.since) >= half:
		t.since, t.before, t.now = t.since.Add(half), t.now, [2]int{}
	}
	if good {
		t.now[1]++
	} else {
		t.now[0]++
	}
	return t.now[1] + t.before[1], t.now[0] + t.before[0]
}

// undo takes the latest failure back.
func (t *window) undo() { t.now[0] = max(t.now[0]-1, 0) }
