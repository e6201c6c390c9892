package quota

import (
	"cmp"
	"container/heap"
	"container/list"
)

// fairQueue keeps one FIFO per party, with heaps to find the next waiter to admit and the first to
// evict without a search: a queue is longest when time is shortest.
type fairQueue struct {
	byParty map[string]*partyQueue
	next    ranking // by the next waiter to admit
	last    ranking // by the first waiter to evict
	length  int
	count   uint64 // number of waiters so far
}

// partyQueue is the FIFO of one party. It is never empty.
type partyQueue struct {
	priority  int        // of the party's latest waiter
	in        int        // admitted requests of the party
	waiters   *list.List // of *waiter
	heapIndex [2]int     // its indexes in the two heaps
}

func (l *partyQueue) front() *waiter { return l.waiters.Front().Value.(*waiter) }
func (l *partyQueue) back() *waiter  { return l.waiters.Back().Value.(*waiter) }

// ranking is a heap of partyQueues.
type ranking struct {
	parties []*partyQueue
	which   int // which index of partyQueue.heapIndex belongs to this heap
	order   func(a, b *partyQueue) int
}

// Len implements heap.Interface.
func (r *ranking) Len() int { return len(r.parties) }

// Less implements heap.Interface.
func (r *ranking) Less(i, j int) bool { return r.order(r.parties[i], r.parties[j]) < 0 }

// Swap implements heap.Interface.
func (r *ranking) Swap(i, j int) {
	r.parties[i], r.parties[j] = r.parties[j], r.parties[i]
	r.parties[i].heapIndex[r.which], r.parties[j].heapIndex[r.which] = i, j
}

// Push implements heap.Interface.
func (r *ranking) Push(x any) {
	l := x.(*partyQueue)
	l.heapIndex[r.which] = len(r.parties)
	r.parties = append(r.parties, l)
}

// Pop implements heap.Interface.
func (r *ranking) Pop() any {
	last := len(r.parties) - 1
	l := r.parties[last]
	r.parties[last] = nil
	r.parties = r.parties[:last]
	return l
}

// byAdmission orders parties by priority, then by fewest admitted requests, then by the oldest
// waiter.
func byAdmission(a, b *partyQueue) int {
	return cmp.Or(cmp.Compare(b.priority, a.priority), cmp.Compare(a.in, b.in), cmp.Compare(a.front().number, b.front().number))
}

// byEviction orders parties by the lowest priority, then by most waiters, then by the youngest
// waiter.
func byEviction(a, b *partyQueue) int {
	return cmp.Or(cmp.Compare(a.priority, b.priority), cmp.Compare(b.waiters.Len(), a.waiters.Len()), cmp.Compare(b.back().number, a.back().number))
}

// join appends a waiter to its party's queue; in is the number of the party's admitted requests.
func (s *fairQueue) join(w *waiter, in int) {
	if s.byParty == nil {
		s.byParty = map[string]*partyQueue{}
		s.next, s.last = ranking{which: 0, order: byAdmission}, ranking{which: 1, order: byEviction}
	}
	s.count++
	s.length++
	w.number = s.count
	l := s.byParty[w.party]
	if l != nil {
		l.priority = w.priority
		w.place = l.waiters.PushBack(w)
		s.rank(l)
		return
	}
	l = &partyQueue{priority: w.priority, in: in, waiters: list.New()}
	w.place = l.waiters.PushBack(w)
	s.byParty[w.party] = l
	heap.Push(&s.next, l)
	heap.Push(&s.last, l)
}

// rank restores the heap order after a change of l.
func (s *fairQueue) rank(l *partyQueue) {
	heap.Fix(&s.next, l.heapIndex[0])
	heap.Fix(&s.last, l.heapIndex[1])
}

// remove removes a waiter. It returns false if the waiter has left already.
func (s *fairQueue) remove(w *waiter) bool {
	if w.place == nil {
		return false
	}
	l := s.byParty[w.party]
	s.length--
	place := w.place
	w.place = nil
	if l.waiters.Len() > 1 {
		l.waiters.Remove(place)
		s.rank(l)
		return true
	}
	heap.Remove(&s.next, l.heapIndex[0]) // while it still has a front to compare
	heap.Remove(&s.last, l.heapIndex[1])
	delete(s.byParty, w.party)
	return true
}

// updateAdmitted records the number of admitted requests of a party.
func (s *fairQueue) updateAdmitted(party string, in int) {
	if l := s.byParty[party]; l != nil {
		l.in = in
		heap.Fix(&s.next, l.heapIndex[0])
	}
}
