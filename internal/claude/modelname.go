package claude

import "strings"

// SameModel reports whether two names may name the same model: an alias and its dated version, or
// the names that clouds use (us.anthropic.claude-opus-4-5-20251101-v1:0,
// claude-opus-4-5@20251101).
func SameModel(a, b string) bool { return a == b || baseModelName(a) == baseModelName(b) }

// baseModelName returns the name of a model without its cloud, version, context window and date.
func baseModelName(name string) string {
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
	if i := strings.LastIndexByte(name, '-'); i >= 0 && isDate(name[i+1:]) {
		name = name[:i]
	}
	return name
}
