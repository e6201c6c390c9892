package edge

import (
	"net/http"
	"net/netip"

	"github.com/9bingyin/claude-code-lb/internal/claude"
	"github.com/9bingyin/claude-code-lb/internal/quota"
)

// owner is the client that the memory of a body is charged to: a client key, or an address if auth
// is off.
type owner struct {
	key     string
	network netip.Prefix
}

// ownerOf returns the owner that the memory of a request's body is charged to.
func ownerOf(key *quota.Key, r *http.Request, proxies []netip.Prefix) owner {
	if key != nil {
		return owner{key: key.Name()}
	}
	return owner{network: networkOf(claude.ClientAddress(r.RemoteAddr, r.Header, proxies))}
}

// networkOf returns the network from which one client can choose its addresses: for IPv6 a /64.
func networkOf(ip netip.Addr) netip.Prefix {
	ip = ip.Unmap().WithZone("")
	bits := ip.BitLen()
	if ip.Is6() {
		bits = 64
	}
	network, _ := ip.Prefix(bits)
	return network
}
