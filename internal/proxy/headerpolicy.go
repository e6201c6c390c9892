package proxy

import (
	"net/http"
	"strings"
)

// ownPrefix begins the names of the balancer's own headers. They are of one connection: neither side hears the other's.
const ownPrefix = "X-Lb-"

// frontPrefixes begin the names of headers that a proxy, tunnel or platform in front of the balancer adds about the client or about itself.
// Names that clients of the API send (Anthropic-, X-Claude-Code-, X-Stainless-, X-App, X-Client-Request-Id, Traceparent, Baggage, …) must not
// begin with one of them.
var frontPrefixes = [...]string{
	ownPrefix,
	"Cf-", "Cdn-", "Cloudfront-", "Fastly-", "Fly-", "Akamai-", "Ali-", "Incap-", "Tailscale-", "Teleport-", "Ssl-Client-", "Remote-",
	"X-Forwarded-", "X-Original-", "X-Envoy-", "X-Azure-", "X-Arr-", "X-Appengine-", "X-Vercel-", "X-Nf-", "X-Railway-", "X-Akamai-", "X-Sucuri-",
	"X-Amz-Cf-", "X-Amzn-Trace-", "X-Amzn-Oidc-", "X-Amzn-Mtls-", "X-Amzn-Tls-", "X-Goog-Iap-", "X-Goog-Authenticated-User-", "X-Auth-Request-",
	"X-Client-Cert", "X-Client-Geo", "X-Client-Ssl", "X-Ssl-", "X-Remote-", "X-Real-", "X-Cdn-", "X-Waws-", "X-Appservice-", "X-Authentik-", "X-Pomerium-", "X-Webauth-",
}

// isFromFront reports whether a header says something about the way to the balancer: about the client's address and identity there, which are
// not the upstream's business and make some upstreams refuse (Cloudflare does so with cf-connecting-ip), or about a browser's origin and its
// cookies for the balancer's host, since whether a page may use the balancer is decided here.
func isFromFront(name string) bool {
	switch name {
	case "Forwarded", "Via", "Origin", "Referer", "Cookie", "Cookie2", "Access-Control-Request-Method", "Access-Control-Request-Headers",
		"Access-Control-Request-Private-Network", "Access-Control-Request-Local-Network",
		"True-Client-Ip", "Client-Ip", "X-Client-Ip", "X-Client-Port", "X-Cluster-Client-Ip", "X-Originating-Ip", "X-Proxyuser-Ip", "Proxy-Client-Ip", "Wl-Proxy-Client-Ip",
		"X-Forwarded", "Forwarded-For", "X-Host", "X-Scheme", "X-Url-Scheme", "X-Rewrite-Url", "X-Request-Start", "X-Queue-Start", "X-Cloud-Trace-Context",
		"X-Country-Code", "X-Nginx-Proxy", "X-Varnish", "X-Bluecoat-Via", "X-Client-Verify", "X-Client-Dn", "X-Site-Deployment-Id", "X-Tencent-Ua",
		"Front-End-Https", "Disguised-Host", "Was-Default-Hostname", "Surrogate-Capability", "Eagleid", "Eagleeye-Traceid", "Rndr-Id":
		return true
	}
	for _, prefix := range frontPrefixes {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
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
