package claude

import "testing"

func TestSameModel(t *testing.T) {
	f := func(a, b string, want bool) {
		t.Helper()
		if SameModel(a, b) != want || SameModel(b, a) != want {
			t.Errorf("%s and %s: not %t", a, b, want)
		}
	}
	f("claude-sonnet-4-5", "claude-sonnet-4-5-20250929", true)
	f("claude-sonnet-4-5", "claude-sonnet-4.5", true)
	f("claude-3-5-haiku-latest", "claude-3-5-haiku-20241022", true)
	f("us.anthropic.claude-opus-4-5-20251101-v1:0", "claude-opus-4-5", true)
	f("claude-opus-4-5@20251101", "claude-opus-4-5", true)
	f("claude-opus-4-5[1m]", "claude-opus-4-5", true)
	f("anthropic/claude-opus-4-5", "Claude-Opus-4-5", true)
	f("claude-opus-4-5", "claude-opus-4", false)
	f("claude-opus-4-5", "claude-sonnet-4-5", false)
	f("claude-opus-4-5", "", false)
}
