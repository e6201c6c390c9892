package ledger

import (
	"path"
	"strings"
	"testing"

	"github.com/9bingyin/claude-code-lb/internal/claude"
)

func TestCost(t *testing.T) {
	list := ListPrices()
	f := func(p *Prices, model string, u claude.Usage, multiplier float64, want Money, known bool) {
		t.Helper()
		if got := p.Cost(model, u, multiplier); got.Sum != want || got.Known != known {
			t.Errorf("%s %+v: %+v, want %d, %t", model, u, got, want, known)
		}
	}
	million := claude.Usage{InputTokens: 1e6}
	f(list, "claude-opus-4-5-20251101", million, 1, 5*dollar, true)
	f(list, "claude-opus-4-1-20250805", million, 1, 15*dollar, true)
	f(list, "us.anthropic.claude-opus-4-20250514-v1:0", million, 1, 15*dollar, true)
	f(list, "claude-opus-5.5", million, 1, 4*dollar, true)
	f(list, "CLAUDE-SONNET-4-6", million, 0.5, 1.5*1e9, true)
	f(list, "claude-3-5-haiku-20241022", million, 1, 0.8*1e9, true)
	f(list, "gpt-1", million, 1, 0, false)
	f(list, "", million, 1, 0, false)

	// Every kind of token, at Opus 4.5: 10·5 + 20·6.25 + 30·10 + 40·0.5 + 50·25 millionths.
	all := claude.Usage{InputTokens: 10, CacheCreation5mTokens: 20, CacheCreation1hTokens: 30, CacheReadTokens: 40, OutputTokens: 50}
	f(list, "claude-opus-4-5", all, 1, 1_745_000, true)
	all.ServiceTier = "batch"
	f(list, "claude-opus-4-5", all, 1, 872_500, true)
	f(list, "claude-opus-4-5", claude.Usage{WebSearchRequests: 3}, 1, 30_000_000, true)

	// A long prompt, including its cached part.
	f(list, "claude-haiku-5-5", claude.Usage{CacheReadTokens: 99_990, InputTokens: 10}, 1, 99_990*10+10*100, true)
	f(list, "claude-haiku-5-5", claude.Usage{CacheReadTokens: 99_991, InputTokens: 10}, 1, 99_991*50+10*500, true)

	own := list.With([]Price{{Model: "claude-opus-*", Input: 1}, {Model: "gpt-*", Input: 2}})
	f(own, "claude-opus-4-5", million, 1, 1*dollar, true)
	f(own, "gpt-1", million, 1, 2*dollar, true)
	f(own, "claude-sonnet-5", million, 1, 2*dollar, true)

	// A dimension that a price lacks is looked up in the next one. An entry without tokens keeps their price.
	mine := list.With([]Price{
		{Model: "claude-opus-4-8", Input: -1, Dimensions: Dimensions{Speed: map[string]float64{"fast": 1.5}, InferenceGeo: map[string]float64{"eu": 1.2}}},
		{Model: "claude-opus-*", Input: 1, Output: 1, Dimensions: Dimensions{ServiceTier: map[string]float64{"batch": 0.4, "flex": 0.25}}},
		{Model: "*", Input: -1, Dimensions: Dimensions{ServerTools: map[string]float64{WebSearch: 0.02, CodeExecution: 0}}},
	})
	with := func(speed, tier, geo string) claude.Usage {
		return claude.Usage{InputTokens: 1e6, Speed: speed, ServiceTier: tier, InferenceGeo: geo}
	}
	f(mine, "claude-opus-4-8", with("fast", "", "eu"), 1, 1.8*1e9, true)
	f(mine, "claude-opus-4-6", with("fast", "", ""), 1, 6*dollar, true)
	f(mine, "claude-opus-4-6", with("", "flex", "us"), 2, 0.55*1e9, true)
	f(mine, "claude-opus-4-6", with("", "batch", ""), 1, 0.4*1e9, true)
	f(mine, "claude-opus-4-6", with("", "", "eu"), 1, 1*dollar, false)
	f(mine, "claude-sonnet-5", claude.Usage{InputTokens: 1e6, WebSearchRequests: 1, CodeRequests: 9}, 1, 2.02*1e9, true)
	f(mine, "claude-sonnet-5", claude.Usage{InputTokens: 1e6, OtherToolRequests: 1}, 1, 2*dollar, false)

	// Absurd numbers in a response do not cost absurd amounts.
	f(list, "claude-opus-4-5", claude.Usage{InputTokens: -5, OutputTokens: -1}, 1, 0, true)
	if got := list.Cost("claude-opus-4-5", claude.Usage{OutputTokens: 1 << 62}, 1); got.Sum != 10_000*dollar || !got.Known {
		t.Errorf("%+v", got)
	}
	absurd := claude.Bill{Usage: million}
	for range 3 {
		absurd.Extra = append(absurd.Extra, claude.Iteration{Type: "advisor_message", Model: "claude-opus-4-8", Usage: claude.Usage{OutputTokens: 1e12}})
	}
	if cost, extra := list.Bill("claude-opus-4-5", &absurd, 1); cost.Sum != 10_000*dollar || extra[0].Sum+extra[1].Sum+extra[2].Sum != cost.Sum {
		t.Errorf("%+v of %+v", extra, cost)
	}
	if got := list.UpperBound("claude-opus-4-5", with("turbo", "", ""), 1); !got.Known || got.Sum != 30*dollar {
		t.Errorf("%+v", got)
	}
	// A model without a price counts as the most expensive one.
	f2 := func(model string, want Money) {
		t.Helper()
		if got := list.UpperBound(model, claude.Usage{OutputTokens: 1e6}, 1); got.Sum != want || !got.Known {
			t.Errorf("%s: %+v, want at most %s", model, got, want)
		}
	}
	f2("claude-haiku-4-5", 5*dollar)
	f2("claude-imaginary-9", 75*dollar)
}

func TestListPricesHoldForEveryModelOfTheDay(t *testing.T) {
	list := ListPrices()
	if list.Date == "" || len(list.Sources) < 5 {
		t.Error("prices without a date or a source")
	}
	for _, source := range list.Sources {
		if source.Of == "" || !strings.HasPrefix(source.From, "https://") || source.Date == "" {
			t.Errorf("%+v", source)
		}
	}
	for _, p := range list.Models {
		if _, err := path.Match(p.Model, ""); err != nil {
			t.Errorf("%s: %v", p.Model, err)
		}
		if p.CacheRead >= p.Input || p.CacheWrite5m <= p.Input || p.CacheWrite1h <= p.CacheWrite5m || p.Output <= p.Input {
			t.Errorf("%s: %+v", p.Model, p)
		}
	}
}

func TestMoney(t *testing.T) {
	f := func(m Money, want string) {
		t.Helper()
		if got := m.String(); got != want {
			t.Errorf("%d: %s, want %s", int64(m), got, want)
		}
	}
	exact := func(m Money, want string) {
		t.Helper()
		if got := m.Exact(); got != want {
			t.Errorf("%d: %s, want %s", int64(m), got, want)
		}
	}
	exact(0, "0")
	exact(1, "0.000000001")
	exact(-12_340_000_000, "-12.34")
	exact(30*dollar, "30")
	f(0, "0.000000")
	f(12_345_678, "0.012346")
	f(3*dollar, "3.000000")
}
