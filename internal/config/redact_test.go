package config

import (
	"bytes"
	"encoding/json"
	"reflect"
	"testing"
)

func TestRedacted(t *testing.T) {
	cfg := decode(t, `{
		"listen": "127.0.0.1:3000", "mode": "fallback", "auth": true, "auth_keys": ["s3cr3t"], "cooldown": 90,
		"servers": [
			{"url": "https://a.example/x", "token": "s3cr3t", "priority": 1, "account": "team", "health_check": {"model": "m"}},
			{"url": "https://b.example", "name": "say <$${b}>", "balance_check": "echo s3cr3t", "health_check": {"interval": 5}},
		],
		"max_attempts": 3,
		"error_rules": [{"status": 400, "message": "no <quota>$", "scope": "account"}, {"header": "x-a", "scope": "endpoint", "duration": 90}],
		"ledger": "postgres://me:s3cr3t@db/lb",
	}`)
	const want = `{
  "listen": "127.0.0.1:3000",
  "mode": "fallback",
  "affinity": "auto",
  "index_memory_mb": 64,
  "servers": [
    {
      "name": "a.example",
      "url": "https://a.example/x",
      "weight": 1,
      "priority": 1,
      "token": "[redacted]",
      "auth_header": "auto",
      "account": "team",
      "price_multiplier": 1,
      "health_check": {
        "model": "m",
        "interval": "30s",
        "jitter_percent": 20
      }
    },
    {
      "name": "say <$${b}>",
      "url": "https://b.example",
      "weight": 1,
      "auth_header": "auto",
      "price_multiplier": 1,
      "balance_check": "[redacted]",
      "balance_check_interval": "5m"
    }
  ],
  "cooldown": "1m30s",
  "auth": true,
  "auth_keys": [
    "[redacted]"
  ],
  "resources": "own",
  "time_zone": "UTC",
  "admin": "127.0.0.1:3001",
  "debug": false,
  "max_body_mb": 32,
  "max_upload_mb": 500,
  "drain_timeout": "10m",
  "timeouts": {
    "connect": "10s",
    "response_header": "2m",
    "total": "4m40s",
    "non_streaming": "10m",
    "idle": "2m"
  },
  "max_attempts": 3,
  "max_wait": "30s",
  "stream_keepalive": "45s",
  "hedge": false,
  "retry_budget_percent": 20,
  "retry_budget_floor": 10,
  "max_ejected_percent": 50,
  "breaker": {
    "consecutive": 1,
    "percent": 50,
    "minimum": 10,
    "window": "30s"
  },
  "slow_start": "30s",
  "error_rules": [
    {
      "status": 400,
      "message": "no <quota>$",
      "scope": "account"
    },
    {
      "header": "x-a",
      "scope": "endpoint",
      "duration": "1m30s"
    }
  ],
  "ledger": "[redacted]",
  "retention_days": 90,
  "max_size_mb": 2048,
  "log_format": "auto",
  "http_engine": "fast"
}
`
	if got := string(cfg.Redacted()); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

// TestRedactedIsAFixedPoint checks that decoding the output gives the same output.
func TestRedactedIsAFixedPoint(t *testing.T) {
	for _, src := range []string{
		servers(`{"url": "https://a.example", "token": "t"}`),
		`{"fallback": true, "port": "80", "servers": [{"url": "http://a.example", "weight": 0, "priority": 3, "balance_threshold": 7}]}`,
		`{"mode": "load_balance", "algorithm": "random", "auth_keys": ["k"], "servers": [{"url": "https://a.example", "priority": 3}, {"url": "https://a.example"}]}`,
		string(readExample(t, "config.example.json")),
	} {
		first := decode(t, src).Redacted()
		if second := decode(t, string(first)).Redacted(); !bytes.Equal(first, second) {
			t.Errorf("%s\nfirst:\n%s\nsecond:\n%s", src, first, second)
		}
		if !json.Valid(first) {
			t.Errorf("not JSON: %s", first)
		}
	}
}

func TestRedactedLeavesTheConfigAlone(t *testing.T) {
	const src = `{"port": "1", "listen": ":2", "auth_keys": ["k"], "servers": [{"url": "https://a.example", "priority": 3}]}`
	cfg := decode(t, src)
	cfg.Redacted()
	if want := decode(t, src); !reflect.DeepEqual(cfg, want) {
		t.Errorf("changed to %+v", cfg)
	}
}
