package proxy

import (
	"net/http"
	"strings"

	"github.com/9bingyin/claude-code-lb/internal/claude"
)

// ownPrefix begins the names of the balancer's own headers. They are valid for one hop and never
// forwarded.
const ownPrefix = "X-Lb-"

// isFromFront reports whether a header describes the hop to the balancer: the client's address and
// identity, which upstreams need not know and some refuse (Cloudflare does so with
// cf-connecting-ip), or a browser's origin and its cookies for the balancer's host, because the
// balancer decides which pages may use it.
func isFromFront(name string) bool {
	switch name {
	case "Origin", "Referer", "Cookie", "Cookie2", "Access-Control-Request-Method", "Access-Control-Request-Headers",
		"Access-Control-Request-Private-Network", "Access-Control-Request-Local-Network":
		return true
	}
	return strings.HasPrefix(name, ownPrefix) || claude.IsProxyHeader(name)
}

// keepForUpstream removes the fields of a request's header that are not meant for the upstream.
func keepForUpstream(h http.Header) {
	keepEndToEnd(h)
	for name := range h {
		if isFromFront(name) {
			delete(h, name)
		}
	}
}

// keepForClient removes the fields of a response header that are not meant for the client: cookies
// and transport policies of the upstream's host, the balancer's own headers, and CORS headers,
// which the balancer sets itself.
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
