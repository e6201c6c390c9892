package claude

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// maxHops bounds how many hops of a forwarding header are evaluated.
const maxHops = 32

// ClientAddress returns the client's address for a connection from remote, host:port. If remote is
// a trusted proxy, it is the last hop in the forwarding header that is not a trusted proxy. Earlier
// hops may be forged by the client.
func ClientAddress(remote string, h http.Header, trusted []netip.Prefix) netip.Addr {
	address := hopAddress(remote)
	if len(trusted) == 0 || !isTrusted(address, trusted) {
		return address
	}
	for _, hop := range slices.Backward(hops(h)) {
		next := hopAddress(hop)
		if !next.IsValid() {
			return address
		}
		if address = next; !isTrusted(address, trusted) {
			return address
		}
	}
	return address
}

func isTrusted(address netip.Addr, trusted []netip.Prefix) bool {
	return slices.ContainsFunc(trusted, func(p netip.Prefix) bool { return p.Contains(address) })
}

// hops returns the addresses in the forwarding header, the nearest hop last. If there are several
// headers, the most common one counts.
func hops(h http.Header) []string {
	if lines := h["X-Forwarded-For"]; len(lines) > 0 {
		return lastElements(strings.Join(lines, ","))
	}
	if lines := h["Forwarded"]; len(lines) > 0 {
		list := lastElements(strings.Join(lines, ","))
		for i, element := range list {
			list[i] = forwardedFor(element)
		}
		return list
	}
	return h["X-Real-Ip"]
}

// lastElements splits the last maxHops elements of a comma-separated list.
func lastElements(list string) []string {
	var parts []string
	for range maxHops {
		i := strings.LastIndexByte(list, ',')
		parts = append(parts, list[i+1:])
		if i < 0 {
			break
		}
		list = list[:i]
	}
	slices.Reverse(parts)
	return parts
}

// forwardedFor returns the "for" node of an element of Forwarded (RFC 7239).
func forwardedFor(element string) string {
	for pair := range strings.SplitSeq(element, ";") {
		if name, value, ok := strings.Cut(pair, "="); ok && strings.EqualFold(strings.TrimSpace(name), "for") {
			return strings.Trim(strings.TrimSpace(value), `"`)
		}
	}
	return ""
}

// hopAddress parses an address with or without a port. For anything else the result is not valid.
func hopAddress(hop string) netip.Addr {
	hop = strings.TrimSpace(hop)
	if both, err := netip.ParseAddrPort(hop); err == nil {
		return both.Addr().Unmap().WithZone("")
	}
	address, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(hop, "["), "]"))
	if err != nil {
		return netip.Addr{}
	}
	return address.Unmap().WithZone("")
}
