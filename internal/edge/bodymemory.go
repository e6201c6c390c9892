package edge

import (
	"net/http"
	"sync"
	"time"
)

// bodyMemory is the memory of one request body.
type bodyMemory struct {
	owner owner

	// The following fields are guarded by the mutex of inflightLimiter.
	bytes          int64
	firstOnly      bool  // it will make no second claim
	hasSecond      bool  // its second claim has been granted
	waitsForSecond bool  // it is waiting for its second claim
	leaving        int64 // the part of bytes that counts as about to be free, because the body was evicted
	claim          claim // the latest claim
	linked         bool
	prev, next     *bodyMemory

	mu         sync.Mutex
	client     *http.ResponseController // nil: the body is not being read
	progressAt time.Time                // when the last slowRate bytes had arrived
	evicted    bool
}

// startReading begins the time limits of a body.
func (h *bodyMemory) startReading(client *http.ResponseController) {
	h.mu.Lock()
	h.client = client
	h.mu.Unlock()
	h.extendDeadline(time.Now())
}

// extendDeadline sets the deadline for the next bodyStep bytes. It returns false if the body was
// evicted.
func (h *bodyMemory) extendDeadline(now time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.evicted {
		return false
	}
	h.progressAt = now
	if h.client != nil {
		// Test servers have no deadlines. Ignore the error.
		_ = h.client.SetReadDeadline(now.Add(bodyStall))
	}
	return true
}

// recordProgress records that another slowRate bytes have arrived.
func (h *bodyMemory) recordProgress(now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.progressAt = now
}

// isEvicted reports whether the body was evicted.
func (h *bodyMemory) isEvicted() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.evicted
}

// stopReading ends the time limits.
func (h *bodyMemory) stopReading() {
	h.mu.Lock()
	defer h.mu.Unlock()
	_ = h.client.SetReadDeadline(time.Time{})
	h.client = nil
}

// slowFor returns the time since the last progress if the body is too slow, and otherwise 0.
func (h *bodyMemory) slowFor(now time.Time) time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	took := now.Sub(h.progressAt)
	if h.client == nil || h.evicted || took < slowAfter {
		return 0
	}
	return took
}

// evict interrupts the goroutine that reads the body. That goroutine then releases the memory. It
// returns false if the body was evicted before.
func (h *bodyMemory) evict() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.evicted {
		return false
	}
	h.evicted = true
	if h.client != nil {
		_ = h.client.SetReadDeadline(time.Unix(1, 0))
	}
	return true
}
