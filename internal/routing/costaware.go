package routing

import "math"

const (
	// loadBound is how far above the mean load an account may be and still be given new conversations.
	loadBound = 1.25
	// slack is the tokens of load up to which an account is never too loaded: with little to do, what agents
	// of one kind begin with is written once, not once per account.
	slack = 200_000
	// alike is the part of a prompt's price by which two accounts may differ and still count as equal.
	alike = 0.05
	// even is the part of the bound by which two accounts may differ and still count as equal.
	even = 0.02

	// What an input token costs in terms of one that is neither written to the cache nor read from it (pricing docs).
	written = 1.25
	read    = 0.1
)

// costAware places a conversation that is cached nowhere: among the accounts
// that are not loaded above the others, and of these the ones where it is
// cheapest, for they hold most of what conversations share, it takes the least loaded one. Where that leaves a
// choice, as after a start, rendezvous hashing decides: everybody finds the same
// account, and one that goes or comes moves no other account's conversations.
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

// Score implements scorer: the cheaper a prompt token, and the lower the load, the higher.
func (costAware) Score(c *Candidate, _ uint64) float64 { return -c.cost() - c.load()/1e12 }

// boundOf is the load up to which candidates are given new conversations: someone is always below it.
func boundOf(c []Candidate) float64 {
	tokens, weight := 0.0, 0.0
	for i := range c {
		tokens += c[i].Load
		weight += c[i].weight()
	}
	return (loadBound*tokens + slack*float64(len(c))) / weight
}

// cost is that of a prompt token at the candidate, in terms of one at list price.
func (c *Candidate) cost() float64 { return c.Price * (written - (written-read)*c.Cached) }

// weight is what the candidate is up to now.
func (c *Candidate) weight() float64 { return float64(c.Weight) * c.Share }

// load is the tokens given to the candidate's account lately, for its weight.
func (c *Candidate) load() float64 { return c.Load / c.weight() }

// score is the candidate's weighted rendezvous score for a key: the highest one wins.
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
