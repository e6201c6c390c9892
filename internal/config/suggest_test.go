package config

import "testing"

func TestNearest(t *testing.T) {
	f := func(s, want string, candidates ...string) {
		t.Helper()
		if got := nearest(s, candidates); got != want {
			t.Errorf("nearest(%q, %q) = %q, want %q", s, candidates, got, want)
		}
	}
	f("wieght", "weight", "url", "weight", "token")
	f("servers_", "servers", "servers", "server")
	f("Auth-Key", "auth_keys", "auth", "auth_keys")
	f("jitter", "jitter_percent", "interval", "jitter_percent")
	f("Retry-Budget", "retry_budget_percent", "retry_budget_percent", "retry_budget_floor")
	f("max", "", "max_wait")
	f("x", "", "url", "auth")
	f("", "", "url")
	f("completely_different", "", "cooldown", "drain_timeout")
}

func TestDistance(t *testing.T) {
	f := func(a, b string, want int) {
		t.Helper()
		if got := distance(a, b); got != want {
			t.Errorf("distance(%q, %q) = %d, want %d", a, b, got, want)
		}
	}
	f("", "", 0)
	f("", "abc", 3)
	f("abc", "abc", 0)
	f("abc", "acb", 1)
	f("abc", "abd", 1)
	f("größe", "grösse", 2)
}
