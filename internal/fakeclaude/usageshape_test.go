package fakeclaude

import (
	"testing"

	"github.com/9bingyin/claude-code-lb/internal/claude"
)

func TestUsageShapes(t *testing.T) {
	const usage = `{"input_tokens":10,"output_tokens":5,"cache_read_input_tokens":3,"service_tier":"standard"}`
	for _, shape := range UsageShapes() {
		body := shape.apply([]byte(`{"type":"message","model":"claude-haiku-4-5","content":[{"type":"text","text":"\"usage\":{}"}],"usage":`+usage+`}`), true)
		m, ok := claude.ParseMessage(body)
		if !ok {
			t.Errorf("%s: %s", shape, body)
			continue
		}
		u, b := m.Usage, m.Bill(m.Usage)
		want := map[UsageShape]bool{
			UsageFast: u.Speed == "fast", UsageUS: u.InferenceGeo == "us", UsageBatch: u.ServiceTier == "batch", UsageSearch: u.WebSearchRequests == 2,
			UsageAdvisor: len(b.Extra) == 1 && b.Extra[0].Model == "claude-opus-4-8", UsageCompaction: len(b.Extra) == 1 && b.Extra[0].Usage.InputTokens == 1800,
			UsageFallback: m.FellBack() && len(b.Extra) == 1, UsageUsual: true, UsageStrings: true,
			UsageNone: m.Reported == 0, UsageZeros: u.TotalInputTokens() == 0,
		}
		if !want[shape] {
			t.Errorf("%s: %+v of %s", shape, b, body)
		}
		if shape != UsageNone && shape != UsageZeros && (u.InputTokens != 10 || u.OutputTokens != 5 || u.CacheReadTokens != 3) {
			t.Errorf("%s: %+v", shape, u)
		}
	}
	if err := (Settings{Usage: []UsageShape{"square"}}).Validate(); err == nil {
		t.Error("an unknown shape is accepted")
	}
}
