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
