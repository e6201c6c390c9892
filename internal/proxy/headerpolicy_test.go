package proxy

import (
	"maps"
	"net/http"
	"slices"
	"testing"
)

// TestHeadersForUpstream checks which fields are sent upstream, with names as on the wire.
func TestHeadersForUpstream(t *testing.T) {
	f := func(kept bool, names ...string) {
		t.Helper()
		h := http.Header{}
		for _, name := range names {
			h.Set(name, "x")
		}
		keepForUpstream(h)
		if kept && len(h) != len(names) || !kept && len(h) != 0 {
			t.Errorf("left of %v: %v", names, slices.Sorted(maps.Keys(h)))
		}
	}
	f(false, "CF-Connecting-IP", "CF-Ray", "CF-Visitor", "CF-IPCountry", "CF-Worker", "Cf-Access-Jwt-Assertion", "CDN-Loop", "Cdn-Src-Ip", "Forwarded", "Via")
	f(false, "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-Port", "X-Forwarded-Prefix", "X-Forwarded-Client-Cert", "X-Forwarded-User", "X-Forwarded", "Forwarded-For")
	f(false, "X-Real-IP", "X-Real-Port", "True-Client-IP", "Client-IP", "X-Client-IP", "X-Cluster-Client-IP", "X-Remote-IP", "X-Remote-Addr", "X-Originating-IP", "Incap-Client-IP", "Fastly-Client-IP")
	f(false, "Fly-Client-IP", "Fly-Region", "X-Vercel-Ip-City", "X-Vercel-Forwarded-For", "X-Amzn-Trace-Id", "X-Amzn-Oidc-Data", "X-Amz-Cf-Id", "CloudFront-Viewer-Address", "X-Envoy-External-Address",
		"X-Envoy-Attempt-Count", "X-Azure-ClientIP", "X-Azure-Ref", "X-Appengine-City", "X-Cloud-Trace-Context", "X-ARR-SSL", "X-Original-Forwarded-For", "X-Original-URL", "X-Nf-Client-Connection-Ip", "X-Akamai-Edgescape")
	f(false, "Tailscale-User-Login", "Remote-User", "Remote-Email", "X-Auth-Request-Email", "X-Goog-Iap-Jwt-Assertion", "Ssl-Client-Verify", "X-Client-Cert", "X-Request-Start", "X-Varnish", "Ali-Cdn-Real-Ip")
	f(false, "X-LB-Trace", "X-LB-Loop", "X-LB-Anything", "Origin", "Referer", "Cookie", "Access-Control-Request-Method")
	f(false, "Connection", "Keep-Alive", "Transfer-Encoding", "Te")
	f(true, "Anthropic-Version", "Anthropic-Beta", "Anthropic-Dangerous-Direct-Browser-Access", "Anthropic-Client-Platform", "X-Claude-Code-Session-Id", "X-Claude-Code-Agent-Id", "X-Claude-Remote-Session-Id",
		"X-Stainless-Lang", "X-Stainless-Retry-Count", "X-App", "X-Client-Request-Id", "X-Client-App", "X-Client-Last-Request-Id", "X-Anthropic-Additional-Protection", "X-Api-Key", "Authorization",
		"Traceparent", "Tracestate", "Baggage", "User-Agent", "Accept", "Accept-Language", "Accept-Encoding", "Content-Type", "Content-Encoding", "Idempotency-Key", "Sec-Fetch-Mode", "X-Request-Id", "X-Should-Retry", "Remote")
}

// TestHeadersForClient checks which fields a client receives.
func TestHeadersForClient(t *testing.T) {
	dropped := http.Header{}
	for _, name := range []string{"Set-Cookie", "X-Lb-Upstream", "X-Lb-Reason", "Access-Control-Allow-Origin", "Access-Control-Allow-Credentials", "Alt-Svc", "Strict-Transport-Security", "Connection"} {
		dropped.Set(name, "x")
	}
	if keepForClient(dropped); len(dropped) != 0 {
		t.Errorf("left: %v", dropped)
	}
	kept := http.Header{}
	for _, name := range []string{"Content-Type", "Request-Id", "Retry-After", "X-Should-Retry", "Anthropic-Ratelimit-Unified-Status", "Anthropic-Organization-Id", "Anthropic-Thinking-Prefix-Mismatch",
		"Cf-Ray", "Cf-Cache-Status", "Server", "Via", "Date", "Vary", "X-Robots-Tag", "Content-Security-Policy"} {
		kept.Set(name, "x")
	}
	n := len(kept)
	if keepForClient(kept); len(kept) != n {
		t.Errorf("left: %v", kept)
	}
}

func BenchmarkIsFromFront(b *testing.B) {
	names := []string{"Accept", "Accept-Encoding", "Anthropic-Beta", "Anthropic-Version", "Anthropic-Dangerous-Direct-Browser-Access", "Authorization", "Content-Type", "Content-Length", "User-Agent", "X-App",
		"X-Claude-Code-Session-Id", "X-Client-Request-Id", "X-Stainless-Arch", "X-Stainless-Lang", "X-Stainless-Os", "X-Stainless-Package-Version", "X-Stainless-Retry-Count", "X-Stainless-Runtime", "X-Stainless-Runtime-Version", "X-Stainless-Timeout"}
	for b.Loop() {
		for _, name := range names {
			if isFromFront(name) {
				b.Fatal(name)
			}
		}
	}
}
