package quota

import (
	"container/list"
	"context"
	"sync"
	"time"
)

// queue admits a limited number of requests at a time. Waiters are admitted by priority, then by
// the fewest admitted requests of their party, then in order of arrival: one busy party does not
// block the others. Safe for concurrent use.
type queue struct {
	mu      sync.Mutex
	slots   int // 0: no limit
	taken   int
	parties map[string]int // admitted requests of each party
	waiting fairQueue
}

type waiter struct {
	party    string
	priority int
	admitted chan struct{} // closed when the waiter is admitted
	evicted  chan struct{} // closed when the waiter is evicted
	number   uint64        // in order of arrival
	place    *list.Element // in its party's queue; nil if it does not wait any more
}

// maxWaiting bounds the number of waiters.
func (q *queue) maxWaiting() int { return max(10*q.slots, 50) }

// resize changes the number of slots.
func (q *queue) resize(slots int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.slots = slots
	q.admitLocked()
}

// enter takes a slot. It waits as long as ctx lasts and, unless until is zero, until then. If it
// got no slot, full reports whether too many requests wait: then the youngest waiter of the party
// with the most waiters is evicted.
func (q *queue) enter(ctx context.Context, until time.Time, party string, priority int) (in, full bool) {
	q.mu.Lock()
	if q.isFreeLocked() {
		q.seatLocked(party)
		q.mu.Unlock()
		return true, false
	}
	w := &waiter{party: party, priority: priority, admitted: make(chan struct{}), evicted: make(chan struct{})}
	if q.waiting.length >= q.maxWaiting() && !q.makeRoomLocked(w) {
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
	case <-w.admitted:
		return true, false
	case <-w.evicted:
		return false, true
	case <-ctx.Done():
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.waiting.remove(w) {
		return false, false
	}
	select {
	case <-w.evicted: // both at the same moment
		return false, true
	default:
		return true, false // admitted at the same moment
	}
}

// try takes a slot if one is free.
func (q *queue) try(party string) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.isFreeLocked() {
		return false
	}
	q.seatLocked(party)
	return true
}

// isFreeLocked reports whether a new request gets a slot at once.
func (q *queue) isFreeLocked() bool {
	return q.slots == 0 || q.taken < q.slots && q.waiting.length == 0
}

// makeRoomLocked evicts the last waiter: of the lowest priority, of the party with the most
// waiters, the youngest. It returns false if newcomer would be that waiter.
func (q *queue) makeRoomLocked(newcomer *waiter) bool {
	crowd := 1
	if own := q.waiting.byParty[newcomer.party]; own != nil {
		crowd += own.waiters.Len()
	}
	l := q.waiting.last.parties[0]
	if l.priority > newcomer.priority || l.priority == newcomer.priority && l.waiters.Len() <= crowd {
		return false
	}
	w := l.back()
	q.waiting.remove(w)
	close(w.evicted)
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
	q.waiting.updateAdmitted(party, q.parties[party])
	q.admitLocked()
}

// seatLocked takes a slot.
func (q *queue) seatLocked(party string) {
	if q.parties == nil {
		q.parties = map[string]int{}
	}
	q.taken++
	q.parties[party]++
	q.waiting.updateAdmitted(party, q.parties[party])
}

// admitLocked admits the next waiters.
func (q *queue) admitLocked() {
	for q.waiting.length > 0 && (q.slots == 0 || q.taken < q.slots) {
		w := q.waiting.next.parties[0].front()
		q.waiting.remove(w)
		q.seatLocked(w.party)
		close(w.admitted)
	}
}

// length returns the numbers of admitted requests and of waiters.
func (q *queue) length() (in, waiting int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.taken, q.waiting.length
}
