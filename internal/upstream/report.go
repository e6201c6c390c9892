package upstream

import (
	"strings"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/claude"
)

// Report is what is known of an endpoint at one moment, for people and for metrics. It holds no secret.
type Report struct {
	View                // whatever the subject, as Overall has it, with the usual latency
	Drained      bool   // by Drain
	Account      uint64 // names what it shares with others, as Domain does
	Balance      float64
	BalanceKnown bool
	Remaining    []Remaining

	LastError        Incident      // the latest failed attempt; zero: none
	LastSuccess      time.Time     // when an attempt succeeded last; zero: never
	Attempts, Errors int           // of the last RecentSpan
	LongTerm         time.Duration // the usual latency of the last hours; View has that of the last minutes
}

// Remaining is what is left of one limit of an endpoint's account.
type Remaining struct {
	Class    string  // of models, "" for requests without one
	Bucket   string  // requests, input_tokens and output_tokens of a minute; five_hour and seven_day of a subscription
	Fraction float64 // 0 to 1; the least where clients bring credentials with limits of their own
}

// Report tells what is known of the endpoint.
func (e *Endpoint) Report(now time.Time) Report {
	r := Report{View: e.ViewAny(now), Account: e.CacheScope()}
	r.Latency, r.LongTerm = e.state.latency.usual(), e.state.latency.longTerm()
	l := e.state
	l.mu.Lock()
	r.Drained, r.Balance, r.BalanceKnown = l.drained, l.balance.value, l.balance.known
	r.LastError, r.LastSuccess = l.history.last, l.succeeded
	r.Attempts, r.Errors = l.history.rate(now)
	l.mu.Unlock()
	a := l.account.Load()
	a.mu.Lock()
	defer a.mu.Unlock()
	r.Load = a.load.now(now)
	r.Remaining = a.remaining(now)
	r.Headroom = 1
	for _, each := range r.Remaining {
		r.Headroom = min(r.Headroom, each.Fraction)
	}
	return r
}

// remaining lists what is left of all limits that are known. The caller holds the mutex.
func (a *account) remaining(now time.Time) []Remaining {
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
				note(class, each.name, each.left(now)/each.limit)
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
