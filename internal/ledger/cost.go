package ledger

import (
	"cmp"

	"claude-code-lb/internal/claude"
)

// Cost is the money side of an attempt.
type Cost struct {
	Sum    Money
	Saved  Money // what the prompt cache saved: the tokens read from it at the price of uncached ones, less what they cost
	Wasted Money // of Sum, what another choice of server would not have cost
	Known  bool  // all of it has a price; else Sum is what is known of it
	// Unpriced says what has no known price, such as "model gpt-1" or "speed turbo"; "" if Known.
	Unpriced string
}

// Extra is a model call within an answer that is billed beside it, at the price of its own model.
type Extra struct {
	Type  string // as in usage.iterations, or BatchResult
	Model string
	Usage claude.Usage
	Sum   Money // part of the attempt's cost
}

// BatchResult is the type of model calls of a batch, whose results were fetched.
const BatchResult = "batch"

// charge is what one model call costs, in nano-dollars and before the server's multiplier.
type charge struct {
	sum, saved float64
	unpriced   string
}

// Cost is what an answer of a single model call costs at a server that charges a multiple of the list price.
func (p *Prices) Cost(model string, u claude.Usage, multiplier float64) Cost {
	cost, _ := p.Bill(model, claude.Bill{Usage: u}, multiplier)
	return cost
}

// Bill is what an answer costs at a server that charges a multiple of the list price, and what of it other model calls
// cost that are billed beside the answer's own. Each call has its own size of prompt, on which its price may depend.
func (p *Prices) Bill(model string, b claude.Bill, multiplier float64) (Cost, []Extra) {
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
	rest := cost.Sum // rounding and the bound of an answer must not make the parts more than the whole
	for i := range extra {
		extra[i].Sum = min(extra[i].Sum, rest)
		rest -= extra[i].Sum
	}
	return cost, extra
}

// own is the charge for the answer's model.
func (p *Prices) own(model string, b claude.Bill) charge {
	switch {
	case b.Free:
		return charge{}
	case len(b.Calls) == 0:
		return p.charge(model, b.Usage)
	}
	var total charge
	rest := b.Usage // the uses of server tools belong to the answer as a whole
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

// inherit gives a call that is billed beside an answer what the answer reports for all of them. Speed and priority are those
// of the answer's model alone; a batch is one as a whole.
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

// charge is what one call of a model costs.
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

// factor multiplies the price of tokens. What has no known price counts as the usual one, and is named.
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

// addTools adds what uses of server tools cost: whatever the tier, a batch has no discount on them (docs: web search tool).
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

// AtMost is Cost on the safe side: what has no known price costs as much as the dearest that has one.
func (p *Prices) AtMost(model string, u claude.Usage, multiplier float64) Cost {
	cost := p.Cost(model, u, multiplier)
	if cost.Known {
		return cost
	}
	u = p.dearest(u)
	for i := range p.Models { // those for long prompts included
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

// dearest replaces the dimensions of a usage that have no known price by the dearest that are published.
func (p *Prices) dearest(u claude.Usage) claude.Usage {
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

// Rewritten is what it cost to write tokens into the cache, or to read them without one, that another account could
// have read from its own. No more are counted than the answer did write or read so.
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
