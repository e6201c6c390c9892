package edge

import (
	"cmp"
	"slices"
	"time"
)

// evictLocked evicts bodies in favour of the claims that are next. It is rate limited, because it
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

// evictOverShareLocked evicts slow bodies of owners that have used their share and have waiting
// claims.
func (f *inflightLimiter) evictOverShareLocked(slow []slowBody) {
	seen := map[owner]bool{}
	for _, c := range f.waiting {
		by := c.body.owner
		beyond := f.overShareLocked(c)
		if beyond <= 0 || seen[by] {
			continue
		}
		seen[by] = true
		// Memory that becomes free also raises the share.
		f.evictSlowLocked(slow, beyond/(ownerShare+1)+1-f.leaving, func(h *bodyMemory) bool { return h.owner == by })
	}
}

// slowBody is a body that arrives too slowly.
type slowBody struct {
	body *bodyMemory
	took time.Duration // since its last progress
}

// slowBodiesLocked returns the bodies that arrive too slowly, the slowest first.
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

// evictSlowLocked evicts slow bodies until `missing` bytes are about to be free. It returns the
// number of bytes still missing.
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

// evictWaitingLocked evicts bodies that hold a first claim and wait for their second one, the
// youngest first. It only evicts bodies of owners that hold more than the owner of c.
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

// markLeavingLocked counts the memory of an evicted body as about to be free, and returns its size.
func (f *inflightLimiter) markLeavingLocked(h *bodyMemory) int64 {
	h.leaving = h.bytes
	f.leaving += h.bytes
	return h.bytes
}
