package proxy

import (
	"net/http"
	"strings"

	"claude-code-lb/internal/claude"
)

// ownPrefix begins the names of the balancer's own headers. They are of one connection: neither side hears the other's.
const ownPrefix = "X-Lb-"

// isFromFront reports whether a header says something about the way to the balancer: about the client's address and identity there, which are
// not the upstream's business and make some upstreams refuse (Cloudflare does so with cf-connecting-ip), or about a browser's origin and its
// cookies for the balancer's host, since whether a page may use the balancer is decided here.
func isFromFront(name string) bool {
	switch name {
	case "Origin", "Referer", "Cookie", "Cookie2", "Access-Control-Request-Method", "Access-Control-Request-Headers",
		"Access-Control-Request-Private-Network", "Access-Control-Request-Local-Network":
		return true
	}
	return strings.HasPrefix(name, ownPrefix) || claude.IsProxyHeader(name)
}

// keepForUpstream takes out of a request's header what is not meant for the upstream.
func keepForUpstream(h http.Header) {
	keepEndToEnd(h)
	for name := range h {
		if isFromFront(name) {
			delete(h, name)
		}
	}
}

// keepForClient takes out of an answer's header what is not meant for the client: an upstream's cookies and transport policies are for its own
// host, the balancer speaks for itself, and which pages may read an answer is decided here.
func keepForClient(h http.Header) {
	keepEndToEnd(h)
	for name := range h {
		if isForUpstreamHost(name) {
			delete(h, name)
		}
	}
}

func isForUpstreamHost(name string) bool {
	switch name {
	case "Set-Cookie", "Set-Cookie2", "Alt-Svc", "Strict-Transport-Security", "Clear-Site-Data":
		return true
	}
	return strings.HasPrefix(name, ownPrefix) || strings.HasPrefix(name, "Access-Control-")
}
