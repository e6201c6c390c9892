package quota

import (
	"context"
	"slices"
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
	waiting []*waiter      // in the order of their coming
}

type waiter struct {
	party    string
	priority int
	in       chan struct{} // closed when it is let in
	out      chan struct{} // closed when it has to make room
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
	if q.slots == 0 || q.taken < q.slots && len(q.waiting) == 0 {
		q.seat(party)
		q.mu.Unlock()
		return true, false
	}
	w := &waiter{party: party, priority: priority, in: make(chan struct{}), out: make(chan struct{})}
	if len(q.waiting) >= q.patience() && !q.makeRoom(w) {
		q.mu.Unlock()
		return false, true
	}
	q.waiting = append(q.waiting, w)
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
	if i := slices.Index(q.waiting, w); i >= 0 {
		q.waiting = slices.Delete(q.waiting, i, i+1)
		return false, false
	}
	select {
	case <-w.out: // at the same moment
		return false, true
	default:
		return true, false // it was let in at the same moment
	}
}

// makeRoom sends the one away who comes last: of the lowest priority, of the party with the most waiting, the youngest. It
// reports false when that is newcomer. The caller holds the mutex.
func (q *queue) makeRoom(newcomer *waiter) bool {
	crowd := map[string]int{newcomer.party: 1}
	for _, w := range q.waiting {
		crowd[w.party]++
	}
	last, at := newcomer, -1
	for i, w := range slices.Backward(q.waiting) {
		if w.priority < last.priority || w.priority == last.priority && crowd[w.party] > crowd[last.party] {
			last, at = w, i
		}
	}
	if at < 0 {
		return false
	}
	q.waiting = slices.Delete(q.waiting, at, at+1)
	close(last.out)
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
	q.admit()
}

// seat takes a slot. The caller holds the mutex.
func (q *queue) seat(party string) {
	if q.parties == nil {
		q.parties = map[string]int{}
	}
	q.taken++
	q.parties[party]++
}

// admit lets in who is next. The caller holds the mutex.
func (q *queue) admit() {
	for len(q.waiting) > 0 && (q.slots == 0 || q.taken < q.slots) {
		next := 0
		for i, w := range q.waiting {
			best := q.waiting[next]
			if w.priority > best.priority || w.priority == best.priority && q.parties[w.party] < q.parties[best.party] {
				next = i
			}
		}
		w := q.waiting[next]
		q.waiting = slices.Delete(q.waiting, next, next+1)
		q.seat(w.party)
		close(w.in)
	}
}

// length is how many are in and how many wait.
func (q *queue) length() (in, waiting int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.taken, len(q.waiting)
}
