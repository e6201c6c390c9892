package quota

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/config"
	"github.com/9bingyin/claude-code-lb/internal/ledger"
	"github.com/9bingyin/claude-code-lb/internal/telemetry"
)

// account is the usage of a key by name, and its reservations. The mutex guards the fields below
// it.
type account struct {
	name  string
	since time.Time // when this process first saw the key
	slots queue
	// reading bounds the bodies that are read while all slots are taken.
	reading queue

	former     telemetry.Occasional // logs that a former secret is still in use
	formerUsed atomic.Int64         // last use of a former secret, in Unix seconds; 0: never

	mu       sync.Mutex
	zone     *time.Location
	rpm, tpm bucket
	periods  [windows]budgetPeriod
	reserved ledger.Money // by requests in flight
	output   usual        // output tokens of responses
}

// configure applies the limits of a new generation.
func (a *account) configure(spec config.ClientKey, now time.Time) {
	zone, err := time.LoadLocation(spec.Budget.TimeZone)
	if err != nil { // package config has checked the time zone
		zone = time.UTC
	}
	a.slots.resize(spec.Concurrency)
	a.reading.resize(spec.Concurrency)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.zone == nil || a.zone.String() != zone.String() {
		a.zone, a.periods = zone, [windows]budgetPeriod{} // other days have other sums
		a.since = now
	}
	if a.rpm.size != float64(spec.RPM) {
		a.rpm.resize(spec.RPM, now)
	}
	if a.tpm.size != float64(spec.TPM) {
		a.tpm.resize(spec.TPM, now)
	}
	for w := range window(windows) {
		a.periods[w].roll(w, now, zone)
	}
}

// hasBudget reports whether there is a budget.
func (a *account) hasBudget(b config.Budget) bool {
	return b.Day > 0 || b.Week > 0 || b.Month > 0 || b.Total > 0
}

// shortage is a budget that an estimate does not fit into.
type shortage struct {
	window    window
	limit     ledger.Money
	left      ledger.Money // unspent part
	ends      time.Time    // zero: never
	retrySoon bool         // the estimate would fit if the requests in flight cost nothing
}

// shortageLocked returns the budget that an estimate does not fit into: if there are several, the
// one that lasts longest.
func (a *account) shortageLocked(b config.Budget, estimate ledger.Money, now time.Time) (s shortage, found bool) {
	for w := range window(windows) { // from the shortest to the longest
		p := &a.periods[w]
		p.roll(w, now, a.zone)
		limit := w.limit(b)
		if limit == 0 || plus(plus(p.spent, a.reserved), estimate) <= limit {
			continue
		}
		s, found = shortage{window: w, limit: limit, left: max(limit-p.spent, 0), ends: w.end(p.begin), retrySoon: plus(p.spent, estimate) <= limit && (!found || s.retrySoon)}, true
	}
	return s, found
}

// usual is a bound for the usual size of responses, learned from some of them.
type usual struct {
	mean  float64
	peak  float64 // decreases slowly
	count int
}

func (u *usual) learn(n float64) {
	const weight, forget = 0.1, 0.98
	if u.count++; u.count == 1 {
		u.mean = n
	}
	u.mean += weight * (n - u.mean)
	u.peak = max(u.peak*forget, n)
}

// bound returns the expected maximum, given the requested maximum.
func (u *usual) bound(asked int64) int64 {
	const enough = 5 // responses from which a bound can be learned
	if u.count < enough {
		return asked
	}
	return min(asked, int64(max(u.peak, 2*u.mean)))
}
