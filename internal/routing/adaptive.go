package routing

import (
	"slices"
	"time"
)

// leastInFlight takes the candidate with the fewest open requests for its
// weight, and any of several such.
type leastInFlight struct{ intn func(n int) int }

func (l leastInFlight) Pick(c []Candidate, _ uint64) int {
	best, ties := 0, 0
	for i := range c {
		switch a, b := c[i].queue(), c[best].queue(); {
		case a < b:
			best, ties = i, 1
		case a == b:
			if ties++; l.intn(ties) == 0 { // each of them with the same chance
				best = i
			}
		}
	}
	return best
}

// queue is the open requests for the candidate's weight, the one to be placed included.
func (c *Candidate) queue() float64 { return float64(c.InFlight+1) / c.weight() }

// powerOfTwo draws two candidates and takes the one where a request is likely
// to begin sooner: its usual time to first token times its open requests. Whoever is not known yet
// counts as the median of the others, so that a new one is neither flooded nor left out.
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

// wait is how long a request is likely to wait for its first token, for the candidate's weight.
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
