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
	f(`{"path": "health"}`, `servers[0].health_check.path: error: "health" is not a path such as "/health"`, false)
	f(`{"path": "https://a.example/health"}`, "is not a path", false)
	f(`{"path": "/%zz"}`, "is not a path", false)
	f(`{"path": "/health", "model": "m"}`, `stands beside "model": write one of them`, false)
	f(`{"interval": "5s"}`, `interval: warning: is ignored without "path" or "model"`, true)
	f(`{"path": "", "jitter_percent": 5}`, `jitter_percent: warning: is ignored without "path" or "model"`, true)
}
