package upstream

import (
	"maps"
	"time"
)

const (
	// A pause after "overloaded" is short: the service recovers in seconds, and a cached prompt is worth waiting for.
	firstPause = time.Second
	maxPause   = 30 * time.Second
	// row is how soon after the end of a rest another refusal counts as the next in a row.
	row = 2 * time.Minute
	// maxRests bounds the subjects that one account or endpoint is remembered for.
	maxRests = 1024
)

// cooldown is a wait that ends by itself: no probe is needed, for the upstream said or implied when it is over.
type cooldown struct {
	began, until time.Time
	refusals     int // in a row
	reason       string
}

// cooldowns are the waits of one account or endpoint by subject. The zero value has none. Its owner guards it by a mutex.
type cooldowns map[string]cooldown

// refused begins or extends the rest of a subject and returns how long it lasts
// from now, or 0 when nothing is new. wait is asked for the length, given the
// refusals in a row before this one; what was under way together when the first
// refusal came counts once.
func (r *cooldowns) refused(subject string, started, now time.Time, reason string, wait func(before int) time.Duration) time.Duration {
	if *r == nil {
		*r = cooldowns{}
	}
	old := (*r)[subject]
	switch {
	case started.Before(old.began):
		old.refusals--
	case started.Sub(old.until) > row:
		old.refusals = 0
	}
	length := wait(max(old.refusals, 0))
	until := now.Add(length)
	if length <= 0 || !until.After(old.until) {
		return 0
	}
	r.makeRoom(now)
	(*r)[subject] = cooldown{began: now, until: until, refusals: old.refusals + 1, reason: reason}
	return length
}

func (r cooldowns) makeRoom(now time.Time) {
	if len(r) < maxRests {
		return
	}
	maps.DeleteFunc(r, func(_ string, other cooldown) bool { return !now.Before(other.until) })
	if len(r) >= maxRests {
		clear(r)
	}
}

// merge takes over the rests of others where they last longer.
func (r *cooldowns) merge(others cooldowns) {
	for subject, other := range others {
		if other.until.After((*r)[subject].until) {
			if *r == nil {
				*r = cooldowns{}
			}
			(*r)[subject] = other
		}
	}
}

// longest returns the rest that ends last.
func (r cooldowns) longest() cooldown {
	var longest cooldown
	for _, each := range r {
		if each.until.After(longest.until) {
			longest = each
		}
	}
	return longest
}

// served forgets the rest of a subject that an attempt begun at started has
// disproved, and reports whether it still lasted.
func (r cooldowns) served(subject string, started, now time.Time) bool {
	was, known := r[subject]
	if !known || started.Before(was.began) {
		return false
	}
	delete(r, subject)
	return now.Before(was.until)
}

// pauseAfter is how long nobody asks an overloaded service: what it asked for,
// else a second doubled with every refusal in a row; half of it to one and a
// half times it, at random, so that clients do not come back as one.
func pauseAfter(asked time.Duration, refusals int, spread float64) time.Duration {
	if asked > 0 {
		return asked
	}
	pause := firstPause
	for range min(refusals, 10) {
		pause = min(2*pause, maxPause)
	}
	return time.Duration((0.5 + spread) * float64(pause))
}
