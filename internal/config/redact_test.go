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
			{"url": "https://a.example/x", "token": "s3cr3t", "priority": 1},
			{"url": "https://b.example", "name": "say <$${b}>", "balance_check": "echo s3cr3t"},
		],
	}`)
	const want = `{
  "listen": "127.0.0.1:3000",
  "mode": "fallback",
  "servers": [
    {
      "name": "a.example",
      "url": "https://a.example/x",
      "weight": 1,
      "priority": 1,
      "token": "[redacted]",
      "auth_header": "auto"
    },
    {
      "name": "say <$${b}>",
      "url": "https://b.example",
      "weight": 1,
      "auth_header": "auto",
      "balance_check": "[redacted]",
      "balance_check_interval": "5m"
    }
  ],
  "cooldown": "1m30s",
  "auth": true,
  "auth_keys": [
    "[redacted]"
  ],
  "debug": false,
  "max_body_mb": 32,
  "drain_timeout": "10m",
  "timeouts": {
    "connect": "10s",
    "response_header": "2m",
    "non_streaming": "10m",
    "idle": "2m"
  },
  "log_format": "auto"
}
`
	if got := string(cfg.Redacted()); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

// What has no effect is left out, and reading the rest again gives the same.
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
