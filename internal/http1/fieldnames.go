package http1

import "net/textproto"

// canonicalName is textproto.CanonicalMIMEHeaderKey, with a table of the names that this API and
// its clients use, so that these need no allocation. It returns false if name is not a token.
func canonicalName(name string) (string, bool) {
	switch name {
	case "Host", "host":
		return "Host", true
	case "Content-Length", "content-length":
		return "Content-Length", true
	case "Content-Type", "content-type":
		return "Content-Type", true
	case "Connection", "connection":
		return "Connection", true
	case "Transfer-Encoding", "transfer-encoding":
		return "Transfer-Encoding", true
	case "Accept", "accept":
		return "Accept", true
	case "Accept-Encoding", "accept-encoding":
		return "Accept-Encoding", true
	case "Accept-Language", "accept-language":
		return "Accept-Language", true
	case "User-Agent", "user-agent":
		return "User-Agent", true
	case "Authorization", "authorization":
		return "Authorization", true
	case "X-Api-Key", "x-api-key":
		return "X-Api-Key", true
	case "X-App", "x-app":
		return "X-App", true
	case "Sec-Fetch-Mode", "sec-fetch-mode":
		return "Sec-Fetch-Mode", true
	case "Anthropic-Version", "anthropic-version":
		return "Anthropic-Version", true
	case "Anthropic-Beta", "anthropic-beta":
		return "Anthropic-Beta", true
	case "Anthropic-Dangerous-Direct-Browser-Access", "anthropic-dangerous-direct-browser-access":
		return "Anthropic-Dangerous-Direct-Browser-Access", true
	case "X-Stainless-Retry-Count", "x-stainless-retry-count":
		return "X-Stainless-Retry-Count", true
	case "X-Stainless-Timeout", "x-stainless-timeout":
		return "X-Stainless-Timeout", true
	case "X-Stainless-Lang", "x-stainless-lang":
		return "X-Stainless-Lang", true
	case "X-Stainless-Package-Version", "x-stainless-package-version":
		return "X-Stainless-Package-Version", true
	case "X-Stainless-Os", "X-Stainless-OS", "x-stainless-os":
		return "X-Stainless-Os", true
	case "X-Stainless-Arch", "x-stainless-arch":
		return "X-Stainless-Arch", true
	case "X-Stainless-Runtime", "x-stainless-runtime":
		return "X-Stainless-Runtime", true
	case "X-Stainless-Runtime-Version", "x-stainless-runtime-version":
		return "X-Stainless-Runtime-Version", true
	case "X-Stainless-Helper-Method", "x-stainless-helper-method":
		return "X-Stainless-Helper-Method", true
	case "X-Claude-Code-Session-Id", "x-claude-code-session-id":
		return "X-Claude-Code-Session-Id", true
	case "Date", "date":
		return "Date", true
	case "Server", "server":
		return "Server", true
	case "Cache-Control", "cache-control":
		return "Cache-Control", true
	case "Request-Id", "request-id":
		return "Request-Id", true
	case "Retry-After", "retry-after":
		return "Retry-After", true
	case "Anthropic-Organization-Id", "anthropic-organization-id":
		return "Anthropic-Organization-Id", true
	case "Anthropic-Workspace-Id", "anthropic-workspace-id":
		return "Anthropic-Workspace-Id", true
	case "Vary", "vary":
		return "Vary", true
	case "Cf-Cache-Status", "cf-cache-status":
		return "Cf-Cache-Status", true
	case "Cf-Ray", "cf-ray":
		return "Cf-Ray", true
	case "Via", "via":
		return "Via", true
	case "X-Robots-Tag", "x-robots-tag":
		return "X-Robots-Tag", true
	case "Strict-Transport-Security", "strict-transport-security":
		return "Strict-Transport-Security", true
	case "Content-Encoding", "content-encoding":
		return "Content-Encoding", true
	case "X-Envoy-Upstream-Service-Time", "x-envoy-upstream-service-time":
		return "X-Envoy-Upstream-Service-Time", true
	case "Anthropic-Ratelimit-Requests-Limit", "anthropic-ratelimit-requests-limit":
		return "Anthropic-Ratelimit-Requests-Limit", true
	case "Anthropic-Ratelimit-Requests-Remaining", "anthropic-ratelimit-requests-remaining":
		return "Anthropic-Ratelimit-Requests-Remaining", true
	case "Anthropic-Ratelimit-Requests-Reset", "anthropic-ratelimit-requests-reset":
		return "Anthropic-Ratelimit-Requests-Reset", true
	case "Anthropic-Ratelimit-Tokens-Limit", "anthropic-ratelimit-tokens-limit":
		return "Anthropic-Ratelimit-Tokens-Limit", true
	case "Anthropic-Ratelimit-Tokens-Remaining", "anthropic-ratelimit-tokens-remaining":
		return "Anthropic-Ratelimit-Tokens-Remaining", true
	case "Anthropic-Ratelimit-Tokens-Reset", "anthropic-ratelimit-tokens-reset":
		return "Anthropic-Ratelimit-Tokens-Reset", true
	case "Anthropic-Ratelimit-Input-Tokens-Limit", "anthropic-ratelimit-input-tokens-limit":
		return "Anthropic-Ratelimit-Input-Tokens-Limit", true
	case "Anthropic-Ratelimit-Input-Tokens-Remaining", "anthropic-ratelimit-input-tokens-remaining":
		return "Anthropic-Ratelimit-Input-Tokens-Remaining", true
	case "Anthropic-Ratelimit-Input-Tokens-Reset", "anthropic-ratelimit-input-tokens-reset":
		return "Anthropic-Ratelimit-Input-Tokens-Reset", true
	case "Anthropic-Ratelimit-Output-Tokens-Limit", "anthropic-ratelimit-output-tokens-limit":
		return "Anthropic-Ratelimit-Output-Tokens-Limit", true
	case "Anthropic-Ratelimit-Output-Tokens-Remaining", "anthropic-ratelimit-output-tokens-remaining":
		return "Anthropic-Ratelimit-Output-Tokens-Remaining", true
	case "Anthropic-Ratelimit-Output-Tokens-Reset", "anthropic-ratelimit-output-tokens-reset":
		return "Anthropic-Ratelimit-Output-Tokens-Reset", true
	case "Anthropic-Ratelimit-Unified-Status", "anthropic-ratelimit-unified-status":
		return "Anthropic-Ratelimit-Unified-Status", true
	case "Anthropic-Ratelimit-Unified-Reset", "anthropic-ratelimit-unified-reset":
		return "Anthropic-Ratelimit-Unified-Reset", true
	case "Anthropic-Ratelimit-Unified-5h-Status", "anthropic-ratelimit-unified-5h-status":
		return "Anthropic-Ratelimit-Unified-5h-Status", true
	case "Anthropic-Ratelimit-Unified-5h-Reset", "anthropic-ratelimit-unified-5h-reset":
		return "Anthropic-Ratelimit-Unified-5h-Reset", true
	case "Anthropic-Ratelimit-Unified-5h-Utilization", "anthropic-ratelimit-unified-5h-utilization":
		return "Anthropic-Ratelimit-Unified-5h-Utilization", true
	case "Anthropic-Ratelimit-Unified-7d-Status", "anthropic-ratelimit-unified-7d-status":
		return "Anthropic-Ratelimit-Unified-7d-Status", true
	case "Anthropic-Ratelimit-Unified-7d-Reset", "anthropic-ratelimit-unified-7d-reset":
		return "Anthropic-Ratelimit-Unified-7d-Reset", true
	case "Anthropic-Ratelimit-Unified-7d-Utilization", "anthropic-ratelimit-unified-7d-utilization":
		return "Anthropic-Ratelimit-Unified-7d-Utilization", true
	}
	if !isToken(name) {
		return "", false
	}
	return textproto.CanonicalMIMEHeaderKey(name), true
}

// isManagedField reports whether the engine writes this field itself: those that frame the message
// or concern the connection. It ignores case, because callers may set a map key in any case.
func isManagedField(name string) bool {
	switch len(name) {
	case len("host"):
		return equalFold(name, "host")
	case len("trailer"):
		return equalFold(name, "trailer") || equalFold(name, "upgrade")
	case len("connection"):
		return equalFold(name, "connection") || equalFold(name, "keep-alive")
	case len("content-length"):
		return equalFold(name, "content-length")
	case len("transfer-encoding"):
		return equalFold(name, "transfer-encoding")
	}
	return false
}
