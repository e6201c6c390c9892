package quota

import "time"

// bucket is a token bucket: its size is the limit per minute, and it fills evenly. If a request
// uses more than it took in advance, the level is below zero until the bucket has filled again.
type bucket struct {
	size  float64 // per minute; 0: no limit
	level float64
	at    time.Time
}

// resize changes the limit. It keeps what has been taken.
func (b *bucket) resize(size int, now time.Time) {
	b.fill(now)
	if b.at.IsZero() || b.size == 0 {
		b.level = float64(size)
	} else {
		b.level += float64(size) - b.size
	}
	b.size, b.at = float64(size), now
}

func (b *bucket) fill(now time.Time) {
	if passed := now.Sub(b.at); passed > 0 {
		b.level = min(b.level+b.size*passed.Minutes(), b.size)
		b.at = now
	}
}

// wait returns the time until n can be taken, 0 if it can be taken now. A full bucket gives even
// more than its size.
func (b *bucket) wait(n float64, now time.Time) time.Duration {
	b.fill(now)
	missing := min(n, b.size) - b.level
	if b.size == 0 || missing <= 0 {
		return 0
	}
	return max(time.Duration(missing/b.size*float64(time.Minute)), time.Millisecond)
}

// take takes n, or gives it back if it is negative.
func (b *bucket) take(n float64) {
	if b.size > 0 {
		b.level = min(b.level-n, b.size)
	}
}
