package claude

import (
	"net/http"
	"strings"
	"testing"
)

// TestProxyHeaders checks that the names in the list are canonical, and that the lookup finds them.
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
