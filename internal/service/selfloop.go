package service

import (
	"context"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/config"
)

// lookupTime limits the lookup of all names together: a resolver that does not respond must not
// delay the start.
const lookupTime = time.Second

// listening is an address on which the balancer listens.
type listening struct {
	what string // for messages
	ips  []netip.Addr
	any  bool // every interface
	v4   bool // if any: only IPv4
	port string
	weak bool // the default admin address, which is not used if another process has it
}

// machine determines which addresses belong to this machine. Tests replace it.
type machine struct {
	lookup     func(ctx context.Context, host string) ([]netip.Addr, error)
	interfaces func() ([]net.Addr, error)
}

func thisMachine() machine {
	lookup := func(ctx context.Context, host string) ([]netip.Addr, error) {
		return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	}
	return machine{lookup, net.InterfaceAddrs}
}

// selfProblems reports servers whose address is one of the balancer's own: every request there
// would come back again and again. A loop through another process is detected when a request comes
// back; see transport.Loop.
func (m machine) selfProblems(file string, src []byte, cfg *config.Config) config.Problems {
	ctx, cancel := context.WithTimeout(context.Background(), lookupTime)
	defer cancel()
	own := m.listeners(ctx, cfg)
	found := make([]listening, len(cfg.Servers))
	var lookups sync.WaitGroup
	for i, s := range cfg.Servers {
		if s.URL != nil && slices.ContainsFunc(own, func(l listening) bool { return l.port == portOf(s.URL) }) {
			lookups.Go(func() { found[i] = m.listenerBehind(ctx, own, s.URL) })
		}
	}
	lookups.Wait()
	var problems config.Problems
	for i, l := range found {
		if l.port == "" {
			continue
		}
		p := config.Problem{File: file, Path: "servers[" + strconv.Itoa(i) + "].url", Warning: l.weak}
		p.Line, p.Col = config.Locate(src, p.Path)
		p.Msg = "is " + l.what + ": requests would come back to the balancer. Write the address of an upstream, such as https://api.anthropic.com"
		if l.weak {
			p.Msg = "is " + l.what + `, unless the upstream already listens there: write another address in "admin", or "off"`
		}
		problems = append(problems, p)
	}
	return problems
}

// listeners returns the addresses on which the balancer listens with a configuration.
func (m machine) listeners(ctx context.Context, cfg *config.Config) []listening {
	own := []listening{m.listening(ctx, "the balancer's own address", cfg.Address())}
	if address, chosen := cfg.AdminAddress(); address != "" {
		l := m.listening(ctx, "the address of the balancer's admin listener", address)
		l.weak = !chosen
		own = append(own, l)
	}
	return slices.DeleteFunc(own, func(l listening) bool { return l.port == "" || l.port == "0" })
}

// listening resolves an address of the balancer.
func (m machine) listening(ctx context.Context, what, address string) listening {
	host, port, _ := net.SplitHostPort(address)
	l := listening{what: what + " (" + address + ")", port: port}
	if host == "" {
		l.any = true
		return l
	}
	l.ips = m.resolve(ctx, host)
	if i := slices.IndexFunc(l.ips, netip.Addr.IsUnspecified); i >= 0 {
		l.any, l.v4 = true, l.ips[i].Is4()
	}
	return l
}

// listenerBehind returns the listener that requests to a URL reach, or the zero value.
func (m machine) listenerBehind(ctx context.Context, own []listening, u *url.URL) listening {
	targets := m.resolve(ctx, u.Hostname())
	for _, l := range own {
		if l.port == portOf(u) && slices.ContainsFunc(targets, func(ip netip.Addr) bool { return m.reaches(ip, l) }) {
			return l
		}
	}
	return listening{}
}

// reaches reports whether a connection to an address reaches a listener on the same port.
func (m machine) reaches(ip netip.Addr, l listening) bool {
	if ip.IsUnspecified() { // the kernel connects to the loopback address
		loopback := func(ip netip.Addr) bool { return ip.IsLoopback() }
		return l.any || slices.ContainsFunc(l.ips, loopback)
	}
	if l.any {
		return (ip.Is4() || !l.v4) && m.isOwn(ip)
	}
	return slices.Contains(l.ips, ip)
}

func (m machine) isOwn(ip netip.Addr) bool {
	if ip.IsLoopback() {
		return true
	}
	addresses, _ := m.interfaces() // on an error only loopback addresses count
	return slices.ContainsFunc(addresses, func(a net.Addr) bool {
		prefix, err := netip.ParsePrefix(a.String())
		return err == nil && prefix.Addr().Unmap().WithZone("") == ip
	})
}

// resolve returns the addresses of a host, or nil if the lookup fails.
func (m machine) resolve(ctx context.Context, host string) []netip.Addr {
	if ip, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return []netip.Addr{ip.Unmap().WithZone("")}
	}
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}
	}
	ips, _ := m.lookup(ctx, host)
	for i, ip := range ips {
		ips[i] = ip.Unmap().WithZone("")
	}
	return ips
}

func portOf(u *url.URL) string {
	switch {
	case u.Port() != "":
		return u.Port()
	case u.Scheme == "https":
		return "443"
	}
	return "80"
}
