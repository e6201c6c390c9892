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
type inflight struct {
	mu      sync.Mutex
	total   int64 // bound of used; 0: no bound
	most    int64 // bound of large
	used    int64
	large   int64 // of used, by bodies with a second claim
	leaving int64 // of used, by bodies that were given up and have not left yet
	owners  map[owner]holding
	reading *hold // list of the bodies that are being read
	waiting []*claim
	looked  time.Time // when slow bodies were last looked for

	first atomic.Int64 // largest first claim; 0: mostFirst
}

const (
	ownerShare = 3
	// reserveShare is the part of the memory that second claims leave to first ones.
	reserveShare = 8
	// Memory is plentiful while less than this part of it is taken.
	plentyShare = 4
	// Bounds of the first claim, which is otherwise a 4096th of the memory.
	leastFirst, mostFirst, firstShare = 64 << 10, 256 << 10, 4096
	// A body is slow when slowRate bytes take longer than slowAfter.
	slowAfter, slowRate = time.Second, 16 << 10
	// lookPeriod is how often slow bodies are looked for while claims wait.
	lookPeriod = 200 * time.Millisecond
	// mostWaiting bounds how many claims wait: each grant takes a look at all of them.
	mostWaiting = 4096
)

// owner identifies the client that the memory of a body is charged to: a client key, or an address if auth is off.
type owner struct {
	key     string
	network netip.Prefix
}

// holding is what an owner holds.
type holding struct {
	all   int64
	large int64 // of bodies with a second claim
}

// claim asks for memory.
type claim struct {
	h      *hold
	n      int64
	second bool
	in     chan struct{} // closed when it is granted
	out    chan struct{} // closed when the body was given up
}

// resize changes the bound. One body of maxBody bytes always has room, and the reserve beside it.
func (f *inflight) resize(limit, maxBody int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.total, f.most = 0, 0
	if limit > 0 {
		reserve := limit / reserveShare
		f.most = max(limit-reserve, maxBody+1)
		f.total = f.most + reserve
	}
	f.first.Store(min(max(f.total/firstShare, leastFirst), mostFirst))
	f.admit()
}

// firstClaim is the size of the first claim of a body. A negative length is unknown.
func (f *inflight) firstClaim(length int64) int64 {
	most := f.first.Load()
	if most == 0 {
		most = mostFirst
	}
	if length < 0 {
		return leastFirst
	}
	return min(length+1, most) // one more, to see the end
}

// noWait is the patience of a claim that is granted at once or not at all.
const noWait = time.Duration(-1)

// enter makes a body's first claim. It waits until ctx ends, at most for patience, and returns false if there was no
// memory.
func (f *inflight) enter(ctx context.Context, patience time.Duration, h *hold, n int64) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	h.claim = claim{h: h, n: n}
	if !f.claim(ctx, patience, &h.claim) {
		return false
	}
	f.link(h)
	return true
}

// enterWhole makes both claims of a body at once. It does so only while memory is plentiful, and never waits.
func (f *inflight) enterWhole(h *hold, n int64) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	h.claim = claim{h: h, n: n, second: true}
	if f.total > 0 && (f.used > f.total/plentyShare || !f.fits(&h.claim)) {
		return false
	}
	f.grant(&h.claim)
	f.link(h)
	return true
}

// grow makes the second claim of a body that is being read, in the same way: for to bytes, including what it has.
func (f *inflight) grow(ctx context.Context, patience time.Duration, h *hold, to int64) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	h.waits = true
	h.claim = claim{h: h, n: to - h.taken, second: true}
	ok := f.claim(ctx, patience, &h.claim)
	h.waits = false
	return h.renew(time.Now()) && ok
}

// claim is called with the mutex, which it releases while it waits.
func (f *inflight) claim(ctx context.Context, patience time.Duration, c *claim) bool {
	if len(f.waiting) == 0 && f.fits(c) {
		f.grant(c)
		return true
	}
	if patience == noWait || len(f.waiting) == mostWaiting {
		return false
	}
	c.in, c.out = make(chan struct{}), make(chan struct{})
	f.waiting = append(f.waiting, c)
	f.admit()
	f.makeRoom(time.Now())
	f.mu.Unlock()
	defer f.mu.Lock()
	return f.await(ctx, max(patience, slowAfter+2*lookPeriod), c)
}

func (f *inflight) await(ctx context.Context, patience time.Duration, c *claim) bool {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	look := time.NewTicker(lookPeriod)
	defer look.Stop()
	for {
		select {
		case <-c.in:
			return true
		case <-c.out:
			return false
		case <-ctx.Done():
			return f.withdraw(c)
		case now := <-look.C:
			f.mu.Lock()
			f.makeRoom(now)
			f.mu.Unlock()
		}
	}
}

// withdraw ends the wait of a claim. It returns true if the claim was granted at the same moment.
func (f *inflight) withdraw(c *claim) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	i := slices.Index(f.waiting, c)
	if i < 0 {
		select {
		case <-c.in:
			return true
		default:
			return false
		}
	}
	f.waiting = slices.Delete(f.waiting, i, i+1)
	f.admit() // it may have blocked another claim
	return false
}

// more takes memory in addition to a body's claims, without waiting. It returns false if there is not enough.
func (f *inflight) more(h *hold, n int64) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	h.claim = claim{h: h, n: n}
	if !f.fits(&h.claim) {
		return false
	}
	f.grant(&h.claim)
	return true
}

// finish records that a body has arrived, and returns the claimed memory beyond `needed` bytes.
func (f *inflight) finish(h *hold, needed int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.unlink(h)
	if needed < h.taken {
		f.give(h, h.taken-needed)
		f.admit()
	}
}

// leave gives all memory of a body back.
func (f *inflight) leave(h *hold) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.unlink(h)
	f.give(h, h.taken)
	f.admit()
}

// give returns n bytes of a body. The caller holds the mutex, as in all that follows.
func (f *inflight) give(h *hold, n int64) {
	h.taken -= n
	f.used -= n
	if h.second {
		f.large -= n
	}
	held := f.owners[h.owner]
	held.all -= n
	if h.second {
		held.large -= n
	}
	if held.all > 0 {
		f.owners[h.owner] = held
	} else {
		delete(f.owners, h.owner)
	}
}

// grant gives a claim its memory.
func (f *inflight) grant(c *claim) {
	h := c.h
	held := f.owners[h.owner]
	if c.second && !h.second {
		h.second = true
		f.large += h.taken
		held.large += h.taken
	}
	if h.second {
		f.large += c.n
		held.large += c.n
	}
	held.all += c.n
	f.used += c.n
	h.taken += c.n
	if f.owners == nil {
		f.owners = map[owner]holding{}
	}
	f.owners[h.owner] = held
}

// fits reports whether there is memory for a claim within its owner's share.
func (f *inflight) fits(c *claim) bool {
	return f.total == 0 || f.missing(c, f.next(true) >= 0) <= 0 && f.beyondShare(c) <= 0
}

// missing is how many bytes a claim lacks, 0 or less if none. secondWaits means that a second claim within its owner's share
// waits.
func (f *inflight) missing(c *claim, secondWaits bool) int64 {
	if f.used == c.h.taken { // nothing else is held
		return 0
	}
	missing := f.used + c.n - f.total
	switch {
	case c.second:
		missing = max(missing, f.large+c.h.taken+c.n-f.most)
	case secondWaits: // beyond the reserve, first claims must not take what it waits for
		missing = max(missing, f.used-f.large+c.n-(f.total-f.most))
	}
	return missing
}

// beyondShare is by how many bytes a claim exceeds its owner's share, 0 or less if it does not. For first claims only first
// claims count, so that an owner's large bodies do not keep its small ones out.
func (f *inflight) beyondShare(c *claim) int64 {
	held := f.owners[c.h.owner]
	if held.all == c.h.taken {
		return 0
	}
	counted := held.all
	if !c.second {
		counted -= held.large
	}
	return counted + c.n - ownerShare*(f.total-f.used)
}

// admit grants the claims that fit: first those of the owners that hold least, and of one owner in order of arrival. A
// smaller second claim does not overtake the second claim that is next.
func (f *inflight) admit() {
	for len(f.waiting) > 0 {
		first, second := f.next(false), f.next(true)
		switch {
		case f.ready(first, second >= 0):
			f.admitAt(first)
		case f.ready(second, true):
			f.admitAt(second)
		default:
			return
		}
	}
}

// ready reports whether the i-th waiting claim can be granted.
func (f *inflight) ready(i int, secondWaits bool) bool {
	return i >= 0 && (f.total == 0 || f.missing(f.waiting[i], secondWaits) <= 0)
}

// admitAt grants the i-th claim that waits.
func (f *inflight) admitAt(i int) {
	c := f.waiting[i]
	f.waiting = slices.Delete(f.waiting, i, i+1)
	f.grant(c)
	close(c.in)
}

// next finds the first or second claim that is next, -1 if there is none within its owner's share.
func (f *inflight) next(second bool) int {
	best := -1
	for i, c := range f.waiting {
		if c.second != second || f.total > 0 && f.beyondShare(c) > 0 {
			continue
		}
		if best < 0 || f.owners[c.h.owner].all < f.owners[f.waiting[best].h.owner].all {
			best = i
		}
	}
	return best
}

// bytes is how much is taken.
func (f *inflight) bytes() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.used
}
