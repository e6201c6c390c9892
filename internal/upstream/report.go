package upstream

import (
	"strings"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/claude"
)

// Report describes an endpoint at one time, for people and for metrics. It contains no secrets.
type Report struct {
	View                // by ViewAny, with the recent mean latency
	Drained      bool   // by Drain
	Account      uint64 // as CacheScope
	Balance      float64
	BalanceKnown bool
	Remaining    []Remaining

	LastError        Incident      // zero: none
	LastSuccess      time.Time     // zero: never
	Attempts, Errors int           // in RecentSpan
	LongTerm         time.Duration // mean latency of the last hours; View has that of the last minutes
}

// Remaining is the remaining part of one limit of an endpoint's account.
type Remaining struct {
	Class    string  // of models; "" for requests without a model
	Bucket   string  // requests, input_tokens and output_tokens per minute; five_hour and seven_day of a subscription
	Fraction float64 // 0 to 1; the smallest one if clients use their own credentials with separate limits
}

// Report describes the endpoint.
func (e *Endpoint) Report(now time.Time) Report {
	r := Report{View: e.ViewAny(now), Account: e.CacheScope()}
	r.Latency, r.LongTerm = e.state.latency.recentMean(), e.state.latency.longTermMean()
	st := e.state
	st.mu.Lock()
	r.Drained, r.Balance, r.BalanceKnown = st.drained, st.balance.value, st.balance.known
	r.LastError, r.LastSuccess = st.history.last, st.lastSuccess
	r.Attempts, r.Errors = st.history.counts(now)
	st.mu.Unlock()
	a := st.account.Load()
	a.mu.Lock()
	defer a.mu.Unlock()
	r.Load = a.load.value(now)
	r.Remaining = a.remainingLocked(now)
	r.Headroom = 1
	for _, each := range r.Remaining {
		r.Headroom = min(r.Headroom, each.Fraction)
	}
	return r
}

// remainingLocked lists the remaining part of all known limits.
func (a *account) remainingLocked(now time.Time) []Remaining {
	least := map[Remaining]float64{}
	note := func(class, bucket string, part float64) {
		key := Remaining{Class: class, Bucket: bucket}
		part = min(max(part, 0), 1)
		if before, known := least[key]; !known || part < before {
			least[key] = part
		}
	}
	for key, b := range a.budgets {
		class, _, _ := strings.Cut(key, "|")
		for _, each := range [...]struct {
			name string
			*bucket
		}{{"requests", &b.requests}, {"input_tokens", &b.input}, {"output_tokens", &b.output}} {
			if each.limit > 0 {
				note(class, each.name, each.available(now)/each.limit)
			}
		}
		for _, each := range [...]struct {
			name string
			claude.Window
		}{{"five_hour", b.unified.FiveHour}, {"seven_day", b.unified.SevenDay}} {
			if each.Known && each.Reset.After(now) {
				note(class, each.name, 1-each.Utilization)
			}
		}
	}
	all := make([]Remaining, 0, len(least))
	for key, part := range least {
		key.Fraction = part
		all = append(all, key)
	}
	return all
}
