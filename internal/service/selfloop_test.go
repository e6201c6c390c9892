package service

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/config"
)

func inTest(hang bool) machine {
	names := map[string]string{"lb.example": "192.0.2.7", "box": "::ffff:192.0.2.7", "2130706433": "127.0.0.1", "0177.0.0.1": "127.0.0.1", "api.example": "198.51.100.1"}
	return machine{
		lookup: func(ctx context.Context, host string) ([]netip.Addr, error) {
			if hang {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			ip, err := netip.ParseAddr(names[host])
			return []netip.Addr{ip}, err
		},
		interfaces: func() ([]net.Addr, error) {
			return []net.Addr{&net.IPNet{IP: net.IPv4(192, 0, 2, 7), Mask: net.CIDRMask(24, 32)}, &net.IPNet{IP: net.ParseIP("2001:db8::7"), Mask: net.CIDRMask(64, 128)}}, nil
		},
	}
}

// selfProblems returns the problems of one server.
func selfProblems(t *testing.T, m machine, listen, admin, url string) string {
	t.Helper()
	src := fmt.Appendf(nil, `{"listen": %q, "admin": %q, "admin_key": "k-5Vv8hJ2mQp9xLw3t",
  "servers": [{"url": "https://api.anthropic.com", "token": "t"}, {"url": %q, "token": "t"}]}`, listen, admin, url)
	cfg, problems := config.Decode("c.json", src, func(string) (string, bool) { return "", false })
	if problems.Failed() {
		t.Fatal(problems)
	}
	var said []string
	for _, p := range m.selfProblems("c.json", src, cfg) {
		said = append(said, p.String())
	}
	return strings.Join(said, "\n")
}

func TestServersThatAreTheBalancer(t *testing.T) {
	f := func(want bool, listen, url string) {
		t.Helper()
		text := selfProblems(t, inTest(false), listen, "127.0.0.1:7001", url)
		if want != strings.HasPrefix(text, "c.json:2:75: servers[1].url: error: is the balancer's own address ("+listen+")") || !want && text != "" {
			t.Errorf("%s, %s: %q", listen, url, text)
		}
	}
	for _, host := range []string{"127.0.0.1", "127.9.9.9", "localhost", "lb.localhost", "[::1]", "0.0.0.0", "[::]", "192.0.2.7", "lb.example", "box", "[2001:db8::7]", "[::ffff:127.0.0.1]", "2130706433", "0177.0.0.1"} {
		f(true, ":7000", "http://"+host+":7000/relay")
		f(true, ":7000", "https://"+host+":7000")
		f(false, ":7000", "http://"+host+":7002")
		f(false, ":0", "http://"+host+":7000")
		f(false, "198.51.100.9:7000", "http://"+host+":7000")
	}
	f(false, ":7000", "http://api.example:7000")
	f(false, ":7000", "http://unknown.example:7000")
	f(true, ":80", "http://lb.example")
	f(true, ":443", "https://lb.example")
	f(false, ":80", "https://lb.example")
	f(true, "127.0.0.1:7000", "http://localhost:7000")
	f(true, "127.0.0.1:7000", "http://0.0.0.0:7000")
	f(false, "127.0.0.1:7000", "http://lb.example:7000")
	f(false, "127.0.0.1:7000", "http://[::1]:7000")
	f(true, "localhost:7000", "http://[::1]:7000")
	f(true, "lb.example:7000", "http://192.0.2.7:7000")
	f(true, "0.0.0.0:7000", "http://lb.example:7000")
	f(false, "0.0.0.0:7000", "http://[::1]:7000")
	f(true, "[::]:7000", "http://127.0.0.1:7000")
}

func TestServersThatAreTheAdminListener(t *testing.T) {
	f := func(admin, url, want string) {
		t.Helper()
		if text := selfProblems(t, inTest(false), ":7000", admin, url); !strings.Contains(text, want) || want == "" && text != "" {
			t.Errorf("%s, %s: %q", admin, url, text)
		}
	}
	f("127.0.0.1:7001", "http://localhost:7001", "error: is the address of the balancer's admin listener (127.0.0.1:7001)")
	f("", "http://localhost:3001", `warning: is the address of the balancer's admin listener (127.0.0.1:3001), unless the upstream already listens there`)
	f("off", "http://localhost:3001", "")
}

// TestLookupsAreBounded checks that a dead resolver delays the start by at most lookupTime, for any
// number of names.
func TestLookupsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		if text := selfProblems(t, inTest(true), "lb.example:7000", "off", "http://box:7000"); text != "" {
			t.Error(text)
		}
		if took := time.Since(began); took > lookupTime {
			t.Error(took)
		}
	})
}
