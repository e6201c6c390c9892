package routing

import (
	"time"

	"github.com/9bingyin/claude-code-lb/internal/upstream"
)

// Choice is the result of Next.
type Choice struct {
	Lease  *upstream.Lease // nil if Next returned an error
	Warmth Warmth          // what the account of the lease has cached of the prompt
	// Considered lists the endpoints that were not available before the choice was made. If the
	// query asks to explain, it lists every endpoint of the table in the order of the tiers.
	Considered []Considered
	// Placement lists every endpoint of the table, if the query asks for it and a conversation without
	// a home was placed.
	Placement []Considered
}

// Considered is an endpoint with the reason why it was chosen or not.
type Considered struct {
	Endpoint *upstream.Endpoint
	Reason   Reason
	View     upstream.View // state of the endpoint; zero for AlreadyTried and OtherAccount
	Cached   int64         // tokens of the prompt that its account has cached
	Score    float64       // of the policy, higher is better; 0 if the policy has none
}

// Reason is why an endpoint was chosen or not.
type Reason uint8

const (
	// Chosen is the endpoint of the lease.
	Chosen Reason = iota
	// Unfit endpoints are not available; View.Unfit has the cause.
	Unfit
	// AlreadyTried endpoints have failed for this request.
	AlreadyTried
	// OtherAccount is an endpoint whose account does not keep the resource that the request names.
	OtherAccount
	// Avoided endpoints serve the path, but not messages; others are preferred.
	Avoided
	// NotHome is an endpoint whose account does not have the conversation that the chosen one has
	// cached.
	NotHome
	// LowerTier is an endpoint of a tier after the chosen one.
	LowerTier
	// Outscored endpoints were available, and the policy picked another one of the tier.
	Outscored
)

// String returns the code of the reason.
func (r Reason) String() string {
	names := [...]string{"chosen", "unfit", "already_tried", "other_account", "avoided", "not_home", "lower_tier", "outscored"}
	if int(r) >= len(names) {
		return "unknown"
	}
	return names[r]
}

// scorer is a Policy that ranks candidates by a number.
type scorer interface {
	// Score ranks a candidate among those of its tier; higher is better.
	Score(c *Candidate, key uint64) float64
}

// explain lists every endpoint with its reason. It looks after the choice was made, so that the
// search itself costs nothing more.
func (t *Table) explain(q *Query, f *placement, tried *Tried, c *Choice, now time.Time) []Considered {
	all := make([]Considered, 0, 8)
	chosen := len(t.tiers)
	for i, tier := range t.tiers {
		for _, e := range tier {
			if c.Lease != nil && c.Lease.Endpoint == e {
				chosen = i
			}
		}
	}
	for i, tier := range t.tiers {
		for _, e := range tier {
			all = append(all, Considered{Endpoint: e})
			t.explainOne(q, f, tried, &all[len(all)-1], i, chosen, c, now)
		}
	}
	return all
}

func (t *Table) explainOne(q *Query, f *placement, tried *Tried, out *Considered, tier, chosen int, c *Choice, now time.Time) {
	e := out.Endpoint
	isChosen := c.Lease != nil && c.Lease.Endpoint == e
	switch {
	case !isChosen && q.Account != nil && e.CacheScope() != *q.Account:
		out.Reason = OtherAccount
		return
	case !isChosen && tried.Has(e.ID()):
		out.Reason = AlreadyTried
		return
	}
	out.View = e.View(now, f.subject(q, e))
	warmth, _ := f.cachedTokens(e.CacheScope())
	out.Cached = warmth.Cached
	if policy, ok := t.policy.(scorer); ok {
		candidate := f.candidate(e, out.View)
		out.Score = policy.Score(&candidate, q.key())
	}
	switch {
	case isChosen:
		out.Reason = Chosen
	case out.View.Unfit != upstream.Fit:
		out.Reason = Unfit
	case out.View.Avoid:
		out.Reason = Avoided
	case c.Warmth.Home:
		out.Reason = NotHome
	case tier > chosen:
		out.Reason = LowerTier
	default:
		out.Reason = Outscored
	}
}
