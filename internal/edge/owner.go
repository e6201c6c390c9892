package edge

import (
	"net/http"
	"net/netip"

	"claude-code-lb/internal/quota"
)

// ownerOf is who is charged for the memory of a request's body.
func ownerOf(key *quota.Key, r *http.Request) owner {
	if key != nil {
		return owner{key: key.Name()}
	}
	address, _ := netip.ParseAddrPort(r.RemoteAddr)
	return owner{network: networkOf(address.Addr())}
}

// networkOf is what one client can choose its addresses from: of IPv6 that is a /64.
func networkOf(ip netip.Addr) netip.Prefix {
	ip = ip.Unmap().WithZone("")
	bits := ip.BitLen()
	if ip.Is6() {
		bits = 64
	}
	network, _ := ip.Prefix(bits)
	return network
}
