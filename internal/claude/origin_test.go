package claude

import (
	"net/http/httptest"
	"testing"
)

func TestIsLoopback(t *testing.T) {
	for _, test := range []struct {
		address string
		want    bool
	}{
		{"127.0.0.1", true},
		{"127.8.9.10:3000", true},
		{"[::1]:3000", true},
		{"[::1]", true},
		{"::1", true},
		{"[::ffff:127.0.0.1]:80", true},
		{"LocalHost:3000", true},
		{"0.0.0.0:3000", false},
		{"127.0.0.1.evil.example", false},
		{"localhost.evil.example:3000", false},
		{"10.0.0.1:3000", false},
		{"", false},
	} {
		if got := IsLoopback(test.address); got != test.want {
			t.Errorf("%q: %v, want %v", test.address, got, test.want)
		}
	}
}

func TestFromOtherOrigin(t *testing.T) {
	const host = "lb.example:3000"
	for _, test := range []struct {
		method, site, mode, origin string
		want                       bool
	}{
		{"GET", "", "", "", false},
		{"GET", "same-origin", "cors", "", false},
		{"GET", "none", "navigate", "", false},
		{"GET", "cross-site", "navigate", "", false},
		{"GET", "cross-site", "no-cors", "", true},
		{"GET", "same-site", "cors", "", true},
		{"POST", "cross-site", "navigate", "", true},
		{"POST", "", "", "http://lb.example:3000", false},
		{"POST", "", "", "http://lb.example:4000", true},
		{"GET", "", "", "null", true},
	} {
		r := httptest.NewRequest(test.method, "http://"+host+"/", nil)
		for name, value := range map[string]string{"Sec-Fetch-Site": test.site, "Sec-Fetch-Mode": test.mode, "Origin": test.origin} {
			if value != "" {
				r.Header.Set(name, value)
			}
		}
		if got := FromOtherOrigin(r); got != test.want {
			t.Errorf("%+v: %v", test, got)
		}
	}
}
