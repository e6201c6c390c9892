package claude

import (
	"net/http"
	"strings"
)

// ModelClass returns the class of models that share one rate limit with a model (rate-limits docs):
// "opus", "sonnet", "haiku" and so on. For a model of an unknown family it is the name without the
// date at its end; for "" it is "".
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

// WantsLongContext reports whether a request asks for the million-token context window: by the beta
// header, or by the suffix that Claude Code and relays append to a model's name.
func WantsLongContext(h http.Header, model string) bool {
	if strings.HasSuffix(strings.ToLower(model), "[1m]") {
		return true
	}
	for _, line := range h["Anthropic-Beta"] {
		if strings.Contains(line, "context-1m") {
			return true
		}
	}
	return false
}
