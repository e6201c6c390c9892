package http1

import "net/textproto"

// canonical is textproto.CanonicalMIMEHeaderKey with the usual names known by heart, as both kinds of clients write them. It reports
// false for what is no name.
func canonical(name string) (string, bool) {
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
	case "Anthropic-Version", "anthropic-version":
		return "Anthropic-Version", true
	case "Anthropic-Beta", "anthropic-beta":
		return "Anthropic-Beta", true
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
	}
	if !isToken(name) {
		return "", false
	}
	return textproto.CanonicalMIMEHeaderKey(name), true
}
