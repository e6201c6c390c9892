package routing

import (
	"slices"
	"time"
)

// leastInFlight picks a candidate with the fewest open requests for its weight. Among equal
// candidates it picks at random.
type leastInFlight struct{ intn func(n int) int }

func (l leastInFlight) Pick(c []Candidate, _ uint64) int {
	best, ties := 0, 0
	for i := range c {
		switch a, b := c[i].queue(), c[best].queue(); {
		case a < b:
			best, ties = i, 1
		case a == b:
			if ties++; l.intn(ties) == 0 { // each has the same chance
				best = i
			}
		}
	}
	return best
}

// queue returns the open requests for the candidate's weight, including the request to be placed.
func (c *Candidate) queue() float64 { return float64(c.InFlight+1) / c.weight() }

// powerOfTwo draws two candidates and picks the one that is likely to respond sooner: usual time to
// first token times open requests. A candidate without a known latency counts as the median of the
// others, so that a new one is neither flooded nor ignored.
type powerOfTwo struct{ intn func(n int) int }

func (p powerOfTwo) Pick(c []Candidate, _ uint64) int {
	if len(c) == 1 {
		return 0
	}
	first := p.intn(len(c))
	second := p.intn(len(c) - 1)
	if second >= first {
		second++
	}
	var median time.Duration
	if c[first].Latency == 0 || c[second].Latency == 0 {
		median = medianLatency(c)
	}
	if c[second].wait(median) < c[first].wait(median) {
		return second
	}
	return first
}

// wait returns the expected time to the first token, for the candidate's weight.
func (c *Candidate) wait(median time.Duration) float64 {
	latency := c.Latency
	if latency == 0 {
		latency = median
	}
	return max(latency.Seconds(), 1e-9) * c.queue()
}

func medianLatency(c []Candidate) time.Duration {
	var room [16]time.Duration
	known := room[:0]
	for i := range c {
		if c[i].Latency > 0 {
			known = append(known, c[i].Latency)
		}
	}
	if len(known) == 0 {
		return 0
	}
	slices.Sort(known)
	return known[len(known)/2]
}
