package upstream

import "time"

const (
	// maxCooldown bounds what the balancer imposes by itself.
	maxCooldown = 10 * time.Minute
	// maxRetryAfter bounds what an upstream may ask for: beyond it one probe an hour does no harm.
	maxRetryAfter = time.Hour
	// jitterShare of a cooldown is drawn at random, so that servers that failed together do not return together.
	jitterShare = 0.1
)

// breaker is the circuit breaker of one endpoint. It is closed while openUntil
// is zero, open before openUntil, and half-open from then on until one probe
// has told. The zero value is closed. Its owner guards it by a mutex.
type breaker struct {
	failures  int       // consecutive openings
	openUntil time.Time // zero: closed
	probing   bool      // the half-open permit is taken
	epoch     uint64    // counts openings and closings: verdicts of an earlier epoch are stale
	reason    string    // of the last opening
}

// permit is what an attempt holds of a breaker.
type permit struct {
	epoch uint64
	probe bool // the half-open permit
	extra bool // granted although the breaker was open
}

func (b *breaker) closed() bool { return b.openUntil.IsZero() }

// acquire takes a permit, and the only half-open one where it is due.
func (b *breaker) acquire(now time.Time) (permit, bool) {
	switch {
	case b.closed():
		return permit{epoch: b.epoch}, true
	case now.Before(b.openUntil) || b.probing:
		return permit{}, false
	default:
		b.probing = true
		return permit{epoch: b.epoch, probe: true}, true
	}
}

// acquireAnyway takes a permit that an open breaker would refuse.
func (b *breaker) acquireAnyway(now time.Time) permit {
	if p, ok := b.acquire(now); ok {
		return p
	}
	return permit{epoch: b.epoch, extra: true}
}

// giveBack returns a permit without a verdict.
func (b *breaker) giveBack(p permit) {
	if p.probe && p.epoch == b.epoch {
		b.probing = false
	}
}

// succeed closes the breaker and reports whether it was open. A success that
// began before the opening says nothing about the time since.
func (b *breaker) succeed(p permit) bool {
	if p.epoch != b.epoch || b.closed() {
		return false
	}
	*b = breaker{epoch: b.epoch + 1}
	return true
}

// fail opens the breaker and returns for how long, or 0 when the failure
// teaches nothing new: many requests that were under way together fail
// together, and that is one failure, not many. spread is a random number in [0, 1).
func (b *breaker) fail(p permit, o Outcome, base time.Duration, now time.Time, spread float64) time.Duration {
	if p.epoch != b.epoch {
		return 0
	}
	if p.extra {
		return b.extend(o, now)
	}
	wait := cooldown(o.RetryAfter, base, b.failures+1, spread)
	if wait <= 0 {
		b.giveBack(p)
		return 0
	}
	*b = breaker{failures: b.failures + 1, openUntil: now.Add(wait), epoch: b.epoch + 1, reason: o.Reason}
	return wait
}

// extend lets a failed attempt through an open breaker do no more than convey what the upstream asks for.
func (b *breaker) extend(o Outcome, now time.Time) time.Duration {
	until := now.Add(min(o.RetryAfter, maxRetryAfter))
	if o.RetryAfter <= 0 || !until.After(b.openUntil) {
		return 0
	}
	b.openUntil, b.reason = until, o.Reason
	return until.Sub(now)
}

// cooldown is how long an endpoint rests after so many consecutive failures:
// what the upstream asked for, else the base doubled with every failure, less
// some jitter. A base of 0 switches resting off.
func cooldown(retryAfter, base time.Duration, failures int, spread float64) time.Duration {
	if base <= 0 {
		return 0
	}
	if retryAfter > 0 {
		return min(retryAfter, maxRetryAfter)
	}
	wait := min(base, maxCooldown)
	for range failures - 1 {
		if wait = min(2*wait, maxCooldown); wait == maxCooldown {
			break
		}
	}
	return wait - time.Duration(jitterShare*spread*float64(wait))
}
