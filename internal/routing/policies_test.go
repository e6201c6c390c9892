package routing

import (
	"math/rand/v2"
	"testing"

	"github.com/9bingyin/claude-code-lb/internal/config"
	"github.com/9bingyin/claude-code-lb/internal/upstream"
)

func candidates(weights ...int) []Candidate {
	var c []Candidate
	for i, w := range weights {
		c = append(c, Candidate{ID: upstream.ID{byte(i + 1)}, Weight: w, Share: 1})
	}
	return c
}

// picks runs a policy n times and returns the sequence of picked indexes.
func picks(p Policy, c []Candidate, n int) []int {
	var seq []int
	for range n {
		seq = append(seq, p.Pick(c, 0))
	}
	return seq
}

// wantShares checks that every window of sum(weights) picks has exactly the weights.
func wantShares(t *testing.T, seq, weights []int) {
	t.Helper()
	total := 0
	for _, w := range weights {
		total += w
	}
	for from := 0; from+total <= len(seq); from++ {
		counts := make([]int, len(weights))
		for _, i := range seq[from : from+total] {
			counts[i]++
		}
		for i, w := range weights {
			if counts[i] != w {
				t.Fatalf("window at %d: shares %v, want %v", from, counts, weights)
			}
		}
	}
}

func TestExactShares(t *testing.T) {
	f := func(p Policy, weights, want []int) {
		t.Helper()
		wantShares(t, picks(p, candidates(weights...), 500), want)
	}
	f(&roundRobin{}, []int{5, 3, 1}, []int{1, 1, 1})
	f(&roundRobin{}, []int{1}, []int{1})
	f(&weightedRoundRobin{}, []int{5, 3, 1}, []int{5, 3, 1})
	f(&weightedRoundRobin{}, []int{4, 2, 2}, []int{4, 2, 2})
	f(&weightedRoundRobin{}, []int{1, 100}, []int{1, 100})
	f(&weightedRoundRobin{}, []int{7}, []int{7})
}

func TestWeightedRoundRobinIsSmooth(t *testing.T) {
	seq := picks(&weightedRoundRobin{}, candidates(5, 1, 1), 7)
	for i, want := range []int{0, 0, 1, 0, 2, 0, 0} {
		if seq[i] != want {
			t.Fatalf("sequence %v", seq)
		}
	}
}

func TestSharesAreExactAgainAfterAnOutage(t *testing.T) {
	all := candidates(5, 3, 1)
	w := &weightedRoundRobin{}
	picks(w, all, 4)
	wantShares(t, picks(w, all[:2], 80), []int{5, 3})
	wantShares(t, picks(w, all, 90), []int{5, 3, 1})

	r := &roundRobin{}
	picks(r, all, 2)
	wantShares(t, picks(r, all[1:], 20), []int{1, 1})
	wantShares(t, picks(r, all, 30), []int{1, 1, 1})
}

func TestRoundRobinLearnsLateComersInOrder(t *testing.T) {
	all := candidates(1, 1, 1)
	r := &roundRobin{}
	if seq := picks(r, all[1:2], 1); seq[0] != 0 {
		t.Fatal("one candidate, another pick")
	}
	if seq := picks(r, all, 3); seq[0] != 2 || seq[1] != 0 || seq[2] != 1 {
		t.Errorf("after the second the sequence is %v", seq)
	}
}

func TestRandomAsksTheSource(t *testing.T) {
	p := newPolicy(config.Random, func(n int) int { return n - 1 })
	if i := p.Pick(candidates(1, 9, 1), 0); i != 2 {
		t.Errorf("picked %d", i)
	}
}

func BenchmarkWeightedRoundRobin(b *testing.B) {
	b.ReportAllocs()
	p, c := &weightedRoundRobin{}, candidates(5, 3, 1, 1, 2, 8, 1, 1)
	for b.Loop() {
		p.Pick(c, 0)
	}
}

func TestSlowStartTakesAGrowingShare(t *testing.T) {
	draw := rand.New(rand.NewPCG(1, 2)).IntN
	f := func(p Policy, share float64, least, most int) {
		t.Helper()
		c := candidates(1, 1)
		c[1].Share = share
		ramping := 0
		for _, i := range picks(p, c, 1000) {
			ramping += i
		}
		if ramping < least || ramping > most {
			t.Errorf("%T: a share of %v got %d of 1000 picks", p, share, ramping)
		}
	}
	for _, share := range []float64{0.1, 0.5, 1} {
		fair := int(1000 * share / (1 + share))
		f(&weightedRoundRobin{}, share, fair-1, fair+1)
		f(&roundRobin{intn: draw}, share, fair*8/10, fair*12/10)
		f(random{draw}, share, fair*4/10, fair*12/10)
	}
	alone := candidates(1)
	alone[0].Share = 0.1
	if (&roundRobin{intn: Random}).Pick(alone, 0) != 0 || (random{Random}).Pick(alone, 0) != 0 {
		t.Error("the only candidate was not picked")
	}
}
