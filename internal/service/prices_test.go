package service

import (
	"testing"

	"github.com/9bingyin/claude-code-lb/internal/claude"
	"github.com/9bingyin/claude-code-lb/internal/config"
	"github.com/9bingyin/claude-code-lb/internal/ledger"
)

// TestPricesOfTheConfiguration checks that each dimension can be overridden, with and without the
// price of tokens.
func TestPricesOfTheConfiguration(t *testing.T) {
	cfg, problems := config.Decode("config.json", []byte(`{"servers": [{"url": "http://127.0.0.1:9", "token": "t"}], "prices": [
		{"model": "claude-opus-4-8*", "fast": 3, "priority": 1.5, "flex": 0.25, "eu": 1.2, "us": 1, "batch": 0.4, "web_search": 0, "code_execution": 0.001},
		{"model": "glm-*", "input": 1, "output": 2, "above": 1000000},
		{"model": "glm-*", "input": 0.5, "output": 1},
	]}`), func(string) (string, bool) { return "", false })
	if problems.Failed() {
		t.Fatal(problems)
	}
	prices := ledger.ListPrices().With(configuredPrices(cfg))
	f := func(model string, u claude.Usage, want ledger.Money, known bool) {
		t.Helper()
		if got := prices.Cost(model, u, 1); got.Sum != want || got.Known != known {
			t.Errorf("%s %+v: %+v, want %d", model, u, got, want)
		}
	}
	const opus, million = "claude-opus-4-8", 1_000_000
	f(opus, claude.Usage{InputTokens: million, Speed: "fast"}, 15e9, true)
	f(opus, claude.Usage{InputTokens: million, ServiceTier: "priority"}, 7.5e9, true)
	f(opus, claude.Usage{InputTokens: million, ServiceTier: "flex", InferenceGeo: "eu"}, 1.5e9, true)
	f(opus, claude.Usage{InputTokens: million, ServiceTier: "batch", InferenceGeo: "us"}, 2e9, true)
	f(opus, claude.Usage{InputTokens: million, WebSearchRequests: 4, CodeRequests: 2}, 5e9+2e6, true)
	f("claude-opus-5", claude.Usage{InputTokens: million, Speed: "fast"}, 10e9, true)
	f("glm-5", claude.Usage{InputTokens: million, CacheReadTokens: 1}, 1e9+100, true)
	f("glm-5", claude.Usage{InputTokens: million, CacheCreation1hTokens: 0}, 0.5e9, true)
	f("glm-5", claude.Usage{InputTokens: million, Speed: "fast"}, 0.5e9, false)
}
