package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func FuzzDecode(f *testing.F) {
	const marker = "Zq9mArKeR7x"    // the value of a variable
	const literal = "LiT3rAlS3cReT" // a plain secret in the file
	vars := env(map[string]string{"SECRET": marker, "QUOTED": marker + `"}`, "N": "1"})
	for _, name := range []string{"config.example.json", "config.fallback.example.json"} {
		f.Add(string(readExample(f, name)))
	}
	f.Add(servers(`{"url": "https://${SECRET}", "token": "${SECRET}", "name": "${QUOTED}", "auth_header": "${SECRET}", "balance_check": "x ${SECRET} ${y%z}"}`))
	f.Add(servers(`{"url": "https://a.example/v1", "token": "$${SECRET}", "balance_check_interval": "${SECRET}"}, {"url": "a.example"}, {"url": "https://u:p@h?q#f"}`))
	f.Add(with(`"listen": "${SECRET}", "port": "${SECRET}", "mode": "${SECRET}", "auth": true, "auth_keys": ["${SECRET}", "${SECRET}", "", 1]`))
	f.Add(servers(`{"url": "https://a.example/v1", "token": "Bearer ` + literal + `", "wieght": -1}`))
	f.Add(servers(`{"url": "https://a.example", "balance_check": "echo ` + literal + `", "balance_check_interval": 1e9}`))
	f.Add(with(`"auth": true, "auth_keys": [{"key": "${SECRET}", "name": "ann", "expires": "2036-01-01", "models": ["claude-*"], "ips": ["10.0.0.0/8"], "rpm": 5, "tpm": 1, "concurrency": 2, "budget_usd": {"day": 1.5, "time_zone": "Europe/Berlin"}, "priority": 3}, "` + literal + `"]`))
	f.Add(with(`"auth": true, "keys_file": "none.json", "auth_keys": [{"key_sha256": "ab", "ips": ["x"], "models": ["["], "expires": "x", "budget_usd": {"time_zone": "Mars"}}, {"key": "a", "key_sha256": "b"}, {}]`))
	f.Add(with(`"auth": false, "auth_keys": ["` + literal + `\n"]`))
	f.Add(with(`"error_rules": [{"server": "${SECRET}", "status": 400, "type": "${SECRET}", "message": "(${SECRET}", "header": "${SECRET}: [", "scope": "model", "duration": "1h"}]`))
	f.Add(with(`"error_rules": [{"message": "(?i)quota|[", "scope": "account"}, {"header": "x-a: b+", "scope": "endpoint"}, {"header": "x-a: b+", "scope": "request", "duration": 1}, {}, 7]`))
	f.Add(with(`"max_attempts": 1, "max_wait": 0, "stream_keepalive": "10m", "hedge": true, "retry_budget_percent": 101, "retry_budget_floor": 0, "max_ejected_percent": 0, "slow_start": 0, "timeouts": {"total": 1}, "breaker": {"consecutive": 0, "percent": 1, "minimum": 1, "window": "1s"}`))
	f.Add(servers(`{"url": "https://a.example", "token": "t", "account": "${SECRET}\n", "health_check": {"path": "${SECRET}", "model": "${SECRET}", "interval": 0, "jitter_percent": 100}}, {"url": "https://b.example", "health_check": {"interval": 5}}`))
	f.Add(with(`"age_identity": "none/${SECRET}", "auth": true, "auth_keys": ["age:${SECRET}", "age:` + literal + `"]`))
	f.Add("\ufeff// c\r\n{\"a\": [1, {\"b\": \"\\ud800\"}], \"a\": 1e999, \"timeouts\": {\"idle\": \"1h\"},} /* x */ y")
	f.Add(`{"token": "a` + "\n" + `", 'b': True, "servers": [[[`)

	f.Fuzz(func(t *testing.T, src string) {
		if strings.Contains(src, marker) || strings.Contains(src, "file:") {
			t.Skip()
		}
		cfg, problems := Decode("c", []byte(src), vars)
		lines := strings.Split(strings.TrimPrefix(src, "\ufeff"), "\n")
		for i, p := range problems {
			if p.Line < 1 || p.Line > len(lines) || p.Col < 1 || p.Col > len([]rune(lines[p.Line-1]))+1 {
				t.Errorf("outside the source: %s", p)
			}
			if strings.Contains(p.String(), marker) {
				t.Errorf("shows a variable: %s", p)
			}
			if strings.ContainsAny(p.String(), "\r\n") {
				t.Errorf("more than one line: %s", p)
			}
			if i > 0 && (p.Line < problems[i-1].Line || p.Line == problems[i-1].Line && p.Col < problems[i-1].Col) {
				t.Errorf("out of order: %s", p)
			}
		}
		if strings.Count(src, literal) == 1 && strings.Contains(secretsOf(cfg), literal) {
			if shown := fmt.Sprintf("%v %+v %s", problems, cfg, cfg.Redacted()); strings.Contains(shown, literal) {
				t.Errorf("shows a secret: %s", shown)
			}
		}
		if problems.Failed() {
			return
		}
		checkConfig(t, cfg)
		if shown := fmt.Sprintf("%+v %s", cfg, cfg.Redacted()); strings.Contains(shown, marker) && !strings.Contains(withoutSecrets(cfg), marker) {
			t.Errorf("shows a secret: %s", shown)
		}
		checkRoundTrip(t, cfg)
	})
}

// checkConfig checks the properties that other packages rely on.
func checkConfig(t *testing.T, cfg *Config) {
	t.Helper()
	names := map[string]bool{}
	for i, s := range cfg.Servers {
		if s.Name == "" || names[s.Name] || s.URL == nil || s.URL.Host == "" || s.Weight < 0 || s.Priority < 0 || s.BalanceCheckInterval <= 0 {
			t.Errorf("servers[%d]: %+v", i, s)
		}
		names[s.Name] = true
	}
	for i, r := range cfg.ErrorRules {
		name, value := r.HeaderParts()
		for _, expression := range []string{r.Message, value} {
			if _, err := regexp.Compile(expression); err != nil {
				t.Errorf("error_rules[%d]: %v", i, err)
			}
		}
		if r.Scope == "" || r.Line < 1 || r.Header != "" && name == "" {
			t.Errorf("error_rules[%d]: %+v", i, r)
		}
	}
	if len(cfg.Servers) == 0 || cfg.Cooldown <= 0 || cfg.MaxBodyMB < 1 || cfg.Mode == "" || cfg.Algorithm == "" || cfg.LogFormat == "" || cfg.Auth && len(cfg.AuthKeys) == 0 {
		t.Errorf("Config: %+v", cfg)
	}
}

func secretsOf(cfg *Config) string {
	var out strings.Builder
	for _, s := range cfg.Servers {
		out.WriteString(s.Token.Reveal() + " " + s.BalanceCheck.Reveal() + " " + s.BalanceEnv.Reveal() + " ")
	}
	for _, k := range cfg.AuthKeys {
		out.WriteString(k.Key.Reveal() + " ")
	}
	out.WriteString(cfg.AdminKey.Reveal())
	return out.String()
}

// withoutSecrets returns everything that a Config may show.
func withoutSecrets(cfg *Config) string {
	out := fmt.Sprint(cfg.SchemaURL, cfg.Listen, cfg.Port, cfg.Admin, cfg.Mode, cfg.Algorithm, cfg.AgeIdentity)
	for _, s := range cfg.Servers {
		out += fmt.Sprint(s.Name, s.URL, s.Account, s.HealthCheck)
	}
	for _, r := range cfg.ErrorRules {
		out += fmt.Sprint(r)
	}
	return strings.ToLower(out) + out
}

// redactedKey matches a client key in the output of Redacted, as a string or in an object.
var redactedKey = regexp.MustCompile(`(?m)^ +("key": )?"\[redacted\]"`)

// checkRoundTrip decodes the output of Redacted: apart from secrets and values without effect it is
// equal.
func checkRoundTrip(t *testing.T, cfg *Config) {
	t.Helper()
	written := cfg.Redacted()
	// Redacted keys are all equal, which Decode would reject.
	n := 0
	written = redactedKey.ReplaceAllFunc(written, func(found []byte) []byte {
		n++
		return bytes.Replace(found, []byte(redacted), fmt.Appendf(nil, "key-%d", n), 1)
	})
	again, problems := Decode("c", written, env(nil))
	if problems.Failed() {
		t.Fatalf("%v\n%s", problems, written)
	}
	strip := func(cfg *Config) *Config {
		out := cfg.withoutUnused()
		out.AdminKey, out.Files, out.Literal, out.Weak = Secret{}, nil, Place{}, nil
		for i := range out.AuthKeys {
			out.AuthKeys[i].Key = Secret{}
		}
		out.ErrorRules = slices.Clone(out.ErrorRules)
		for i := range out.ErrorRules {
			out.ErrorRules[i].Line = 0
		}
		for i := range out.Servers {
			s := &out.Servers[i]
			s.Token, s.BalanceCheck, s.BalanceEnv = Secret{}, Secret{}, Secret{}
			s.URL = &url.URL{Opaque: s.URL.String()} // one address may be spelled in several ways
		}
		return out
	}
	if a, b := strip(cfg), strip(again); !reflect.DeepEqual(a, b) {
		x, _ := json.Marshal(a)
		y, _ := json.Marshal(b)
		t.Errorf("decoded again:\n%s\n%s\n%s", x, y, written)
	}
}
