package webhook

import (
	"maps"
	"slices"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/config"
)

// maxSubjects bounds the memory of one webhook's limits.
const maxSubjects = 1024

// limiter suppresses events that follow an event of the same name and subject within the interval.
// At the end of the interval it returns the last of them with their number. The zero value is
// ready. Not safe for concurrent use.
type limiter struct {
	subjects map[limitKey]*suppressed
}

type limitKey struct {
	name    config.Event
	subject string
}

// suppressed is the sum of events since the last message.
type suppressed struct {
	until time.Time
	count int
	first time.Time
	last  Message
}

// admit reports whether to send an event now. It suppresses and counts the event if not.
func (l *limiter) admit(e Message, every time.Duration, now time.Time) bool {
	if every <= 0 {
		return true
	}
	if l.subjects == nil {
		l.subjects = map[limitKey]*suppressed{}
	}
	key := l.keyFor(e, now)
	h := l.subjects[key]
	switch {
	case h == nil || h.count == 0 && !now.Before(h.until):
		l.subjects[key] = &suppressed{until: now.Add(every)}
		return true
	case h.count == 0:
		h.first = e.Time
	}
	h.count++
	h.last = e
	return false
}

// keyFor returns the key under which an event is limited. Beyond maxSubjects, all other subjects
// share one.
func (l *limiter) keyFor(e Message, now time.Time) limitKey {
	key := limitKey{e.Name, e.Subject}
	if l.subjects[key] != nil || len(l.subjects) < maxSubjects {
		return key
	}
	maps.DeleteFunc(l.subjects, func(_ limitKey, h *suppressed) bool { return h.count == 0 && !now.Before(h.until) })
	if len(l.subjects) < maxSubjects {
		return key
	}
	return limitKey{e.Name, ""}
}

// due returns the sums of suppressed events whose interval is over, the oldest first.
func (l *limiter) due(every time.Duration, now time.Time) []Message {
	return l.take(now.Add(every), func(h *suppressed) bool { return !now.Before(h.until) })
}

// drain returns all sums, the oldest first.
func (l *limiter) drain() []Message {
	return l.take(time.Time{}, func(*suppressed) bool { return true })
}

func (l *limiter) take(until time.Time, match func(*suppressed) bool) []Message {
	var out []Message
	for _, h := range l.subjects {
		if h.count == 0 || !match(h) {
			continue
		}
		e := h.last
		e.Repeated, e.Since = h.count-1, h.first
		out = append(out, e)
		*h = suppressed{until: until}
	}
	slices.SortFunc(out, func(a, b Message) int { return a.Time.Compare(b.Time) })
	return out
}

// next returns when the next sum is due; false if no event is suppressed.
func (l *limiter) next() (time.Time, bool) {
	var earliest time.Time
	for _, h := range l.subjects {
		if h.count > 0 && (earliest.IsZero() || h.until.Before(earliest)) {
			earliest = h.until
		}
	}
	return earliest, !earliest.IsZero()
}
