package routing

import (
	"math/rand/v2"
	"testing"
	"time"
)

// fixed replaces random numbers: it always returns the middle of the range.
func fixed(n int) int { return n / 2 }

func TestLeastInFlight(t *testing.T) {
	f := func(want int, c ...Candidate) {
		t.Helper()
		for i := range c {
			c[i].Share = 1
		}
		if got := (leastInFlight{fixed}).Pick(c, 0); got != want {
			t.Errorf("%v: got %d, want %d", c, got, want)
		}
	}
	f(0, Candidate{Weight: 1})
	f(1, Candidate{Weight: 1, InFlight: 2}, Candidate{Weight: 1, InFlight: 1}, Candidate{Weight: 1, InFlight: 3})
	f(0, Candidate{Weight: 3, InFlight: 4}, Candidate{Weight: 1, InFlight: 1}) // 5/3 against 2
	f(1, Candidate{Weight: 1, InFlight: 9}, Candidate{Weight: 2, InFlight: 0})

	counts := [3]int{}
	for range 3000 {
		counts[(leastInFlight{rand.IntN}).Pick([]Candidate{{Weight: 1, Share: 1}, {Weight: 1, Share: 1}, {Weight: 1, Share: 1}}, 0)]++
	}
	for _, n := range counts {
		if n < 800 || n > 1200 {
			t.Errorf("ties fall on %v", counts)
		}
	}
}

func TestPowerOfTwo(t *testing.T) {
	f := func(want int, c ...Candidate) {
		t.Helper()
		for i := range c {
			c[i].Weight, c[i].Share = 1, 1
		}
		first := func(n int) int { return 0 } // draws the first two
		if got := (powerOfTwo{first}).Pick(c, 0); got != want {
			t.Errorf("%v: got %d, want %d", c, got, want)
		}
	}
	s := time.Second
	f(0, Candidate{})
	f(1, Candidate{Latency: 3 * s}, Candidate{Latency: 2 * s})
	f(0, Candidate{Latency: 3 * s}, Candidate{Latency: 2 * s, InFlight: 1})
	f(0, Candidate{Latency: 3 * s}, Candidate{Latency: 4 * s}, Candidate{Latency: 1 * s})              // the third is not drawn
	f(1, Candidate{Latency: 9 * s}, Candidate{}, Candidate{Latency: 4 * s}, Candidate{Latency: 4 * s}) // the latency is unknown: the median counts
	f(0, Candidate{Latency: 3 * s}, Candidate{}, Candidate{Latency: 4 * s}, Candidate{Latency: 4 * s})
	f(1, Candidate{InFlight: 1}, Candidate{}) // no latency is known

	// One candidate is ten times as slow: it gets work only when both drawn candidates are that
	// one.
	counts := [4]int{}
	for range 4000 {
		c := []Candidate{{Latency: 10 * s}, {Latency: s}, {Latency: s}, {Latency: s}}
		for i := range c {
			c[i].Weight, c[i].Share = 1, 1
		}
		counts[(powerOfTwo{rand.IntN}).Pick(c, 0)]++
	}
	if counts[0] != 0 || min(counts[1], counts[2], counts[3]) < 1000 {
		t.Errorf("%v", counts)
	}
}

// team returns candidates of one price, with loads in hundreds of thousands of tokens.
func team(loads ...float64) []Candidate {
	var c []Candidate
	for i, load := range loads {
		c = append(c, Candidate{Weight: 1, Share: 1, Price: 1, Load: load * 1e5, domain: mix(uint64(i) + 1)})
	}
	return c
}

func TestCostAware(t *testing.T) {
	f := func(name string, c []Candidate, want ...int) {
		t.Helper()
		seen := map[int]bool{}
		for key := range uint64(200) {
			seen[costAware{}.Pick(c, mix(key))] = true
		}
		for _, i := range want {
			if !seen[i] {
				t.Errorf("%s: never %d, but %v", name, i, seen)
			}
		}
		if len(seen) != len(want) {
			t.Errorf("%s: %v, want %v", name, seen, want)
		}
	}
	f("one", team(50), 0)
	f("nothing is known", team(0, 0, 0), 0, 1, 2)
	f("the least loaded", team(50, 40, 60), 1)
	f("the least loaded, about", team(50, 50.1, 60), 0, 1)

	holding := team(50, 40, 45)
	holding[0].Cached = 0.3
	f("where some of it is cached", holding, 0)
	holding[0].Load *= 1.5
	f("unless it is loaded above the others", holding, 1)
	holding[0].Load /= 1.5
	holding[2].Cached = 0.31
	f("the less loaded of those that hold about the same", holding, 2)

	cheap := team(50, 40, 45)
	cheap[0].Price = 0.5
	f("where it costs less", cheap, 0)

	heavy := team(80, 30)
	heavy[0].Weight = 4
	f("load counts by weight", heavy, 0)
}

// TestRendezvous removes one account: only its conversations move.
func TestRendezvous(t *testing.T) {
	const conversations = 10_000
	all := team(0, 0, 0, 0, 0, 0, 0, 0)
	all[7].Weight = 3
	fewer := append(all[:3:3], all[4:]...)
	counts := map[uint64]int{}
	for key := range uint64(conversations) {
		before := all[costAware{}.Pick(all, mix(key))].domain
		after := fewer[costAware{}.Pick(fewer, mix(key))].domain
		counts[before]++
		if before != all[3].domain && before != after {
			t.Fatal("a conversation of another account moved")
		}
	}
	for i, c := range all {
		if share := float64(counts[c.domain]) / conversations * 10; share < 0.9*float64(c.Weight) || share > 1.1*float64(c.Weight) {
			t.Errorf("account %d of weight %d has %.2f tenths", i, c.Weight, share)
		}
	}
}
