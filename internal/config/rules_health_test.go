package config

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestHealthCheck(t *testing.T) {
	cfg := decode(t, `{"servers": [{"url": "https://a.example", "token": "t", "health_check": {"path": "/health?deep=1"}}]}`)
	if got, want := cfg.Servers[0].HealthCheck, (HealthCheck{Path: "/health?deep=1", Interval: 30 * time.Second, Jitter: 20}); got != want {
		t.Errorf("HealthCheck = %+v, want %+v", got, want)
	}
	cfg = decode(t, `{"servers": [{"url": "https://a.example", "token": "t", "health_check": {"model": "m", "interval": "1m", "jitter_percent": 0}}]}`)
	if got, want := cfg.Servers[0].HealthCheck, (HealthCheck{Model: "m", Interval: time.Minute}); got != want {
		t.Errorf("HealthCheck = %+v, want %+v", got, want)
	}
}

func TestHealthCheckProblems(t *testing.T) {
	f := func(check, want string, warning bool) {
		t.Helper()
		src := fmt.Sprintf(`{"servers": [{"url": "https://a.example", "token": "t", "health_check": %s}]}`, check)
		_, problems := Decode("config.json", []byte(src), env(nil))
		if len(problems) != 1 || problems[0].Warning != warning || !strings.Contains(problems[0].String(), want) {
			t.Errorf("%s: problems are %v, want %q", check, problems, want)
		}
	}
	f(`{"path": "health"}`, `servers[0].health_check.path: error: "health" is not a plain path: write "/health"`, false)
	f(`{"path": "https://a.example/health"}`, `write "/health"`, false)
	f(`{"path": "/%zz"}`, `write one such as "/health"`, false)
	f(`{"path": "/../../x?y#z"}`, `"/../../x?y#z" is not a plain path: write "/x?y"`, false)
	f(`{"path": "//evil.example/x"}`, `write "/x"`, false)
	f(`{"path": "\\\\x"}`, `write one such as "/health"`, false)
	f(`{"path": "/health", "model": "m"}`, `stands beside "model": write one of them`, false)
	f(`{"interval": "5s"}`, `interval: warning: is ignored without "path" or "model"`, true)
	f(`{"path": "", "jitter_percent": 5}`, `jitter_percent: warning: is ignored without "path" or "model"`, true)
}

func TestHealthCheckPaths(t *testing.T) {
	f := func(path string, want bool) {
		t.Helper()
		if got := isPlainPath(path); got != want {
			t.Errorf("isPlainPath(%q) = %v", path, got)
		}
	}
	f("/health", true)
	f("/", true)
	f("/api/v1/status?deep=../1", true)
	f("/a..b/.well-known", true)
	for _, path := range []string{"", "health", "*", "?x", "//evil.example/x", "/../admin", "/%2e%2e/admin", "/a/./b", "/a#b", `/a\b`, "/a%5Cb", `\\x`} {
		f(path, false)
	}
}

func TestHealthCheckWithoutCredential(t *testing.T) {
	const missing = `servers[0].token: warning: is missing: the credential of the client is passed on`
	problems(t, servers(`{"url": "https://a.example", "health_check": {"model": "m"}}`), `1:14: `+missing,
		`1:69: servers[0].health_check.model: warning: is sent without a credential, because "token" is missing: the refusal proves no more than a "path" would`)
	problems(t, servers(`{"url": "https://a.example", "health_check": {"path": "/"}}`), `1:14: `+missing)
	problems(t, servers(`{"url": "https://a.example", "token": "t", "health_check": {"path": "/${SECRET}/.."}}`),
		`1:82: servers[0].health_check.path: error: this value is not a plain path: write one such as "/health"`)
}
