package claude

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// mostHops bounds how many hops of a forwarding header are looked at.
const mostHops = 32

// ClientAddress is the address of the client of a connection from remote, host:port. When that is one of the trusted proxies, the address is the
// last hop that its header names and that is no such proxy. Whatever stands before that hop, the client may have made up.
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

// hops are the addresses that forwarding headers name, the nearest hop last. Of several headers the most usual one counts.
func hops(h http.Header) []string {
	if lines := h["X-Forwarded-For"]; len(lines) > 0 {
		return lastParts(strings.Join(lines, ","))
	}
	if lines := h["Forwarded"]; len(lines) > 0 {
		list := lastParts(strings.Join(lines, ","))
		for i, element := range list {
			list[i] = forwardedFor(element)
		}
		return list
	}
	return h["X-Real-Ip"]
}

// lastParts splits a list at its commas, as far as anybody looks.
func lastParts(list string) []string {
	var parts []string
	for range mostHops {
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

// forwardedFor is the node that an element of Forwarded says the request came from (RFC 7239).
func forwardedFor(element string) string {
	for pair := range strings.SplitSeq(element, ";") {
		if name, value, ok := strings.Cut(pair, "="); ok && strings.EqualFold(strings.TrimSpace(name), "for") {
			return strings.Trim(strings.TrimSpace(value), `"`)
		}
	}
	return ""
}

// hopAddress reads an address, with or without a port. It is not valid for anything else.
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
