package config

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// env looks variables up in a fixed set.
func env(pairs map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		value, ok := pairs[name]
		return value, ok
	}
}

// decode decodes src and fails the test on any error.
func decode(t *testing.T, src string) *Config {
	t.Helper()
	cfg, problems := Decode("config.json", []byte(src), env(nil))
	for _, p := range problems {
		if !p.Warning {
			t.Errorf("%s", p)
		}
	}
	return cfg
}

func TestDefaults(t *testing.T) {
	cfg := decode(t, `{"servers": [{"url": "https://api.anthropic.com", "token": "sk-1"}]}`)
	s := cfg.Servers[0]
	if s.URL.String() != "https://api.anthropic.com" {
		t.Errorf("URL = %s", s.URL)
	}
	s.URL, cfg.Servers = nil, nil
	want := &Config{
		Port: "3000", Mode: ModeLoadBalance, Algorithm: RoundRobin, Affinity: AffinityAuto, IndexMemoryMB: 64, Cooldown: time.Minute, MaxBodyMB: 32, MaxUploadMB: 500, Resources: ResourcesOwn, TimeZone: "UTC", DrainTimeout: 10 * time.Minute, LogFormat: LogAuto, HTTPEngine: HTTPEngineFast,
		IdentityPath: "config.agekey", Literal: Place{"servers[0].token", 1, 60},
		Timeouts: Timeouts{Connect: 10 * time.Second, ResponseHeader: 120 * time.Second, Total: 280 * time.Second, NonStreaming: 10 * time.Minute, Idle: 120 * time.Second},
		MaxWait:  30 * time.Second, StreamKeepalive: 45 * time.Second, RetryBudget: 20, RetryFloor: 10, MaxEjectedPercent: 50,
		Breaker: Breaker{Consecutive: 1, Percent: 50, Minimum: 10, Window: 30 * time.Second}, SlowStart: 30 * time.Second, RetentionDays: 90, MaxSizeMB: 2048,
	}
	cfg.Weak, want.Weak = nil, nil
	if !reflect.DeepEqual(cfg, want) {
		t.Errorf("Config = %+v, want %+v", cfg, want)
	}
	wantServer := Server{
		Name: "api.anthropic.com", Weight: 1, Token: NewSecret("sk-1"), AuthHeader: AuthHeaderAuto, BalanceCheckInterval: 300 * time.Second, PriceMultiplier: 1,
		HealthCheck: HealthCheck{Interval: 30 * time.Second, Jitter: 20},
	}
	if s != wantServer {
		t.Errorf("Server = %+v, want %+v", s, wantServer)
	}
	if cfg.Address() != ":3000" {
		t.Errorf("Address = %q", cfg.Address())
	}
}

func TestEveryField(t *testing.T) {
	cfg := decode(t, `
	// comments and trailing commas are fine
	{
		"$schema": "config.schema.json",
		"listen": "127.0.0.1:8080",
		"mode": "fallback", "affinity": "off", "burst_hold": "2s", "index_memory_mb": 8,
		"servers": [{
			"name": "main", "url": "https://Relay.Example/claude/", "weight": 0, "priority": 2, "token": "sk-1", "auth_header": "x-api-key",
			"account": "team", "price_multiplier": 0.5, "discount_percent": 12.5, "rate_limit": {"requests": 50, "input_tokens": 30000, "output_tokens": 8000}, "health_check": {"path": "/health", "interval": 5, "jitter_percent": 0},
			"balance_check": "echo 5", "balance_check_interval": 180, "balance_threshold": 10.5,
		}],
		"cooldown": 0.5, "auth": true, "auth_keys": ["sk-a", "sk-b",], "debug": true,
		"max_body_mb": 1, "drain_timeout": "0s", "log_format": "json", "http_engine": "go", "age_identity": "keys/lb.agekey", /* nearly done */
		"timeouts": {"connect": "1500ms", "response_header": 30, "non_streaming": "1h", "idle": 0, "total": "2m"},
		"max_attempts": 3, "max_wait": 0, "stream_keepalive": "10s", "hedge": false, "retry_budget_percent": 0, "retry_budget_floor": 1, "max_ejected_percent": 100,
		"breaker": {"consecutive": 3, "percent": 20, "minimum": 5, "window": "1m"}, "slow_start": 0,
		"ledger": "books.db", "retention_days": 7, "max_size_mb": 100,
		"error_rules": [{"server": "main", "status": 400, "type": "t", "message": "m+", "header": "x-a: b", "scope": "model", "duration": "1h"}],
	} // no line break after this`)
	s := cfg.Servers[0]
	if got := s.URL.String(); got != "https://relay.example/claude" {
		t.Errorf("URL = %s", got)
	}
	s.URL, cfg.Servers = nil, nil
	want := &Config{
		SchemaURL: "config.schema.json", Listen: "127.0.0.1:8080", Port: "3000", Mode: ModeFallback, Algorithm: RoundRobin, Affinity: AffinityOff, BurstHold: 2 * time.Second, IndexMemoryMB: 8, Cooldown: 500 * time.Millisecond,
		Auth: true, AuthKeys: []ClientKey{{Key: NewSecret("sk-a"), Name: "key-3781968dad", Place: "auth_keys[0]"}, {Key: NewSecret("sk-b"), Name: "key-f46e5724f6", Place: "auth_keys[1]"}}, Debug: true, MaxBodyMB: 1, MaxUploadMB: 500, Resources: ResourcesOwn, TimeZone: "UTC", LogFormat: LogJSON, HTTPEngine: HTTPEngineGo,
		AgeIdentity: "keys/lb.agekey", IdentityPath: filepath.Join("keys", "lb.agekey"), Literal: Place{"servers[0].token", 8, 97},
		Timeouts:    Timeouts{Connect: 1500 * time.Millisecond, ResponseHeader: 30 * time.Second, Total: 2 * time.Minute, NonStreaming: time.Hour},
		MaxAttempts: 3, StreamKeepalive: 10 * time.Second, RetryFloor: 1, MaxEjectedPercent: 100,
		Breaker:    Breaker{Consecutive: 3, Percent: 20, Minimum: 5, Window: time.Minute},
		ErrorRules: []ErrorRule{{Server: "main", Status: 400, Type: "t", Message: "m+", Header: "x-a: b", Scope: ErrorScopeModel, Duration: time.Hour, Line: 18}},
		Ledger:     NewSecret("books.db"), RetentionDays: 7, MaxSizeMB: 100,
	}
	cfg.Weak, want.Weak = nil, nil
	if !reflect.DeepEqual(cfg, want) {
		t.Errorf("Config = %+v, want %+v", cfg, want)
	}
	wantServer := Server{
		Name: "main", Priority: 2, Token: NewSecret("sk-1"), AuthHeader: AuthHeaderXAPIKey,
		Account: "team", PriceMultiplier: 0.5, DiscountPercent: 12.5, RateLimit: RateLimit{Requests: 50, InputTokens: 30000, OutputTokens: 8000}, HealthCheck: HealthCheck{Path: "/health", Interval: 5 * time.Second},
		BalanceCheck: NewSecret("echo 5"), BalanceCheckInterval: 3 * time.Minute, BalanceThreshold: 10.5,
	}
	if s != wantServer {
		t.Errorf("Server = %+v, want %+v", s, wantServer)
	}
	if cfg.Address() != "127.0.0.1:8080" {
		t.Errorf("Address = %q", cfg.Address())
	}
}

func TestPriceOfAServer(t *testing.T) {
	f := func(fields string, want float64) {
		t.Helper()
		cfg := decode(t, servers(`{"url": "https://a.example", "token": "t"`+fields+`}`))
		if got := cfg.Servers[0].Price(); got != want {
			t.Errorf("%s: %v of the list price, want %v", fields, got, want)
		}
	}
	f("", 1)
	f(`, "price_multiplier": 0.5`, 0.5)
	f(`, "discount_percent": 30`, 0.7)
	f(`, "price_multiplier": 2, "discount_percent": 12.5`, 1.75)
	f(`, "price_multiplier": 1.2, "discount_percent": 100`, 0)

	problems(t, servers(`{"url": "https://a.example", "token": "t", "discount_percent": 101}`),
		"1:77: servers[0].discount_percent: error: must be at most 100")
	problems(t, servers(`{"url": "https://a.example", "token": "t", "discount_percent": "10%"}`),
		"1:77: servers[0].discount_percent: error: must be a number, not a string")
}

// TestUnsetValuesStandForDefaults checks empty strings and zeros, which older files contain for
// unset fields.
func TestUnsetValuesStandForDefaults(t *testing.T) {
	cfg := decode(t, `{"port": "", "mode": "", "algorithm": "", "cooldown": 0, "log_format": "", "http_engine": "", "servers": [
		{"url": "https://a.example", "token": "sk-1", "auth_header": "", "balance_check": "", "balance_check_interval": "0s", "name": "", "priority": 0}]}`)
	want := decode(t, `{"servers": [{"url": "https://a.example", "token": "sk-1"}]}`)
	want.Literal = cfg.Literal
	cfg.Weak, want.Weak = nil, nil
	if !reflect.DeepEqual(cfg, want) {
		t.Errorf("Config = %+v, want %+v", cfg, want)
	}
}

func TestByteOrderMarkIsTolerated(t *testing.T) {
	_, problems := Decode("config.json", []byte("\ufeff{\"debug\": true}"), env(nil))
	if len(problems) == 0 || problems[0].Col != 1 {
		t.Errorf("problems = %v, want the first in column 1", problems)
	}
	decode(t, "\ufeff{\"servers\": [{\"url\": \"https://a.example\"}]}")
}

func TestDeprecatedFallback(t *testing.T) {
	f := func(fields string, want Mode) {
		t.Helper()
		cfg := decode(t, `{`+fields+`, "servers": [{"url": "https://a.example"}]}`)
		if cfg.Mode != want {
			t.Errorf("%s: mode %s, want %s", fields, cfg.Mode, want)
		}
	}
	f(`"fallback": true`, ModeFallback)
	f(`"fallback": false`, ModeLoadBalance)
	f(`"fallback": true, "mode": "load_balance"`, ModeLoadBalance)
	f(`"fallback": false, "mode": "fallback"`, ModeFallback)
}

func TestDeprecatedSilence(t *testing.T) {
	f := func(fields string, want time.Duration, problem string) {
		t.Helper()
		cfg, problems := Decode("config.json", []byte(`{`+fields+`, "servers": [{"url": "https://a.example"}]}`), env(nil))
		if cfg.StreamKeepalive != want || cfg.Silence != 0 {
			t.Errorf("%s: stream_keepalive %v, silence %v, want %v", fields, cfg.StreamKeepalive, cfg.Silence, want)
		}
		if len(problems) != 2 || !problems[0].Warning || !strings.Contains(problems[0].Msg, problem) {
			t.Errorf("%s: problems %v", fields, problems)
		}
	}
	f(`"silence": "10s"`, 10*time.Second, `write "stream_keepalive" instead`)
	f(`"silence": 0`, 0, `write "stream_keepalive" instead`)
	f(`"silence": "10s", "stream_keepalive": "20s"`, 20*time.Second, "deprecated and ignored")
}

func TestDerivedNames(t *testing.T) {
	f := func(servers string, want ...string) {
		t.Helper()
		cfg, _ := Decode("config.json", []byte(`{"servers": [`+servers+`]}`), env(nil))
		var got []string
		for _, s := range cfg.Servers {
			got = append(got, s.Name)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: names %q, want %q", servers, got, want)
		}
	}
	f(`{"url": "https://a.example", "token": "1"}, {"url": "https://a.example", "token": "2"}, {"url": "https://a.example/x"}`, "a.example", "a.example-2", "a.example-3")
	f(`{"url": "http://localhost:8080"}, {"url": "http://localhost:8081"}`, "localhost:8080", "localhost:8081")
	f(`{"url": "https://a.example"}, {"url": "https://b.example", "name": "a.example"}, {"url": "https://a.example/", "name": "a.example-2"}`, "a.example-3", "a.example", "a.example-2")
	f(`{"url": "https://a.example", "name": "x"}, {"url": "https://b.example", "name": "x"}`, "x", "b.example")
	f(`{"url": 1}, {}`, "server", "server-2")
}

func TestExamplesAreFineAndPlain(t *testing.T) {
	for _, name := range []string{"config.example.json", "config.fallback.example.json"} {
		src := readExample(t, name)
		if _, problems := Decode(name, src, env(nil)); len(problems) > 0 {
			t.Errorf("%v", problems)
		}
		if strings.Contains(string(src), "// ") {
			t.Errorf("%s holds a comment", name)
		}
	}
}

func readExample(t testing.TB, name string) []byte {
	t.Helper()
	src, err := os.ReadFile("../../" + name)
	if err != nil {
		t.Fatal(err)
	}
	return src
}

// TestEnumTagsAreTheConstants compares tags and constants, because both are written by hand.
func TestEnumTagsAreTheConstants(t *testing.T) {
	f := func(name string, want ...string) {
		t.Helper()
		for _, l := range listings("", reflect.TypeFor[Config]()) {
			if l.path == name {
				if !reflect.DeepEqual(l.enum, want) {
					t.Errorf("%s: tag has %q, constants are %q", name, l.enum, want)
				}
				return
			}
		}
		t.Errorf("no field %s", name)
	}
	f("mode", string(ModeLoadBalance), string(ModeFallback))
	f("algorithm", string(RoundRobin), string(WeightedRoundRobin), string(Random),
		string(LeastInFlight), string(PowerOfTwo), string(CostAware))
	f("servers[].auth_header", string(AuthHeaderAuto), string(AuthHeaderXAPIKey), string(AuthHeaderAuthorization))
	f("error_rules[].scope", string(ErrorScopeRequest), string(ErrorScopeCredential), string(ErrorScopeAccount), string(ErrorScopeModel),
		string(ErrorScopeRateLimit), string(ErrorScopeCapacity), string(ErrorScopeEndpoint))
	f("log_format", string(LogAuto), string(LogText), string(LogJSON))
	f("http_engine", string(HTTPEngineFast), string(HTTPEngineGo))
}

// TestSectionsThatACommandDoesNotUse decodes without the variables, files and identities that the
// file refers to.
func TestSectionsThatACommandDoesNotUse(t *testing.T) {
	written := `{"auth": true, "keys_file": "gone.json", "admin_key": "${ADMIN}", "ledger": "${LEDGER}", "tls_cert": "gone.pem", "tls_key": "gone.key",
		"servers": [{"url": "${UP}", "token": "${A}${B}"}, {"url": "https://b.example", "token": "${file:gone}", "balance_check": "echo ${C}"},
			{"url": "https://c.example", "token": "${EMPTY}"}, {"url": "https://d.example", "token": "age:c2VhbGVk"}],
		"webhooks": [{"url": "${HOOK}", "secret": "${file:gone}"}]}`
	f := func(want string, sections ...string) {
		t.Helper()
		_, found := DecodeWithout("config.json", []byte(written), env(map[string]string{"EMPTY": ""}), sections...)
		var paths []string
		for _, p := range found {
			if !p.Warning {
				paths = append(paths, p.Path)
			}
		}
		if got := strings.Join(paths, " "); got != want {
			t.Errorf("without %v: errors in %q, want %q", sections, got, want)
		}
	}
	f("", "servers", "webhooks", "admin_key", "ledger", "auth_keys", "tls_cert")
	f("ledger", "servers", "webhooks", "admin_key", "auth_keys", "tls_cert")
	f("webhooks[0].url webhooks[0].secret", "servers", "admin_key", "ledger", "auth_keys", "tls_cert")
	f("keys_file", "servers", "webhooks", "admin_key", "ledger", "tls_cert")
	f("keys_file admin_key ledger tls_cert tls_key servers[0].url servers[0].token servers[0].token servers[1].token servers[1].balance_check servers[2].token servers[3].token webhooks[0].url webhooks[0].secret")

	// Problems that do not depend on variables stay errors.
	_, found := DecodeWithout("c", []byte(`{"servers": [{"url": "ftp://a.example", "token": 5, "wait": "${A}"}]}`), env(nil), "servers")
	if len(found) != 3 {
		t.Error(found)
	}
}
