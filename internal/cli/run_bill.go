package cli

import (
	"fmt"
	"strings"
	"sync"

	"github.com/9bingyin/claude-code-lb/internal/ledger"
	"github.com/9bingyin/claude-code-lb/internal/verdict"
)

// bill sums up the requests of a private balancer. Safe for concurrent use.
type bill struct {
	mu       sync.Mutex
	requests int
	cost     ledger.Money
	unpriced int // requests with a part without a known price
	hidden   int // attempts that failed before the request was answered
	failed   int // requests that the client saw fail
	prompt   int64
	cached   int64
}

// Record implements proxy.Recorder.
func (b *bill) Record(e ledger.Entry) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.requests++
	cost := e.Cost()
	b.cost += cost.Sum
	if cost.Unpriced != "" {
		b.unpriced++
	}
	switch e.Outcome {
	case ledger.Answered:
		for i := range e.Attempts {
			if a := &e.Attempts[i]; !a.Served && a.Scope != verdict.ScopeNone.String() && a.Scope != verdict.ScopeClient.String() {
				b.hidden++
			}
		}
	case ledger.Failed, ledger.Truncated:
		b.failed++
	}
	u := e.Usage()
	b.cached += u.CacheReadTokens
	b.prompt += u.InputTokens + u.CacheReadTokens + u.CacheCreation5mTokens + u.CacheCreation1hTokens
}

// String returns the bill in one line.
func (b *bill) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.requests == 0 {
		return "no requests"
	}
	parts := []string{"$" + billed(b.cost)}
	add := func(n int, one, many string) {
		switch {
		case n == 1:
			parts = append(parts, "1 "+one)
		case n > 1:
			parts = append(parts, fmt.Sprintf("%d %s", n, many))
		}
	}
	add(b.unpriced, "request without a known price", "requests without a known price")
	add(b.hidden, "failover hidden", "failovers hidden")
	add(b.failed, "request failed", "requests failed")
	if b.prompt > 0 {
		parts = append(parts, fmt.Sprintf("cache %d %%", b.cached*100/b.prompt))
	}
	return strings.Join(parts, ", ")
}

// billed returns an amount with two decimals, or with four if it is small.
func billed(m ledger.Money) string {
	if d := m.Dollars(); d > 0 && d < 0.1 {
		return fmt.Sprintf("%.4f", d)
	}
	return fmt.Sprintf("%.2f", m.Dollars())
}
