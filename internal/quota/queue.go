package quota

import (
	"container/list"
	"context"
	"sync"
	"time"
)

// queue lets so many in at a time. Who has to wait is let in by priority, then by whose party has the fewest in, then
// by who came first: one party that asks a lot does not keep the others out. Safe for concurrent use.
type queue struct {
	mu      sync.Mutex
	slots   int // 0: no limit
	taken   int
	parties map[string]int // how many each has in
	waiting fairQueue
}

type waiter struct {
	party    string
	priority int
	in       chan struct{} // closed when it is let in
	out      chan struct{} // closed when it has to make room
	number   uint64        // in the order of their coming
	place    *list.Element // in its party's line; nil when it does not wait any more
}

// patience bounds how many may wait.
func (q *queue) patience() int { return max(10*q.slots, 50) }

// resize changes how many are let in.
func (q *queue) resize(slots int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.slots = slots
	q.admit()
}

// enter takes a slot, waiting for one as long as ctx lasts and, unless it is zero, until a moment. It reports whether a slot was taken, and if not, whether
// that was for too many who wait: then one of the party that has the most waiting makes room for others.
func (q *queue) enter(ctx context.Context, until time.Time, party string, priority int) (in, full bool) {
	q.mu.Lock()
	if q.free() {
		q.seat(party)
		q.mu.Unlock()
		return true, false
	}
	w := &waiter{party: party, priority: priority, in: make(chan struct{}), out: make(chan struct{})}
	if q.waiting.length >= q.patience() && !q.makeRoom(w) {
		q.mu.Unlock()
		return false, true
	}
	q.waiting.join(w, q.parties[party])
	q.mu.Unlock()
	if !until.IsZero() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, until)
		defer cancel()
	}
	select {
	case <-w.in:
		return true, false
	case <-w.out:
		return false, true
	case <-ctx.Done():
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.waiting.part(w) {
		return false, false
	}
	select {
	case <-w.out: // at the same moment
		return false, true
	default:
		return true, false // it was let in at the same moment
	}
}

// try takes a slot if one is free.
func (q *queue) try(party string) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.free() {
		return false
	}
	q.seat(party)
	return true
}

// free reports whether a new request gets a slot at once. The caller holds the mutex.
func (q *queue) free() bool { return q.slots == 0 || q.taken < q.slots && q.waiting.length == 0 }

// makeRoom sends the one away who comes last: of the lowest priority, of the party with the most waiting, the youngest. It
// reports false when that is newcomer. The caller holds the mutex.
func (q *queue) makeRoom(newcomer *waiter) bool {
	crowd := 1
	if own := q.waiting.byParty[newcomer.party]; own != nil {
		crowd += own.waiters.Len()
	}
	l := q.waiting.last.lines[0]
	if l.priority > newcomer.priority || l.priority == newcomer.priority && l.waiters.Len() <= crowd {
		return false
	}
	w := l.back()
	q.waiting.part(w)
	close(w.out)
	return true
}

// leave gives a slot back.
func (q *queue) leave(party string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.taken--
	if q.parties[party]--; q.parties[party] <= 0 {
		delete(q.parties, party)
	}
	q.waiting.seated(party, q.parties[party])
	q.admit()
}

// seat takes a slot. The caller holds the mutex.
func (q *queue) seat(party string) {
	if q.parties == nil {
		q.parties = map[string]int{}
	}
	q.taken++
	q.parties[party]++
	q.waiting.seated(party, q.parties[party])
}

// admit lets in who is next. The caller holds the mutex.
func (q *queue) admit() {
	for q.waiting.length > 0 && (q.slots == 0 || q.taken < q.slots) {
		w := q.waiting.next.lines[0].front()
		q.waiting.part(w)
		q.seat(w.party)
		close(w.in)
	}
}

// length is how many are in and how many wait.
func (q *queue) length() (in, waiting int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.taken, q.waiting.length
}
