package claude

import "strings"

// ModelClass is the class of models that shares one rate limit with a model
// (rate-limits docs): "opus", "sonnet", "haiku" and so on. For a model of no known family it
// is its name without the date at its end; for "" it is "".
func ModelClass(model string) string {
	lower := strings.ToLower(model)
	for _, family := range [...]string{"opus", "sonnet", "haiku", "fable", "mythos"} {
		if strings.Contains(lower, family) {
			return family
		}
	}
	if i := strings.LastIndexAny(model, "-@"); i > 0 && isDate(model[i+1:]) {
		return model[:i]
	}
	return model
}

func isDate(s string) bool {
	return len(s) == len("20060102") && !strings.ContainsFunc(s, func(r rune) bool { return r < '0' || r > '9' })
}
