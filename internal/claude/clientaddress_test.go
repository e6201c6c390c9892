package claude

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"
)

func TestClientAddress(t *testing.T) {
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8:1::/48")}
	f := func(remote, want string, header ...string) {
		t.Helper()
		h := http.Header{}
		for i := 0; i < len(header); i += 2 {
			h.Add(header[i], header[i+1])
		}
		if got := ClientAddress(remote, h, trusted).String(); got != want {
			t.Errorf("%s %v: %s, want %s", remote, h, got, want)
		}
	}
	// Only trusted proxies may name the client.
	f("192.0.2.1:5", "192.0.2.1", "X-Forwarded-For", "6.6.6.6")
	f("[2001:db8::1]:5", "2001:db8::1", "X-Real-IP", "6.6.6.6")
	f("10.1.1.1:5", "10.1.1.1")
	f("10.1.1.1:5", "192.0.2.1", "X-Forwarded-For", "192.0.2.1")
	f("[::ffff:10.1.1.1]:5", "192.0.2.1", "X-Forwarded-For", "192.0.2.1")
	f("[2001:db8:1::7]:5", "2001:db8::9", "X-Forwarded-For", "[2001:db8::9]:443")
	// The last hop that is not a proxy: the client may have forged earlier hops.
	f("10.1.1.1:5", "192.0.2.1", "X-Forwarded-For", "6.6.6.6, 192.0.2.1")
	f("10.1.1.1:5", "192.0.2.1", "X-Forwarded-For", "6.6.6.6", "X-Forwarded-For", "192.0.2.1, 10.2.2.2")
	f("10.1.1.1:5", "10.3.3.3", "X-Forwarded-For", "10.3.3.3, 10.2.2.2")
	f("10.1.1.1:5", "10.2.2.2", "X-Forwarded-For", "6.6.6.6, unknown, 10.2.2.2")
	f("10.1.1.1:5", "10.1.1.1", "X-Forwarded-For", "6.6.6.6,")
	f("10.1.1.1:5", "10.0.0.1", "X-Forwarded-For", "6.6.6.6"+strings.Repeat(", 10.0.0.1", 100_000))
	// Other headers, if that one is missing.
	f("10.1.1.1:5", "192.0.2.1", "Forwarded", `for=6.6.6.6, for=192.0.2.1;proto=https;by=10.1.1.1`)
	f("10.1.1.1:5", "2001:db8::9", "Forwarded", `proto=https; For="[2001:db8::9]:4711"`)
	f("10.1.1.1:5", "10.1.1.1", "Forwarded", `for=_hidden`)
	f("10.1.1.1:5", "192.0.2.1", "X-Real-Ip", "192.0.2.1")
	f("10.1.1.1:5", "192.0.2.2", "X-Real-Ip", "192.0.2.1", "Forwarded", "for=192.0.2.2")
	f("10.1.1.1:5", "192.0.2.3", "X-Forwarded-For", "192.0.2.3", "X-Real-Ip", "192.0.2.1", "Forwarded", "for=192.0.2.2")
	f("pipe", "invalid IP")
}

func FuzzClientAddress(f *testing.F) {
	f.Add("10.0.0.1:1", "1.2.3.4, 10.0.0.1", `for="[::1]:2", for=_x;by=3`)
	f.Fuzz(func(t *testing.T, remote, forwardedFor, forwarded string) {
		trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
		for _, h := range []http.Header{{"X-Forwarded-For": {forwardedFor}}, {"Forwarded": {forwarded}}, {"X-Real-Ip": {forwarded}}} {
			got := ClientAddress(remote, h, trusted)
			if own := ClientAddress(remote, nil, nil); !isTrusted(own, trusted) && got != own {
				t.Errorf("%s believes %v: %s", remote, h, got)
			}
		}
	})
}
