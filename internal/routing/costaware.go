package routing

import "math"

const (
	// loadBound is the multiple of the mean load up to which an account gets new conversations.
	loadBound = 1.25
	// slack is the load, in tokens, up to which an account never counts as loaded: with little
	// traffic, a prefix that agents of one kind share is written once, not once per account.
	slack = 200_000
	// alike is the part of a prompt's price by which two accounts may differ and still count as
	// equally cheap.
	alike = 0.05
	// even is the part of the load bound by which two accounts may differ and still count as
	// equally loaded.
	even = 0.02

	// Price of an input token that is written to or read from the cache, relative to one that is
	// neither (pricing docs).
	written = 1.25
	read    = 0.1
)

// costAware places a conversation that no account has cached. It considers the accounts that are
// not loaded above the others, of those the cheapest ones, which have most of the common prefix
// cached, and picks the least loaded. If several are equal, as after a start, rendezvous hashing
// decides: every balancer picks the same account, and an account that is added or removed moves no
// other account's conversations.
type costAware struct{}

func (costAware) Pick(c []Candidate, key uint64) int {
	limit := boundOf(c)
	cheapest := math.Inf(1)
	for i := range c {
		if c[i].load() <= limit {
			cheapest = min(cheapest, c[i].cost())
		}
	}
	fits := func(c *Candidate) bool { return c.load() <= limit && c.cost() <= cheapest+alike*c.Price }
	least := math.Inf(1)
	for i := range c {
		if fits(&c[i]) {
			least = min(least, c[i].load())
		}
	}
	best, score := -1, 0.0
	for i := range c {
		if !fits(&c[i]) || c[i].load() > least+even*limit {
			continue
		}
		if s := c[i].score(key); s > score {
			best, score = i, s
		}
	}
	return best
}

// Score implements scorer: a cheaper prompt token, then a lower load, gives a higher score.
func (costAware) Score(c *Candidate, _ uint64) float64 { return -c.cost() - c.load()/1e12 }

// boundOf returns the load up to which candidates get new conversations. At least one is always
// below it.
func boundOf(c []Candidate) float64 {
	tokens, weight := 0.0, 0.0
	for i := range c {
		tokens += c[i].Load
		weight += c[i].weight()
	}
	return (loadBound*tokens + slack*float64(len(c))) / weight
}

// cost returns the price of a prompt token at the candidate, relative to the list price.
func (c *Candidate) cost() float64 { return c.Price * (written - (written-read)*c.Cached) }

// weight returns the weight that the candidate has now.
func (c *Candidate) weight() float64 { return float64(c.Weight) * c.Share }

// load returns the recent tokens of the candidate's account, for its weight.
func (c *Candidate) load() float64 { return c.Load / c.weight() }

// score returns the candidate's weighted rendezvous score for a key. The highest score wins.
func (c *Candidate) score(key uint64) float64 {
	h := mix(key ^ mix(c.domain))
	u := (float64(h>>11) + 0.5) / (1 << 53) // above 0 and below 1
	return -c.weight() / math.Log(u)
}

// mix spreads a number over all of its bits (the finalizer of splitmix64).
func mix(h uint64) uint64 {
	h ^= h >> 30
	h *= 0xbf58476d1ce4e5b9
	h ^= h >> 27
	h *= 0x94d049bb133111eb
	return h ^ h>>31
}
