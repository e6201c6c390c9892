package claude

import (
	"net/http"
	"strings"
	"testing"
)

// TestProxyPrefixes are spelled as header names are stored, and begin no name that clients of the API send.
func TestProxyPrefixes(t *testing.T) {
	for _, prefix := range proxyPrefixes {
		if got := http.CanonicalHeaderKey(prefix); got != prefix || strings.HasPrefix("Anthropic-", prefix) || strings.HasPrefix("X-Claude-", prefix) || strings.HasPrefix("X-Stainless-", prefix) {
			t.Errorf("%s, %s", prefix, got)
		}
	}
}
