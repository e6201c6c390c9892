package ledger

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"math"
	"path"
	"strconv"
	"strings"
	"sync"

	"claude-code-lb/internal/claude"
)

// Money is an amount in nano-dollars: the price of a token is a whole number of
// them, so that sums do not drift.
type Money int64

// dollar is one dollar.
const dollar Money = 1e9

// String writes dollars, such as "0.012345".
func (m Money) String() string {
	return strconv.FormatFloat(m.Dollars(), 'f', 6, 64)
}

// Exact writes dollars to the last nano-dollar, such as "0.012345678" or "3".
func (m Money) Exact() string {
	sign, n := "", uint64(m)
	if m < 0 {
		sign, n = "-", -n
	}
	s := fmt.Sprintf("%s%d.%09d", sign, n/uint64(dollar), n%uint64(dollar))
	return strings.TrimSuffix(strings.TrimRight(s, "0"), ".")
}

// USD is an amount in dollars as money, rounded to nano-dollars.
func USD(dollars float64) Money { return money(dollars * float64(dollar)) }

// Dollars is the amount in dollars, for what is not exact anyway.
func (m Money) Dollars() float64 { return float64(m) / float64(dollar) }

// Price is what the tokens of some models cost, in dollars per million.
type Price struct {
	Model        string  `json:"model"` // pattern as of path.Match, without regard to case
	Input        float64 `json:"input"`
	CacheWrite5m float64 `json:"cache_write_5m"`
	CacheWrite1h float64 `json:"cache_write_1h"`
	CacheRead    float64 `json:"cache_read"`
	Output       float64 `json:"output"`
	// Above is the size of the prompt in tokens, cached ones included, beyond which the price holds; 0: any size.
	Above int64 `json:"above"`
}

// Prices is a table of prices. The first one that fits holds. It is never changed, but for what it remembers
// of models that it was asked about. Safe for concurrent use.
type Prices struct {
	Date      string  `json:"date"`
	Source    string  `json:"source"`
	Batch     float64 `json:"batch"`      // part of the price that a batch pays
	WebSearch float64 `json:"web_search"` // dollars per search
	Models    []Price `json:"models"`

	mu    sync.RWMutex
	found map[string][]Price // by model: those whose pattern fits
}

//go:embed prices.json
var listPrices []byte

// ListPrices are the published ones, as of their Date.
func ListPrices() *Prices {
	var p Prices
	if err := json.Unmarshal(listPrices, &p); err != nil {
		panic("ledger: prices.json: " + err.Error())
	}
	return &p
}

// With makes a table in which other prices come before those of this one.
func (p *Prices) With(first []Price) *Prices {
	return &Prices{Date: p.Date, Source: p.Source, Batch: p.Batch, WebSearch: p.WebSearch, Models: append(append([]Price{}, first...), p.Models...)}
}

// Cost is the money side of an attempt.
type Cost struct {
	Sum    Money
	Saved  Money // what the prompt cache saved: the tokens read from it at the price of uncached ones, less what they cost
	Wasted Money // of Sum, what another choice of server would not have cost
	Known  bool  // the model's price is known; else all are zero
}

// Cost is what an answer costs at a server that charges a multiple of the list
// price. It is not Known when the model's price is not: that is not free.
func (p *Prices) Cost(model string, u claude.Usage, multiplier float64) Cost {
	price, ok := p.find(model, max(u.TotalInputTokens(), 0))
	if !ok {
		return Cost{}
	}
	return p.at(price, u, multiplier)
}

// at is what an answer costs at a price.
func (p *Prices) at(price Price, u claude.Usage, multiplier float64) Cost {
	sum := tokens(u.InputTokens, price.Input) + tokens(u.OutputTokens, price.Output) + tokens(u.CacheReadTokens, price.CacheRead) +
		tokens(u.CacheCreation5mTokens, price.CacheWrite5m) + tokens(u.CacheCreation1hTokens, price.CacheWrite1h)
	factor := p.factor(u, multiplier)
	sum += float64(max(u.WebSearchRequests, 0)) * p.WebSearch * float64(dollar)
	saved := tokens(u.CacheReadTokens, price.Input) - tokens(u.CacheReadTokens, price.CacheRead)
	return Cost{Sum: ofAnswer(sum * factor), Saved: ofAnswer(saved * factor), Known: true}
}

// AtMost is Cost for those who want to be on the safe side: a model without a price costs as much as the dearest one.
func (p *Prices) AtMost(model string, u claude.Usage, multiplier float64) Cost {
	cost := p.Cost(model, u, multiplier)
	if cost.Known {
		return cost
	}
	for _, each := range p.Models { // those for long prompts included: on the safe side
		if other := p.at(each, u, multiplier); other.Sum > cost.Sum {
			cost = other
		}
	}
	return cost
}

// Rewritten is what it cost to write tokens into the cache, or to read them without one, that another account could
// have read from its own. No more are counted than the answer did write or read so.
func (p *Prices) Rewritten(model string, u claude.Usage, n int64, multiplier float64) Money {
	price, ok := p.find(model, max(u.TotalInputTokens(), 0))
	if !ok {
		return 0
	}
	n = min(n, u.InputTokens+u.CacheCreationTokens())
	hour := min(n, u.CacheCreation1hTokens)
	short := min(n-hour, u.CacheCreation5mTokens)
	plain := n - hour - short
	paid := tokens(hour, price.CacheWrite1h) + tokens(short, price.CacheWrite5m) + tokens(plain, price.Input)
	return ofAnswer(max(paid-tokens(n, price.CacheRead), 0) * p.factor(u, multiplier))
}

func (p *Prices) factor(u claude.Usage, multiplier float64) float64 {
	if u.ServiceTier == "batch" {
		return multiplier * p.Batch
	}
	return multiplier
}

// ofAnswer rounds an amount in nano-dollars for one answer. Nonsense in it may have made the amount absurd, and it is bounded
// so that sums over many answers do not overflow.
func ofAnswer(nano float64) Money {
	const most = float64(10_000 * dollar)
	return money(max(min(nano, most), -most))
}

// money rounds an amount in nano-dollars, however large.
func money(nano float64) Money { return Money(math.Round(min(nano, math.MaxInt64/2))) }

// tokens costs some tokens at a price per million, in nano-dollars.
func tokens(n int64, perMillion float64) float64 {
	return float64(max(n, 0)) * math.Round(perMillion*1000)
}

func (p *Prices) find(model string, prompt int64) (Price, bool) {
	for _, each := range p.fitting(model) {
		if each.Above == 0 || prompt > each.Above {
			return each, true
		}
	}
	return Price{}, false
}

// remembered is for how many models the prices are remembered: names come from clients and upstreams.
const remembered = 1000

// fitting are the prices for a model, those for long prompts included.
func (p *Prices) fitting(model string) []Price {
	p.mu.RLock()
	list, known := p.found[model]
	p.mu.RUnlock()
	if known {
		return list
	}
	name := strings.ReplaceAll(strings.ToLower(model), ".", "-")
	for _, each := range p.Models {
		if fits, _ := path.Match(strings.ToLower(each.Model), name); fits {
			list = append(list, each)
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.found == nil || len(p.found) >= remembered {
		p.found = map[string][]Price{}
	}
	p.found[strings.Clone(model)] = list
	return list
}
