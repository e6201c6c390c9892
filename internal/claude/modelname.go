package claude

import "strings"

// SameModel says whether two names may be those of one model: an alias and its dated version, or the names that
// clouds give it (us.anthropic.claude-opus-4-5-20251101-v1:0, claude-opus-4-5@20251101).
func SameModel(a, b string) bool { return a == b || bareModel(a) == bareModel(b) }

// bareModel strips from a model's name what says nothing of the model itself.
func bareModel(name string) string {
	name = strings.ToLower(name)
	if i := strings.LastIndex(name, "/"); i >= 0 {
		name = name[i+1:]
	}
	if i := strings.Index(name, "anthropic."); i >= 0 {
		name = name[i+len("anthropic."):]
	}
	name, _, _ = strings.Cut(name, "[") // claude-opus-4-5[1m]
	name, _, _ = strings.Cut(name, ":")
	name = strings.ReplaceAll(strings.ReplaceAll(name, ".", "-"), "@", "-")
	for _, version := range [...]string{"-v1", "-v2"} {
		name = strings.TrimSuffix(name, version)
	}
	name = strings.TrimSuffix(name, "-latest")
	if i := strings.LastIndex(name, "-"); i >= 0 && len(name)-i == len("-20250929") && strings.Trim(name[i+1:], "0123456789") == "" {
		name = name[:i]
	}
	return name
}
