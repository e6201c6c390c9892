package edge

import (
	"cmp"
	"net/http"
	"slices"
	"sync"
	"time"
)

// hold is the memory of one body.
type bodyMemory struct {
	owner owner

	// What follows belongs to inflight's mutex.
	bytes          int64
	firstOnly      bool  // it will make no second claim
	hasSecond      bool  // it has made its second claim
	waitsForSecond bool  // for that
	leaving        int64 // part of taken that is counted as about to be free, since the body was given up
	claim          claim // the latest
	linked         bool
	prev, next     *bodyMemory

	mu         sync.Mutex
	client     *http.ResponseController // nil: not being read
	progressAt time.Time                // when the last slowRate bytes had arrived
	evicted    bool
}

// begin starts the reading from a client.
func (h *bodyMemory) startReading(client *http.ResponseController) {
	h.mu.Lock()
	h.client = client
	h.mu.Unlock()
	h.extendDeadline(time.Now())
}

// renew sets the deadline for the next step. It returns false if the body was given up.
func (h *bodyMemory) extendDeadline(now time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.evicted {
		return false
	}
	h.progressAt = now
	if h.client != nil {
		// Servers without deadlines, as in tests, read on without them.
		_ = h.client.SetReadDeadline(now.Add(bodyStall))
	}
	return true
}

// moved records that another slowRate bytes have arrived.
func (h *bodyMemory) recordProgress(now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.progressAt = now
}

// givenUp reports whether the body was given up.
func (h *bodyMemory) isEvicted() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.evicted
}

// stop ends the reading.
func (h *bodyMemory) stopReading() {
	h.mu.Lock()
	defer h.mu.Unlock()
	_ = h.client.SetReadDeadline(time.Time{})
	h.client = nil
}

// slowFor returns how long the body has been too slow, 0 if it is not.
func (h *bodyMemory) slowFor(now time.Time) time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	took := now.Sub(h.progressAt)
	if h.client == nil || h.evicted || took < slowAfter {
		return 0
	}
	return took
}

// evict gives the body up: it interrupts the goroutine that reads it, which then returns the
// memory. It returns false if the body was given up before.
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

func (f *inflightLimiter) linkLocked(h *bodyMemory) {
	h.linked, h.next = true, f.reading
	if f.reading != nil {
		f.reading.prev = h
	}
	f.reading = h
}

func (f *inflightLimiter) unlinkLocked(h *bodyMemory) {
	if !h.linked {
		return
	}
	if h.prev != nil {
		h.prev.next = h.next
	} else {
		f.reading = h.next
	}
	if h.next != nil {
		h.next.prev = h.prev
	}
	h.linked, h.prev, h.next = false, nil, nil
	f.leaving -= h.leaving
	h.leaving = 0
}

// makeRoom gives up bodies for the claims that are next. It does so at a limited rate, because it
// looks at every body. The caller holds the mutex.
func (f *inflightLimiter) evictLocked(now time.Time) {
	if len(f.waiting) == 0 || f.limit == 0 || now.Sub(f.lastEviction) < evictionPeriod/4 {
		return
	}
	f.lastEviction = now
	slow := f.slowBodiesLocked(now)
	if len(slow) > 0 {
		f.evictOverShareLocked(slow)
	}
	anyone := func(*bodyMemory) bool { return true }
	first, second := f.nextLocked(false), f.nextLocked(true)
	if second >= 0 {
		f.evictSlowLocked(slow, f.missingLocked(f.waiting[second], true)-f.leaving, anyone)
	}
	if first < 0 {
		return
	}
	c := f.waiting[first]
	if left := f.evictSlowLocked(slow, f.missingLocked(c, second >= 0)-f.leaving, anyone); left > 0 && c.body.firstOnly {
		f.evictWaitingLocked(c, left)
	}
}

// makeShare gives up slow bodies of owners that have reached their share and have claims waiting.
func (f *inflightLimiter) evictOverShareLocked(slow []slowBody) {
	seen := map[owner]bool{}
	for _, c := range f.waiting {
		by := c.body.owner
		beyond := f.overShareLocked(c)
		if beyond <= 0 || seen[by] {
			continue
		}
		seen[by] = true
		// What is freed also raises the share.
		f.evictSlowLocked(slow, beyond/(ownerShare+1)+1-f.leaving, func(h *bodyMemory) bool { return h.owner == by })
	}
}

// slowBody is a body that arrives too slowly.
type slowBody struct {
	body *bodyMemory
	took time.Duration // since it moved
}

// slowBodies lists the bodies that arrive too slowly, the slowest first.
func (f *inflightLimiter) slowBodiesLocked(now time.Time) []slowBody {
	var slow []slowBody
	for h := f.reading; h != nil; h = h.next {
		if took := h.slowFor(now); took > 0 && !h.waitsForSecond {
			slow = append(slow, slowBody{h, took})
		}
	}
	slices.SortFunc(slow, func(a, b slowBody) int { return cmp.Compare(b.took, a.took) })
	return slow
}

// evictSlow gives up slow bodies until `missing` bytes will be free, and returns how many are still
// missing.
func (f *inflightLimiter) evictSlowLocked(slow []slowBody, missing int64, may func(*bodyMemory) bool) int64 {
	for _, s := range slow {
		if missing <= 0 {
			break
		}
		if may(s.body) && s.body.evict() {
			missing -= f.markLeavingLocked(s.body)
		}
	}
	return missing
}

// evictWaiting gives up bodies that hold a first claim and wait for the second, the youngest first.
// It only takes bodies of owners that hold more than the owner of c.
func (f *inflightLimiter) evictWaitingLocked(c *claim, missing int64) {
	for _, w := range slices.Backward(slices.Clone(f.waiting)) {
		if missing <= 0 {
			return
		}
		if w.second && f.owners[w.body.owner].all > f.owners[c.body.owner].all+c.n && w.body.evict() {
			missing -= f.markLeavingLocked(w.body)
			f.waiting = slices.DeleteFunc(f.waiting, func(other *claim) bool { return other == w })
			close(w.evicted)
		}
	}
}

// leaves counts the memory of a body that was given up as about to be free, and returns the amount.
func (f *inflightLimiter) markLeavingLocked(h *bodyMemory) int64 {
	h.leaving = h.bytes
	f.leaving += h.bytes
	return h.bytes
}
