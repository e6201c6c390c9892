package upstream

import (
	"time"

	"github.com/9bingyin/claude-code-lb/internal/verdict"
)

const (
	// RecentSpan is the time span of the error rate.
	RecentSpan = 5 * time.Minute
	// recentSlots is the number of slots in that span, and so the resolution of the rate.
	recentSlots = 30
)

// Incident is a failed attempt.
type Incident struct {
	At     time.Time
	Scope  verdict.Scope
	Reason string
	Model  string // of the request
}

// history records an endpoint's recent past for operators. It does not influence decisions. It
// excludes attempts for other paths than /v1/messages.
type history struct {
	last  Incident // zero: none
	slots [recentSlots]slotCounts
}

// slotCounts has the counts of one time slot.
type slotCounts struct {
	slot             int64
	attempts, errors int
}

func slotOf(now time.Time) int64 { return now.UnixNano() / int64(RecentSpan/recentSlots) }

// record adds the outcome of an attempt. again is true if the attempt was settled as a success
// before.
func (h *history) record(o verdict.Outcome, model string, again bool, now time.Time) {
	if o.Scope == verdict.ScopeClient || o.Scope == verdict.ScopeBalancer {
		return
	}
	n := slotOf(now)
	s := &h.slots[n%recentSlots]
	if s.slot != n {
		*s = slotCounts{slot: n}
	}
	if !again {
		s.attempts++
	}
	if o.Scope < verdict.ScopeCredential { // success, or a fault of the request
		return
	}
	s.errors++
	h.last = Incident{now, o.Scope, o.Reason, model}
}

// counts returns the number of attempts in RecentSpan, and how many of them failed.
func (h *history) counts(now time.Time) (attempts, errors int) {
	n := slotOf(now)
	for _, s := range h.slots {
		if s.slot > n-recentSlots && s.slot <= n {
			attempts += s.attempts
			errors += s.errors
		}
	}
	// A response may break off in a later slot than the one in which it began.
	return attempts, min(errors, attempts)
}
