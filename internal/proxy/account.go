package proxy

import (
	"time"

	"claude-code-lb/internal/ledger"
)

// account notes what an attempt's answer has told so far, and what that costs.
func (x *exchange) account(a *answer) {
	note := &x.entry.Attempts[a.place]
	note.Duration, note.Answer = time.Since(a.start), a.message
	note.Answer.Usage.OutputTokens = a.message.Output()
	if note.Known() && x.req.Settings.Prices != nil {
		note.Cost = x.price(a, note)
	}
}

// price is what an attempt costs as far as its answer has come. What did not reach the client was wasted, and so was
// writing anew what another account had in its cache.
func (x *exchange) price(a *answer, note *ledger.Attempt) ledger.Cost {
	prices, u, multiplier := x.req.Settings.Prices, note.Answer.Usage, a.lease.Price()
	model := a.message.Model
	if model == "" {
		model = x.entry.Model
	}
	cost := prices.Cost(model, u, multiplier)
	switch elsewhere := note.Warmest - u.CacheReadTokens; {
	case !note.Served && x.ctx.Err() == nil:
		cost.Wasted = cost.Sum
	case note.Warmest > note.Warm && elsewhere > 0:
		cost.Wasted = prices.Rewritten(model, u, elsewhere, multiplier)
	}
	return cost
}
