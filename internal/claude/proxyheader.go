package claude

import "strings"

// proxyHeaders are the names of headers that a proxy, tunnel or platform adds about the client or
// about itself. A final * matches any suffix. Names that clients of the API send (Anthropic-,
// X-Claude-Code-, X-Stainless-, X-App, X-Client-Request-Id, Traceparent, Baggage, …) must not be
// among them.
var proxyHeaders = [...]string{
	"Forwarded", "Via", "True-Client-Ip", "Client-Ip", "X-Client-Ip", "X-Client-Port", "X-Cluster-Client-Ip", "X-Originating-Ip",
	"X-Proxyuser-Ip", "Proxy-Client-Ip", "Wl-Proxy-Client-Ip", "X-Forwarded", "Forwarded-For", "X-Host", "X-Scheme",
	"X-Url-Scheme", "X-Rewrite-Url", "X-Request-Start", "X-Queue-Start", "X-Cloud-Trace-Context", "X-Country-Code",
	"X-Nginx-Proxy", "X-Varnish", "X-Bluecoat-Via", "X-Client-Verify", "X-Client-Dn", "X-Site-Deployment-Id", "X-Tencent-Ua",
	"Front-End-Https", "Disguised-Host", "Was-Default-Hostname", "Surrogate-Capability", "Eagleid", "Eagleeye-Traceid",
	"Rndr-Id", "Cf-*", "Cdn-*", "Cloudfront-*", "Fastly-*", "Fly-*", "Akamai-*", "Ali-*", "Incap-*", "Tailscale-*", "Teleport-*",
	"Ssl-Client-*", "Remote-*", "X-Forwarded-*", "X-Original-*", "X-Envoy-*", "X-Azure-*", "X-Arr-*", "X-Appengine-*",
	"X-Vercel-*", "X-Nf-*", "X-Railway-*", "X-Akamai-*", "X-Sucuri-*", "X-Amz-Cf-*", "X-Amzn-Trace-*", "X-Amzn-Oidc-*",
	"X-Amzn-Mtls-*", "X-Amzn-Tls-*", "X-Goog-Iap-*", "X-Goog-Authenticated-User-*", "X-Auth-Request-*", "X-Client-Cert*",
	"X-Client-Geo*", "X-Client-Ssl*", "X-Ssl-*", "X-Remote-*", "X-Real-*", "X-Cdn-*", "X-Waws-*", "X-Appservice-*",
	"X-Authentik-*", "X-Pomerium-*", "X-Webauth-*",
}

// IsProxyHeader reports whether a proxy, tunnel or platform added a header on the way from the
// client. Such headers describe the client's address and identity, or the hop itself. The name is
// in canonical form. The function runs for every header of every request, so it compares only names
// with the same letter.
func IsProxyHeader(name string) bool {
	for _, h := range proxyHeadersByLetter[indexLetter(name)] {
		if name == h.name || h.prefix && strings.HasPrefix(name, h.name) {
			return true
		}
	}
	return false
}

type proxyHeader struct {
	name   string
	prefix bool
}

// proxyHeadersByLetter are proxyHeaders by indexLetter. It is never changed.
var proxyHeadersByLetter = func() (table [256][]proxyHeader) {
	for _, entry := range proxyHeaders {
		name, prefix := strings.CutSuffix(entry, "*")
		table[indexLetter(name)] = append(table[indexLetter(name)], proxyHeader{name, prefix})
	}
	return table
}()

// indexLetter returns a letter by which names differ: the first one, or the one after "X-" in lower
// case.
func indexLetter(name string) byte {
	switch {
	case len(name) > 2 && name[:2] == "X-":
		return name[2] | 0x20
	case name == "":
		return 0
	}
	return name[0]
}
