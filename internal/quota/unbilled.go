package quota

import (
	"math"

	"github.com/9bingyin/claude-code-lb/internal/claude"
	"github.com/9bingyin/claude-code-lb/internal/ledger"
)

// unbilled returns what a request is charged beyond the usage that its attempts reported: attempts
// without a report when the client left, and models without a price. Otherwise prompts would be
// free for clients that always leave early.
func (p *Reservation) unbilled(e *ledger.Entry) (tokens int64, cost ledger.Money) {
	for i := range e.Attempts {
		a := &e.Attempts[i]
		told := a.Usage()
		used := told
		if !a.Known() && e.Outcome == ledger.ClientGone && a.Scope == leftScope && i == len(e.Attempts)-1 {
			used = p.estimate // it may be billed, and no report will come
			if e.Stream {
				used.OutputTokens = 0
			}
		}
		tokens += charged(used) - charged(told)
		if p.price == nil || used == (claude.Usage{}) {
			continue
		}
		switch whole := p.price(used).Sum; {
		case a.Known() && !a.Cost.Known:
			cost = plus(cost, max(whole-a.Cost.Sum, 0))
		case used != told:
			cost = plus(cost, max(whole-p.price(told).Sum, 0))
		}
	}
	return tokens, cost
}

// leftScope is the scope of an attempt that ended because its client left.
const leftScope = "client"

// charged returns the tokens that count towards a rate.
func charged(u claude.Usage) int64 { return u.InputTokens + u.CacheCreationTokens() + u.OutputTokens }

// plus adds amounts, one of which may be the maximum because of absurd numbers in a response.
func plus(a, b ledger.Money) ledger.Money {
	if b > 0 && a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return a + b
}
