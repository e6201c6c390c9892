package quota

import (
	"cmp"
	"container/heap"
	"container/list"
)

// fairQueue are those who wait in a queue, each party in a line of its own. Who is next, and who has to go, is found without
// looking at all of them: a queue is longest when there is least time.
type fairQueue struct {
	byParty map[string]*partyQueue
	next    ranking // whose front is let in next
	last    ranking // whose back makes room first
	length  int
	came    uint64 // how many ever did
}

// partyQueue is a party's, the one who came first at its front. It is never empty.
type partyQueue struct {
	priority int        // as the party's latest has it
	in       int        // how many the party has in
	waiters  *list.List // of *waiter
	at       [2]int     // its places in the rankings
}

func (l *partyQueue) front() *waiter { return l.waiters.Front().Value.(*waiter) }
func (l *partyQueue) back() *waiter  { return l.waiters.Back().Value.(*waiter) }

// ranking is a heap of lines.
type ranking struct {
	lines []*partyQueue
	which int // of a line's places is that in this one
	order func(a, b *partyQueue) int
}

// Len implements heap.Interface.
func (r *ranking) Len() int { return len(r.lines) }

// Less implements heap.Interface.
func (r *ranking) Less(i, j int) bool { return r.order(r.lines[i], r.lines[j]) < 0 }

// Swap implements heap.Interface.
func (r *ranking) Swap(i, j int) {
	r.lines[i], r.lines[j] = r.lines[j], r.lines[i]
	r.lines[i].at[r.which], r.lines[j].at[r.which] = i, j
}

// Push implements heap.Interface.
func (r *ranking) Push(x any) {
	l := x.(*partyQueue)
	l.at[r.which] = len(r.lines)
	r.lines = append(r.lines, l)
}

// Pop implements heap.Interface.
func (r *ranking) Pop() any {
	last := len(r.lines) - 1
	l := r.lines[last]
	r.lines[last] = nil
	r.lines = r.lines[:last]
	return l
}

// soonest orders lines by priority, then by how few the party has in, then by who came first.
func soonest(a, b *partyQueue) int {
	return cmp.Or(cmp.Compare(b.priority, a.priority), cmp.Compare(a.in, b.in), cmp.Compare(a.front().number, b.front().number))
}

// dearest orders lines by who makes room first: of the lowest priority, with the most waiting, the youngest.
func dearest(a, b *partyQueue) int {
	return cmp.Or(cmp.Compare(a.priority, b.priority), cmp.Compare(b.waiters.Len(), a.waiters.Len()), cmp.Compare(b.back().number, a.back().number))
}

// join puts a waiter at the end of its party's line; the party has so many in.
func (s *fairQueue) join(w *waiter, in int) {
	if s.byParty == nil {
		s.byParty = map[string]*partyQueue{}
		s.next, s.last = ranking{which: 0, order: soonest}, ranking{which: 1, order: dearest}
	}
	s.came++
	s.length++
	w.number = s.came
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

// rank puts a line that has changed in its places.
func (s *fairQueue) rank(l *partyQueue) {
	heap.Fix(&s.next, l.at[0])
	heap.Fix(&s.last, l.at[1])
}

// part takes a waiter out. It reports false when it is not waiting any more.
func (s *fairQueue) part(w *waiter) bool {
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
	heap.Remove(&s.next, l.at[0]) // while it has a front to be compared by
	heap.Remove(&s.last, l.at[1])
	delete(s.byParty, w.party)
	return true
}

// seated notes how many a party has in.
func (s *fairQueue) seated(party string, in int) {
	if l := s.byParty[party]; l != nil {
		l.in = in
		heap.Fix(&s.next, l.at[0])
	}
}
