package proxy

import (
	"sync"
	"time"
)

// budgetWindow is the time over which retries are compared with requests.
const budgetWindow = 10 * time.Second

// retryBudget keeps the balancer from doubling an outage: over the last ten
// seconds, tries beyond each request's first are a share of the requests, or a
// few where requests are few. Safe for concurrent use.
type retryBudget struct {
	mu      sync.Mutex
	seconds [budgetWindow / time.Second]struct {
		second            int64 // since 1970
		requests, retries int
	}
}

// countRequest counts a countRequest.
func (b *retryBudget) countRequest(now time.Time) { b.count(now, 1, 0) }

// countRetry counts a try beyond a request's first.
func (b *retryBudget) countRetry(now time.Time) { b.count(now, 0, 1) }

func (b *retryBudget) count(now time.Time, requests, retries int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	second := now.Unix()
	s := &b.seconds[second%int64(len(b.seconds))]
	if s.second != second {
		s.second, s.requests, s.retries = second, 0, 0
	}
	s.requests += requests
	s.retries += retries
}

// allows says whether another try is within the budget.
func (b *retryBudget) allows(now time.Time, percent, floor int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	requests, retries := 0, 0
	for _, s := range b.seconds {
		if now.Unix()-s.second < int64(len(b.seconds)) {
			requests += s.requests
			retries += s.retries
		}
	}
	return retries < max(floor, requests*percent/100)
}
