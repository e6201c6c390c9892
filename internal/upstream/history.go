package upstream

import (
	"time"

	"github.com/9bingyin/claude-code-lb/internal/verdict"
)

const (
	// RecentSpan is how far the error rate looks back.
	RecentSpan = 5 * time.Minute
	// recentSlots is the number of slots in it, and so the resolution of the rate.
	recentSlots = 30
)

// Incident is a failed attempt.
type Incident struct {
	At     time.Time
	Scope  verdict.Scope
	Reason string
	Model  string // in the request
}

// history records an endpoint's recent past for operators. It influences no decision. Attempts for
// other paths than /v1/messages are left out.
type history struct {
	last  Incident // zero: none
	slots [recentSlots]recent
}

// recent is what happened in one slot of time.
type recent struct {
	slot             int64
	attempts, errors int
}

func slotOf(now time.Time) int64 { return now.UnixNano() / int64(RecentSpan/recentSlots) }

// note records the verdict on an attempt. again means that the attempt was settled as good before.
func (h *history) note(o verdict.Outcome, model string, again bool, now time.Time) {
	if o.Scope == verdict.ScopeClient || o.Scope == verdict.ScopeBalancer {
		return
	}
	n := slotOf(now)
	s := &h.slots[n%recentSlots]
	if s.slot != n {
		*s = recent{slot: n}
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

// rate counts the attempts of the last minutes and the failed ones among them.
func (h *history) rate(now time.Time) (attempts, errors int) {
	n := slotOf(now)
	for _, s := range h.slots {
		if s.slot > n-recentSlots && s.slot <= n {
			attempts += s.attempts
			errors += s.errors
		}
	}
	return attempts, min(errors, attempts) // a response may break off in a later slot than it began
}
