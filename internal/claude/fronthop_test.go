package claude

import (
	"net/http"
	"strings"
	"testing"
)

// TestProxyHeaders are spelled as names are stored, and found by them.
func TestProxyHeaders(t *testing.T) {
	for _, entry := range proxyHeaders {
		name, prefix := strings.CutSuffix(entry, "*")
		if http.CanonicalHeaderKey(name) != name || len(name) < 3 || !IsProxyHeader(name) || prefix != IsProxyHeader(name+"Zz") {
			t.Error(entry)
		}
	}
	for _, name := range []string{"", "X", "X-", "x", "Anthropic-Version", "X-App", "X-Client-Request-Id", "X-Claude-Code-Session-Id", "X-Stainless-Lang", "Traceparent", "Accept"} {
		if IsProxyHeader(name) {
			t.Error(name)
		}
	}
}
