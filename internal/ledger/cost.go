package ledger

import (
	"cmp"

	"github.com/9bingyin/claude-code-lb/internal/claude"
)

// Cost is the cost of an attempt.
type Cost struct {
	Sum    Money
	Saved  Money // savings by the prompt cache: tokens read from it at the price of uncached ones, minus their cost
	Wasted Money // part of Sum that another choice of server would have avoided
	Known  bool  // every part has a price; otherwise Sum is the sum of the known parts
	// Unpriced names the part without a known price, such as "model gpt-1" or "speed turbo"; "" if
	// Known.
	Unpriced string
}

// Extra is a model call within a response that is billed separately, at the price of its own model.
type Extra struct {
	Type  string // as in usage.iterations, or BatchResult
	Model string
	Usage claude.Usage
	Sum   Money // part of the attempt's cost
}

// BatchResult is the type of the model calls of a batch whose results were fetched.
const BatchResult = "batch"

// charge is the cost of one model call in nano-dollars, before the server's multiplier.
type charge struct {
	sum, saved float64
	unpriced   string
}

// Cost returns the cost of a response of a single model call, at a server that charges a multiple
// of the list price.
func (p *Prices) Cost(model string, u claude.Usage, multiplier float64) Cost {
	cost, _ := p.Bill(model, &claude.Bill{Usage: u}, multiplier)
	return cost
}

// Bill returns the cost of a response at a server that charges a multiple of the list price, and
// the further model calls that are billed separately, whose costs it includes. The price of a call
// may depend on the size of its own prompt.
func (p *Prices) Bill(model string, b *claude.Bill, multiplier float64) (Cost, []Extra) {
	total := p.own(model, b)
	var extra []Extra
	for _, each := range b.Extra {
		u := inherit(each, b.Usage, model)
		name := cmp.Or(each.Model, model)
		c := p.charge(name, u)
		extra = append(extra, Extra{each.Type, name, u, ofAnswer(c.sum * multiplier)})
		total.sum += c.sum
		total.saved += c.saved
		total.unpriced = cmp.Or(total.unpriced, c.unpriced)
	}
	if b.Unknown != "" {
		total.unpriced = cmp.Or(total.unpriced, "iteration "+b.Unknown)
	}
	cost := Cost{
		Sum: ofAnswer(total.sum * multiplier), Saved: ofAnswer(total.saved * multiplier), Known: total.unpriced == "", Unpriced: total.unpriced,
	}
	rest := cost.Sum // rounding and bounds must not make the parts exceed the total
	for i := range extra {
		extra[i].Sum = min(extra[i].Sum, rest)
		rest -= extra[i].Sum
	}
	return cost, extra
}

// own returns the charge for the response's model.
func (p *Prices) own(model string, b *claude.Bill) charge {
	switch {
	case b.Free:
		return charge{}
	case len(b.Calls) == 0:
		return p.charge(model, b.Usage)
	}
	return p.calls(model, b)
}

// calls returns the charge for a response with several calls of its model.
func (p *Prices) calls(model string, b *claude.Bill) charge {
	var total charge
	rest := b.Usage // uses of server tools belong to the response as a whole
	rest.InputTokens, rest.OutputTokens, rest.CacheReadTokens, rest.CacheCreation5mTokens, rest.CacheCreation1hTokens = 0, 0, 0, 0, 0
	for _, call := range append(b.Calls[:len(b.Calls):len(b.Calls)], rest) {
		call.Speed, call.ServiceTier, call.InferenceGeo = b.Usage.Speed, b.Usage.ServiceTier, b.Usage.InferenceGeo
		c := p.charge(model, call)
		total.sum += c.sum
		total.saved += c.saved
		total.unpriced = cmp.Or(total.unpriced, c.unpriced)
	}
	return total
}

// inherit completes the usage of a further call with the dimensions that the response reports for
// all calls. Speed and priority apply to the response's model only; a batch and the region apply to
// all.
func inherit(call claude.Iteration, answer claude.Usage, model string) claude.Usage {
	u := call.Usage
	u.InferenceGeo = cmp.Or(u.InferenceGeo, answer.InferenceGeo)
	same := call.Model == "" || claude.SameModel(call.Model, model)
	if same {
		u.Speed = cmp.Or(u.Speed, answer.Speed)
	}
	if same || answer.ServiceTier == tierBatch {
		u.ServiceTier = cmp.Or(u.ServiceTier, answer.ServiceTier)
	}
	return u
}

const tierBatch = "batch"

// charge returns the cost of one call of a model.
func (p *Prices) charge(model string, u claude.Usage) charge {
	f, ok := p.find(model, max(u.TotalInputTokens(), 0))
	if !ok {
		return charge{unpriced: "model " + model}
	}
	return f.charge(u)
}

func (f *fitting) charge(u claude.Usage) charge {
	price := &f.price
	sum := tokens(u.InputTokens, price.Input) + tokens(u.OutputTokens, price.Output) + tokens(u.CacheReadTokens, price.CacheRead) +
		tokens(u.CacheCreation5mTokens, price.CacheWrite5m) + tokens(u.CacheCreation1hTokens, price.CacheWrite1h)
	saved := tokens(u.CacheReadTokens, price.Input) - tokens(u.CacheReadTokens, price.CacheRead)
	factor, unpriced := f.factor(u)
	c := charge{sum: sum * factor, saved: saved * factor, unpriced: unpriced}
	f.addTools(&c, u)
	return c
}

// factor returns the multiplier for the price of tokens. A value without a known price counts as 1,
// and unpriced names it.
func (f *fitting) factor(u claude.Usage) (factor float64, unpriced string) {
	factor = 1
	for _, each := range [...]struct {
		name, value string
		of          func(*Dimensions) map[string]float64
	}{{"speed", u.Speed, speeds}, {"service_tier", u.ServiceTier, tiers}, {"inference_geo", u.InferenceGeo, geos}} {
		if each.value == "" {
			continue
		}
		n, ok := lookup(f.dims, each.of, each.value)
		if ok {
			factor *= n
		} else if unpriced == "" {
			unpriced = each.name + " " + each.value
		}
	}
	return factor, unpriced
}

// addTools adds the cost of server tools: regardless of the tier, a batch has no discount on them
// (docs: web search tool).
func (f *fitting) addTools(c *charge, u claude.Usage) {
	for _, each := range [...]struct {
		name string
		n    int64
	}{{WebSearch, u.WebSearchRequests}, {CodeExecution, u.CodeRequests}, {"", u.OtherToolRequests}} {
		if each.n <= 0 {
			continue
		}
		price, ok := lookup(f.dims, tools, each.name)
		if !ok {
			c.unpriced = cmp.Or(c.unpriced, "server tool "+cmp.Or(each.name, "of another kind"))
		}
		c.sum += float64(each.n) * price * float64(dollar)
	}
}

// UpperBound returns an upper bound of Cost: without a known price, the most expensive known price
// applies.
func (p *Prices) UpperBound(model string, u claude.Usage, multiplier float64) Cost {
	cost := p.Cost(model, u, multiplier)
	if cost.Known {
		return cost
	}
	u = p.mostExpensive(u)
	for i := range p.Models { // including those for long prompts
		each := fitting{p.Models[i], []*Dimensions{&p.Models[i].Dimensions, &p.Dimensions}}
		if each.price.Input < 0 {
			continue
		}
		if sum := ofAnswer(each.charge(u).sum * multiplier); sum > cost.Sum {
			cost.Sum = sum
		}
	}
	cost.Known, cost.Unpriced = true, ""
	return cost
}

// mostExpensive replaces dimensions of a usage without a known price by the most expensive known
// ones.
func (p *Prices) mostExpensive(u claude.Usage) claude.Usage {
	replace := func(value *string, known map[string]float64, by string) {
		if _, ok := known[*value]; !ok && *value != "" {
			*value = by
		}
	}
	replace(&u.Speed, p.Speed, "fast")
	replace(&u.InferenceGeo, p.InferenceGeo, "us")
	replace(&u.ServiceTier, p.ServiceTier, "standard")
	return u
}

// Rewritten returns the extra cost of n tokens that were written to the cache, or read without it,
// although another account could have read them from its cache. It counts at most as many tokens as
// the response wrote or read uncached.
func (p *Prices) Rewritten(model string, u claude.Usage, n int64, multiplier float64) Money {
	f, ok := p.find(model, max(u.TotalInputTokens(), 0))
	if !ok {
		return 0
	}
	n = min(n, u.InputTokens+u.CacheCreationTokens())
	hour := min(n, u.CacheCreation1hTokens)
	short := min(n-hour, u.CacheCreation5mTokens)
	plain := n - hour - short
	paid := tokens(hour, f.price.CacheWrite1h) + tokens(short, f.price.CacheWrite5m) + tokens(plain, f.price.Input)
	factor, _ := f.factor(u)
	return ofAnswer(max(paid-tokens(n, f.price.CacheRead), 0) * factor * multiplier)
}
