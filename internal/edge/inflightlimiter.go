package edge

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// inflightLimiter bounds the memory of all request bodies together: those being read, and those
// that may still have to be sent.
//
// A body makes at most two claims: a small one when it begins, and one for its whole announced
// length when more than the first claim has arrived. So no body holds a large claim while it waits
// for more, and second claims cannot deadlock. Claims that do not fit wait. Three rules keep that
// wait short for all clients except those that cause it:
//
//   - Shares: an owner may hold at most ownerShare times the free memory. So some memory stays free
//     for the next owner, even if many owners use their full share. A single body of an owner is
//     exempt.
//
//   - A reserve: second claims leave an eighth of the memory to first claims.
//
//   - Eviction: while a claim does not fit, bodies that arrive too slowly are evicted, the slowest
//     first.
//
// A weighted semaphore cannot replace it: a semaphore has one FIFO queue for all clients, so a
// client with many large bodies would block all others.
//
// Safe for concurrent use.
type inflightLimiter struct {
	mu           sync.Mutex
	limit        int64 // bound of used; 0: no bound
	maxLarge     int64 // bound of large
	used         int64
	large        int64 // the part of used that belongs to bodies with a second claim
	leaving      int64 // the part of used that belongs to evicted bodies not released yet
	owners       map[owner]ownerUsage
	reading      *bodyMemory // linked list of the bodies being read
	waiting      []*claim
	lastEviction time.Time // when slow bodies were last looked for

	firstClaimSize atomic.Int64 // the largest first claim; 0: maxFirst
}

const (
	ownerShare = 3
	// Second claims leave a 1/reserveShare of the memory to first claims.
	reserveShare = 8
	// Memory is plentiful while less than 1/plentyShare of it is used.
	plentyShare = 4
	// Bounds of the first claim, which is otherwise 1/firstShare of the memory.
	minFirst, maxFirst, firstShare = 64 << 10, 256 << 10, 4096
	// A body is slow if slowRate bytes take longer than slowAfter.
	slowAfter, slowRate = time.Second, 16 << 10
	// evictionPeriod is how often slow bodies are looked for while claims wait.
	evictionPeriod = 200 * time.Millisecond
	// maxWaiting bounds the number of waiting claims, because each grant looks at all of them.
	maxWaiting = 4096
)

// ownerUsage is the memory that an owner holds, in bytes.
type ownerUsage struct {
	all   int64
	large int64 // of bodies with a second claim
}

// claim is a request for memory.
type claim struct {
	body    *bodyMemory
	n       int64
	second  bool
	granted chan struct{} // closed when the claim is granted
	evicted chan struct{} // closed when the body is evicted
}

// resize changes the bound. There is always capacity for one body of maxBody bytes, and for the
// reserve.
func (f *inflightLimiter) resize(limit, maxBody int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.limit, f.maxLarge = 0, 0
	if limit > 0 {
		reserve := limit / reserveShare
		f.maxLarge = max(limit-reserve, maxBody+1)
		f.limit = f.maxLarge + reserve
	}
	f.firstClaimSize.Store(min(max(f.limit/firstShare, minFirst), maxFirst))
	f.admitLocked()
}

// firstClaimLocked returns the size of the first claim of a body. A negative length means unknown.
func (f *inflightLimiter) firstClaimLocked(length int64) int64 {
	most := f.firstClaimSize.Load()
	if most == 0 {
		most = maxFirst
	}
	if length < 0 {
		return minFirst
	}
	return min(length+1, most) // one byte more, to detect the end
}

// noWait is the patience of a claim that must be granted at once.
const noWait = time.Duration(-1)

// claimFirst makes the first claim of a body. It waits at most for patience, and no longer than
// ctx. It returns false if the claim was not granted.
func (f *inflightLimiter) claimFirst(ctx context.Context, patience time.Duration, h *bodyMemory, n int64) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	h.claim = claim{body: h, n: n}
	if !f.claimLocked(ctx, patience, &h.claim) {
		return false
	}
	f.linkLocked(h)
	return true
}

// claimBoth makes both claims of a body at once, if memory is plentiful. It never waits.
func (f *inflightLimiter) claimBoth(h *bodyMemory, n int64) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	h.claim = claim{body: h, n: n, second: true}
	if f.limit > 0 && (f.used > f.limit/plentyShare || !f.fitsLocked(&h.claim)) {
		return false
	}
	f.grantLocked(&h.claim)
	f.linkLocked(h)
	return true
}

// claimSecond makes the second claim of a body that is being read, under the same rules as
// claimFirst. to is the total size, including the first claim.
func (f *inflightLimiter) claimSecond(ctx context.Context, patience time.Duration, h *bodyMemory, to int64) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	h.waitsForSecond = true
	h.claim = claim{body: h, n: to - h.bytes, second: true}
	ok := f.claimLocked(ctx, patience, &h.claim)
	h.waitsForSecond = false
	return h.extendDeadline(time.Now()) && ok
}

// claimLocked makes a claim. The caller holds the mutex, which is released while the claim waits.
func (f *inflightLimiter) claimLocked(ctx context.Context, patience time.Duration, c *claim) bool {
	if len(f.waiting) == 0 && f.fitsLocked(c) {
		f.grantLocked(c)
		return true
	}
	if patience == noWait || len(f.waiting) == maxWaiting {
		return false
	}
	c.granted, c.evicted = make(chan struct{}), make(chan struct{})
	f.waiting = append(f.waiting, c)
	f.admitLocked()
	f.evictLocked(time.Now())
	f.mu.Unlock()
	defer f.mu.Lock()
	return f.await(ctx, max(patience, slowAfter+2*evictionPeriod), c)
}

func (f *inflightLimiter) await(ctx context.Context, patience time.Duration, c *claim) bool {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	look := time.NewTicker(evictionPeriod)
	defer look.Stop()
	for {
		select {
		case <-c.granted:
			return true
		case <-c.evicted:
			return false
		case <-ctx.Done():
			return f.withdraw(c)
		case now := <-look.C:
			f.mu.Lock()
			f.evictLocked(now)
			f.mu.Unlock()
		}
	}
}

// withdraw removes a waiting claim. It returns true if the claim was granted at the same moment.
func (f *inflightLimiter) withdraw(c *claim) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	i := slices.Index(f.waiting, c)
	if i < 0 {
		select {
		case <-c.granted:
			return true
		default:
			return false
		}
	}
	f.waiting = slices.Delete(f.waiting, i, i+1)
	f.admitLocked() // the withdrawn claim may have blocked another
	return false
}

// claimExtra claims memory in addition to both claims of a body, without waiting. It returns false
// if there is not enough.
func (f *inflightLimiter) claimExtra(h *bodyMemory, n int64) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	h.claim = claim{body: h, n: n}
	if !f.fitsLocked(&h.claim) {
		return false
	}
	f.grantLocked(&h.claim)
	return true
}

// bodyArrived records that a body has been read, and returns the memory beyond `needed` bytes.
func (f *inflightLimiter) bodyArrived(h *bodyMemory, needed int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.unlinkLocked(h)
	if needed < h.bytes {
		f.returnLocked(h, h.bytes-needed)
		f.admitLocked()
	}
}

// releaseAll returns all memory of a body.
func (f *inflightLimiter) releaseAll(h *bodyMemory) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.unlinkLocked(h)
	f.returnLocked(h, h.bytes)
	f.admitLocked()
}

// returnLocked returns n bytes of a body. The caller holds the mutex, as for all methods below that
// end in Locked.
func (f *inflightLimiter) returnLocked(h *bodyMemory, n int64) {
	h.bytes -= n
	f.used -= n
	if h.hasSecond {
		f.large -= n
	}
	held := f.owners[h.owner]
	held.all -= n
	if h.hasSecond {
		held.large -= n
	}
	if held.all > 0 {
		f.owners[h.owner] = held
	} else {
		delete(f.owners, h.owner)
	}
}

// grantLocked gives a claim its memory.
func (f *inflightLimiter) grantLocked(c *claim) {
	h := c.body
	held := f.owners[h.owner]
	if c.second && !h.hasSecond {
		h.hasSecond = true
		f.large += h.bytes
		held.large += h.bytes
	}
	if h.hasSecond {
		f.large += c.n
		held.large += c.n
	}
	held.all += c.n
	f.used += c.n
	h.bytes += c.n
	if f.owners == nil {
		f.owners = map[owner]ownerUsage{}
	}
	f.owners[h.owner] = held
}

// fitsLocked reports whether there is memory for a claim within its owner's share.
func (f *inflightLimiter) fitsLocked(c *claim) bool {
	return f.limit == 0 || f.missingLocked(c, f.nextLocked(true) >= 0) <= 0 && f.overShareLocked(c) <= 0
}

// missingLocked returns the number of bytes that a claim lacks, 0 or less if it fits. secondWaits
// means that a second claim within its owner's share is waiting.
func (f *inflightLimiter) missingLocked(c *claim, secondWaits bool) int64 {
	if f.used == c.body.bytes { // no other body holds memory
		return 0
	}
	missing := f.used + c.n - f.limit
	switch {
	case c.second:
		missing = max(missing, f.large+c.body.bytes+c.n-f.maxLarge)
	// Beyond the reserve, first claims must not take what the second claim waits for.
	case secondWaits:
		missing = max(missing, f.used-f.large+c.n-(f.limit-f.maxLarge))
	}
	return missing
}

// overShareLocked returns the number of bytes by which a claim exceeds its owner's share, 0 or less
// if it does not. For first claims only first claims count, so that an owner's large bodies do not
// block its small ones.
func (f *inflightLimiter) overShareLocked(c *claim) int64 {
	held := f.owners[c.body.owner]
	if held.all == c.body.bytes {
		return 0
	}
	counted := held.all
	if !c.second {
		counted -= held.large
	}
	return counted + c.n - ownerShare*(f.limit-f.used)
}

// admitLocked grants the claims that fit: first those of the owners that hold the least, and for
// one owner in FIFO order. A smaller second claim does not overtake the second claim that is next.
func (f *inflightLimiter) admitLocked() {
	for len(f.waiting) > 0 {
		first, second := f.nextLocked(false), f.nextLocked(true)
		switch {
		case f.canGrantLocked(first, second >= 0):
			f.admitAtLocked(first)
		case f.canGrantLocked(second, true):
			f.admitAtLocked(second)
		default:
			return
		}
	}
}

// canGrantLocked reports whether the i-th waiting claim can be granted.
func (f *inflightLimiter) canGrantLocked(i int, secondWaits bool) bool {
	return i >= 0 && (f.limit == 0 || f.missingLocked(f.waiting[i], secondWaits) <= 0)
}

// admitAtLocked grants the i-th waiting claim.
func (f *inflightLimiter) admitAtLocked(i int) {
	c := f.waiting[i]
	f.waiting = slices.Delete(f.waiting, i, i+1)
	f.grantLocked(c)
	close(c.granted)
}

// nextLocked returns the index of the next first or second claim, or -1 if no such claim is within
// its owner's share.
func (f *inflightLimiter) nextLocked(second bool) int {
	best := -1
	for i, c := range f.waiting {
		if c.second != second || f.limit > 0 && f.overShareLocked(c) > 0 {
			continue
		}
		if best < 0 || f.owners[c.body.owner].all < f.owners[f.waiting[best].body.owner].all {
			best = i
		}
	}
	return best
}

// usedBytes returns the memory in use.
func (f *inflightLimiter) usedBytes() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.used
}

// linkLocked adds a body to the list of bodies being read.
func (f *inflightLimiter) linkLocked(h *bodyMemory) {
	h.linked, h.next = true, f.reading
	if f.reading != nil {
		f.reading.prev = h
	}
	f.reading = h
}

// unlinkLocked removes a body from that list, if it is there.
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
