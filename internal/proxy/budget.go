package proxy

import (
	"sync"
	"time"
)

// budgetWindow is the time over which retries are counted against requests.
const budgetWindow = 10 * time.Second

// retryBudget keeps retries from making an outage worse. Over the last ten seconds it allows a
// number of retries in proportion to the requests, and a few if there are few requests. Safe for
// concurrent use.
type retryBudget struct {
	mu      sync.Mutex
	seconds [budgetWindow / time.Second]struct {
		second            int64 // Unix time
		requests, retries int
	}
}

// countRequest counts a countRequest.
func (b *retryBudget) countRequest(now time.Time) { b.count(now, 1, 0) }

// countRetry counts an attempt beyond a request's first.
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

// allows reports whether another attempt is within the budget: below percent of the requests, or
// below floor.
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
