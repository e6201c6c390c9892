package routing

import (
	"slices"
	"sync"

	"github.com/9bingyin/claude-code-lb/internal/config"
	"github.com/9bingyin/claude-code-lb/internal/upstream"
)

func newPolicy(a config.Algorithm, rnd func(n int) int) Policy {
	switch a {
	case config.WeightedRoundRobin:
		return &weightedRoundRobin{}
	case config.Random:
		return random{rnd}
	case config.LeastInFlight:
		return leastInFlight{rnd}
	case config.PowerOfTwo:
		return powerOfTwo{rnd}
	case config.CostAware:
		return costAware{}
	default:
		return &roundRobin{intn: rnd}
	}
}

// admitted keeps a candidate in slow start only with the probability of its share, unless all
// candidates are in slow start.
func admitted(c []Candidate, intn func(n int) int) []Candidate {
	const whole = 1000
	ramping := func(c Candidate) bool { return c.Share < 1 }
	if !slices.ContainsFunc(c, ramping) || !slices.ContainsFunc(c, func(c Candidate) bool { return !ramping(c) }) {
		return c
	}
	return slices.DeleteFunc(slices.Clone(c), func(c Candidate) bool { return ramping(c) && intn(whole) >= int(whole*c.Share) })
}

// first picks the candidates in their order.
type first struct{}

func (first) Pick([]Candidate, uint64) int { return 0 }

// random picks every candidate with the same probability.
type random struct{ intn func(n int) int }

func (r random) Pick(c []Candidate, _ uint64) int {
	from := admitted(c, r.intn)
	return indexOf(c, from[r.intn(len(from))].ID)
}

// roundRobin picks the candidates in turn. It remembers the last pick, not a position, so that a
// candidate that drops out skips no other.
type roundRobin struct {
	intn  func(n int) int
	mu    sync.Mutex
	order []upstream.ID // all candidates so far, in the order of the configuration
	last  int           // index into order; valid if order is not empty
}

func (r *roundRobin) Pick(c []Candidate, _ uint64) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.order) == 0 {
		r.last = -1
	}
	r.learn(c)
	from := admitted(c, r.intn)
	best, at, nearest, n := 0, 0, 0, len(r.order)
	for i := range from {
		place := r.find(from[i].ID, at)
		if ahead := (place - r.last - 1 + n) % n; i == 0 || ahead < nearest {
			best, nearest = i, ahead
		}
		at = place + 1
	}
	r.last = (r.last + 1 + nearest) % n
	return indexOf(c, from[best].ID)
}

// find returns a candidate's index in the order, -1 if it is missing. It searches from the expected
// position, because candidates come in nearly the same order.
func (r *roundRobin) find(id upstream.ID, at int) int {
	if i := slices.Index(r.order[at:], id); i >= 0 {
		return at + i
	}
	return slices.Index(r.order[:at], id)
}

// learn inserts new candidates after the one that precedes them in c.
func (r *roundRobin) learn(c []Candidate) {
	at := 0
	for _, candidate := range c {
		if i := r.find(candidate.ID, at); i >= 0 {
			at = i + 1
			continue
		}
		r.order = slices.Insert(r.order, at, candidate.ID)
		if at <= r.last {
			r.last++
		}
		at++
	}
}

// weightedRoundRobin is smooth: in every sequence of as many picks as the sum of the weights, each
// candidate is picked exactly as often as its weight, and its picks are spread out. The guarantee
// starts again when the set of candidates changes, because the credits of another set would distort
// it.
type weightedRoundRobin struct {
	mu     sync.Mutex
	set    []upstream.ID
	credit []float64
}

func (w *weightedRoundRobin) Pick(c []Candidate, _ uint64) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !slices.EqualFunc(w.set, c, func(id upstream.ID, c Candidate) bool { return id == c.ID }) {
		w.set, w.credit = w.set[:0], slices.Grow(w.credit[:0], len(c))[:len(c)]
		clear(w.credit)
		for _, candidate := range c {
			w.set = append(w.set, candidate.ID)
		}
	}
	best, total := 0, 0.0
	for i, candidate := range c {
		weight := float64(candidate.Weight) * candidate.Share
		total += weight
		w.credit[i] += weight
		if w.credit[i] > w.credit[best] {
			best = i
		}
	}
	w.credit[best] -= total
	return best
}

func indexOf(c []Candidate, id upstream.ID) int {
	return slices.IndexFunc(c, func(c Candidate) bool { return c.ID == id })
}
