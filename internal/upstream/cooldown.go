package upstream

import (
	"maps"
	"time"
)

const (
	// A pause is the cooldown of an overloaded upstream. It is short, because such an upstream
	// recovers within seconds, and because a cached prompt is worth waiting for.
	firstPause = time.Second
	maxPause   = 30 * time.Second
	// streakGap is the longest time from the end of a cooldown to the next refusal for which the
	// two are consecutive.
	streakGap = 2 * time.Minute
	// maxCooldowns bounds the cooldowns per account or endpoint.
	maxCooldowns = 1024
)

// cooldown ends without a probe, because the upstream stated or implied its end.
type cooldown struct {
	began, until time.Time
	refusals     int // consecutive
	reason       string
}

// cooldowns are those of one account or endpoint, by subject. The zero value is empty. The owner's
// mutex guards it.
type cooldowns map[string]cooldown

// recordRefusal starts or extends the cooldown of a subject. It returns how long the cooldown lasts
// from now, or 0 if it is unchanged. wait returns the length, given the number of consecutive
// refusals before this one. Refusals of attempts that were in flight together count as one.
func (c *cooldowns) recordRefusal(subject string, started, now time.Time, reason string, wait func(before int) time.Duration) time.Duration {
	if *c == nil {
		*c = cooldowns{}
	}
	old := (*c)[subject]
	switch {
	case started.Before(old.began):
		old.refusals--
	case started.Sub(old.until) > streakGap:
		old.refusals = 0
	}
	length := wait(max(old.refusals, 0))
	until := now.Add(length)
	if length <= 0 || !until.After(old.until) {
		return 0
	}
	c.evictExpired(now)
	(*c)[subject] = cooldown{began: now, until: until, refusals: old.refusals + 1, reason: reason}
	return length
}

// evictExpired frees space when the bound is reached: it removes the expired cooldowns, or all if
// none has expired.
func (c cooldowns) evictExpired(now time.Time) {
	if len(c) < maxCooldowns {
		return
	}
	maps.DeleteFunc(c, func(_ string, other cooldown) bool { return !now.Before(other.until) })
	if len(c) >= maxCooldowns {
		clear(c)
	}
}

// merge copies the cooldowns of others that last longer.
func (c *cooldowns) merge(others cooldowns) {
	for subject, other := range others {
		if other.until.After((*c)[subject].until) {
			if *c == nil {
				*c = cooldowns{}
			}
			(*c)[subject] = other
		}
	}
}

// longest returns the cooldown that ends last.
func (c cooldowns) longest() cooldown {
	var longest cooldown
	for _, each := range c {
		if each.until.After(longest.until) {
			longest = each
		}
	}
	return longest
}

// recordSuccess removes the cooldown of a subject if the successful attempt started after the
// cooldown began. It reports whether the cooldown still lasted.
func (c cooldowns) recordSuccess(subject string, started, now time.Time) bool {
	old, known := c[subject]
	if !known || started.Before(old.began) {
		return false
	}
	delete(c, subject)
	return now.Before(old.until)
}

// pauseAfter returns the length of a pause: the time that the upstream asked for, otherwise one
// second, doubled with every consecutive refusal, times a random factor of 0.5 to 1.5, so that
// clients do not return together.
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
