package claude

import (
	"net"
	"net/http"
	"net/url"
	"strings"
)

// IsLoopback reports whether an address of a request reaches only this machine: a host or
// host:port, with an IP address or localhost.
func IsLoopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		host = address
	}
	return strings.EqualFold(host, "localhost") || hopAddress(host).IsLoopback()
}

// FromOtherOrigin reports whether a page of another origin sent the request, other than by a link
// that its reader followed. Programs that are not browsers send neither of the headers.
func FromOtherOrigin(r *http.Request) bool {
	if site := r.Header.Get("Sec-Fetch-Site"); site == "cross-site" || site == "same-site" {
		return r.Method == http.MethodPost || r.Header.Get("Sec-Fetch-Mode") != "navigate"
	}
	origin := r.Header.Get("Origin")
	if origin == "" {
		return false
	}
	u, err := url.Parse(origin)
	return err != nil || !strings.EqualFold(u.Host, r.Host)
}
