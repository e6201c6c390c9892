package edge

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// inflight bounds the memory of all request bodies together: those being read, and those that may still have to be sent.
//
// A body claims memory at most twice: a little when it begins, and all that it announced when more than that has arrived. So no body holds a large
// claim and waits for more, and the second claims cannot block each other. Claims that do not fit wait. Three rules keep that wait
// short for everyone but the cause of it:
//
//   - Shares: an owner may hold at most ownerShare times the free memory. So some memory stays free for the next owner,
//     however many owners use their full share. The only body of an owner is exempt.
//   - A reserve: second claims leave an eighth of the memory to first ones.
//   - Eviction: while a claim does not fit, bodies that arrive too slowly are given up, the slowest first.
//
// Safe for concurrent use.
type inflightLimiter struct {
	mu           sync.Mutex
	limit        int64 // bound of used; 0: no bound
	maxLarge     int64 // bound of large
	used         int64
	large        int64 // of used, by bodies with a second claim
	leaving      int64 // of used, by bodies that were given up and have not left yet
	owners       map[owner]ownerUsage
	reading      *bodyMemory // list of the bodies that are being read
	waiting      []*claim
	lastEviction time.Time // when slow bodies were last looked for

	firstClaimSize atomic.Int64 // largest first claim; 0: mostFirst
}

const (
	ownerShare = 3
	// reserveShare is the part of the memory that second claims leave to first ones.
	reserveShare = 8
	// Memory is plentiful while less than this part of it is taken.
	plentyShare = 4
	// Bounds of the first claim, which is otherwise a 4096th of the memory.
	minFirst, maxFirst, firstShare = 64 << 10, 256 << 10, 4096
	// A body is slow when slowRate bytes take longer than slowAfter.
	slowAfter, slowRate = time.Second, 16 << 10
	// lookPeriod is how often slow bodies are looked for while claims wait.
	evictionPeriod = 200 * time.Millisecond
	// mostWaiting bounds how many claims wait: each grant takes a look at all of them.
	maxWaiting = 4096
)

// owner identifies the client that the memory of a body is charged to: a client key, or an address if auth is off.
type owner struct {
	key     string
	network netip.Prefix
}

// holding is what an owner holds.
type ownerUsage struct {
	all   int64
	large int64 // of bodies with a second claim
}

// claim asks for memory.
type claim struct {
	body    *bodyMemory
	n       int64
	second  bool
	granted chan struct{} // closed when it is granted
	evicted chan struct{} // closed when the body was given up
}

// resize changes the bound. One body of maxBody bytes always has room, and the reserve beside it.
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

// firstClaim is the size of the first claim of a body. A negative length is unknown.
func (f *inflightLimiter) firstClaim(length int64) int64 {
	most := f.firstClaimSize.Load()
	if most == 0 {
		most = maxFirst
	}
	if length < 0 {
		return minFirst
	}
	return min(length+1, most) // one more, to see the end
}

// noWait is the patience of a claim that is granted at once or not at all.
const noWait = time.Duration(-1)

// enter makes a body's first claim. It waits until ctx ends, at most for patience, and returns false if there was no
// memory.
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

// enterWhole makes both claims of a body at once. It does so only while memory is plentiful, and never waits.
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

// grow makes the second claim of a body that is being read, in the same way: for to bytes, including what it has.
func (f *inflightLimiter) claimSecond(ctx context.Context, patience time.Duration, h *bodyMemory, to int64) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	h.waitsForSecond = true
	h.claim = claim{body: h, n: to - h.bytes, second: true}
	ok := f.claimLocked(ctx, patience, &h.claim)
	h.waitsForSecond = false
	return h.extendDeadline(time.Now()) && ok
}

// claim is called with the mutex, which it releases while it waits.
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

// withdraw ends the wait of a claim. It returns true if the claim was granted at the same moment.
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
	f.admitLocked() // it may have blocked another claim
	return false
}

// more takes memory in addition to a body's claims, without waiting. It returns false if there is not enough.
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

// finish records that a body has arrived, and returns the claimed memory beyond `needed` bytes.
func (f *inflightLimiter) bodyArrived(h *bodyMemory, needed int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.unlinkLocked(h)
	if needed < h.bytes {
		f.returnLocked(h, h.bytes-needed)
		f.admitLocked()
	}
}

// leave gives all memory of a body back.
func (f *inflightLimiter) releaseAll(h *bodyMemory) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.unlinkLocked(h)
	f.returnLocked(h, h.bytes)
	f.admitLocked()
}

// give returns n bytes of a body. The caller holds the mutex, as in all that follows.
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

// grant gives a claim its memory.
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

// fits reports whether there is memory for a claim within its owner's share.
func (f *inflightLimiter) fitsLocked(c *claim) bool {
	return f.limit == 0 || f.missingLocked(c, f.nextLocked(true) >= 0) <= 0 && f.overShareLocked(c) <= 0
}

// missing is how many bytes a claim lacks, 0 or less if none. secondWaits means that a second claim within its owner's share
// waits.
func (f *inflightLimiter) missingLocked(c *claim, secondWaits bool) int64 {
	if f.used == c.body.bytes { // nothing else is held
		return 0
	}
	missing := f.used + c.n - f.limit
	switch {
	case c.second:
		missing = max(missing, f.large+c.body.bytes+c.n-f.maxLarge)
	case secondWaits: // beyond the reserve, first claims must not take what it waits for
		missing = max(missing, f.used-f.large+c.n-(f.limit-f.maxLarge))
	}
	return missing
}

// beyondShare is by how many bytes a claim exceeds its owner's share, 0 or less if it does not. For first claims only first
// claims count, so that an owner's large bodies do not keep its small ones out.
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

// admit grants the claims that fit: first those of the owners that hold least, and of one owner in order of arrival. A
// smaller second claim does not overtake the second claim that is next.
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

// ready reports whether the i-th waiting claim can be granted.
func (f *inflightLimiter) canGrantLocked(i int, secondWaits bool) bool {
	return i >= 0 && (f.limit == 0 || f.missingLocked(f.waiting[i], secondWaits) <= 0)
}

// admitAt grants the i-th claim that waits.
func (f *inflightLimiter) admitAtLocked(i int) {
	c := f.waiting[i]
	f.waiting = slices.Delete(f.waiting, i, i+1)
	f.grantLocked(c)
	close(c.granted)
}

// next finds the first or second claim that is next, -1 if there is none within its owner's share.
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

// bytes is how much is taken.
func (f *inflightLimiter) usedBytes() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.used
}
