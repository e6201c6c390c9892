package quota

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// plainLines does what fairQueue does by linear search.
type plainLines struct {
	waiting []*waiter
	in      map[string]int
}

func (p *plainLines) next() *waiter {
	best := p.waiting[0]
	for _, w := range p.waiting {
		if w.priority > best.priority || w.priority == best.priority && p.in[w.party] < p.in[best.party] {
			best = w
		}
	}
	return best
}

func (p *plainLines) last() *waiter {
	crowd := map[string]int{}
	for _, w := range p.waiting {
		crowd[w.party]++
	}
	last := p.waiting[len(p.waiting)-1]
	for _, w := range slices.Backward(p.waiting) {
		if w.priority < last.priority || w.priority == last.priority && crowd[w.party] > crowd[last.party] {
			last = w
		}
	}
	return last
}

func (p *plainLines) part(w *waiter) {
	p.waiting = slices.DeleteFunc(p.waiting, func(each *waiter) bool { return each == w })
}

// TestLines adds and removes waiters at random, and compares the next and the last waiter with
// those of a linear search.
func TestLines(t *testing.T) {
	for seed := range uint64(20) {
		random := rand.New(rand.NewPCG(seed, 0))
		var s fairQueue
		p := &plainLines{in: map[string]int{}}
		for step := range 2000 {
			n := random.IntN(8)
			party := fmt.Sprint("party ", n)
			switch {
			case len(p.waiting) == 0 || random.IntN(5) < 2:
				w := &waiter{party: party, priority: n % 2}
				s.join(w, p.in[party])
				p.waiting = append(p.waiting, w)
			case random.IntN(3) == 0:
				p.in[party] = random.IntN(4)
				s.updateAdmitted(party, p.in[party])
			default:
				w := []*waiter{p.next(), p.last(), p.waiting[random.IntN(len(p.waiting))]}[random.IntN(3)]
				if p.part(w); !s.remove(w) || s.remove(w) {
					t.Fatal("a waiter cannot be removed once")
				}
			}
			if s.length != len(p.waiting) {
				t.Fatalf("seed %d, step %d: %d wait, want %d", seed, step, s.length, len(p.waiting))
			}
			if len(p.waiting) == 0 {
				continue
			}
			if got, want := s.next.parties[0].front(), p.next(); got != want {
				t.Fatalf("seed %d, step %d: next is %+v, want %+v", seed, step, got, want)
			}
			if got, want := s.last.parties[0].back(), p.last(); got != want {
				t.Fatalf("seed %d, step %d: last is %+v, want %+v", seed, step, got, want)
			}
		}
	}
}

// BenchmarkLines admits one waiter and adds another, by the number of waiters, each of a different
// party.
func BenchmarkLines(b *testing.B) {
	for _, waiting := range []int{10, 1000, 10_000} {
		b.Run(fmt.Sprintf("waiting=%d", waiting), func(b *testing.B) {
			var s fairQueue
			for i := range waiting {
				s.join(&waiter{party: fmt.Sprint("party ", i)}, 0)
			}
			b.ReportAllocs()
			for b.Loop() {
				w := s.next.parties[0].front()
				s.remove(w)
				s.join(w, 1)
			}
		})
	}
}
