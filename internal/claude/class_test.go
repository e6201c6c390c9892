package claude

import "testing"

func TestModelClass(t *testing.T) {
	f := func(model, want string) {
		t.Helper()
		if got := ModelClass(model); got != want {
			t.Errorf("ModelClass(%q) = %q, want %q", model, got, want)
		}
	}
	f("claude-opus-4-5-20251101", "opus")
	f("claude-3-5-haiku-latest", "haiku")
	f("us.anthropic.claude-sonnet-4-5-20250929-v1:0", "sonnet")
	f("glm-4-20250101", "glm-4")
	f("glm-4@20250101", "glm-4")
	f("claude-sonnet-4-5@20250929", "sonnet")
	f("Claude-Fable-5-1", "fable")
	f("claude-mythos-5", "mythos")
	f("glm-4", "glm-4")
	f("20250101", "20250101")
	f("-20250101", "-20250101")
	f("", "")
}

func TestWantsLongContext(t *testing.T) {
	f := func(beta, model string, want bool) {
		t.Helper()
		if got := WantsLongContext(header("anthropic-beta", beta), model); got != want {
			t.Errorf("%q %q: %v", beta, model, got)
		}
	}
	f("", "claude-sonnet-4-5", false)
	f("effort-2025-11-24", "claude-sonnet-4-5", false)
	f("effort-2025-11-24,context-1m-2025-08-07", "claude-sonnet-4-5", true)
	f("", "claude-sonnet-4-5[1M]", true)
}
