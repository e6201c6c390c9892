package upstream

import "time"

const (
	// RecentSpan is how far the error rate looks back.
	RecentSpan = 5 * time.Minute
	// recentSlots is into how many parts it is divided: the rate is exact to one of them.
	recentSlots = 30
)

// Incident is a failed attempt.
type Incident struct {
	At     time.Time
	Scope  Scope
	Reason string
	Model  string // that was asked for
}

// history is what operators want to know of an endpoint's recent past. It decides nothing. Attempts
// for other paths than messages are left out.
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

// note takes the verdict on an attempt, which is a new one unless it had been settled as good before.
func (h *history) note(o Outcome, model string, again bool, now time.Time) {
	if o.Scope == ScopeClient || o.Scope == ScopeBalancer {
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
	if o.Scope < ScopeCredential { // it worked, or the request was at fault
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
	return attempts, min(errors, attempts) // an answer may break off later than it began
}
