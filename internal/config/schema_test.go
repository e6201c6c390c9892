package config

import (
	"bytes"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

func compileSchema(t testing.TB) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(Schema()))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("config.schema.json", doc); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile("config.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

func validate(t testing.TB, schema *jsonschema.Schema, src []byte) error {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(src))
	if err != nil {
		t.Fatal(err)
	}
	return schema.Validate(doc)
}

func TestSchemaTakesWhatDecodeTakes(t *testing.T) {
	schema := compileSchema(t)
	for _, src := range []string{
		string(readExample(t, "config.example.json")),
		string(readExample(t, "config.fallback.example.json")),
		with(`"$schema": "x", "mode": "${MODE:-fallback}", "port": "${PORT:-1}", "cooldown": "${C:-5s}", "drain_timeout": "1h30m", "timeouts": {"idle": 0.5}`),
		with(`"max_attempts": 3, "max_wait": 0, "stream_keepalive": "1m", "hedge": false, "retry_budget_percent": 0, "retry_budget_floor": 1, "max_ejected_percent": 100, "breaker": {"consecutive": 3}, "slow_start": "1m"`),
		with(`"error_rules": [{"status": 400, "type": "t", "message": "m+", "header": "x-a: b", "scope": "${S:-model}", "duration": "1h"}]`),
		servers(`{"url": "https://a.example", "account": "team", "health_check": {"path": "/health", "interval": 5, "jitter_percent": 0}}`),
		servers(`{"url": "${URL:-https://a.example}", "weight": 0, "auth_header": "x-api-key", "balance_check_interval": 0}`),
	} {
		if _, problems := Decode("c", []byte(src), env(nil)); problems.Failed() {
			t.Errorf("Decode: %s\n%v", src, problems)
		}
		if err := validate(t, schema, []byte(src)); err != nil {
			t.Errorf("schema: %s\n%v", src, err)
		}
	}
	cfg := decode(t, string(readExample(t, "config.example.json")))
	if err := validate(t, schema, cfg.Redacted()); err != nil {
		t.Errorf("Redacted: %v", err)
	}
}

func TestSchemaRefusesWhatDecodeRefuses(t *testing.T) {
	schema := compileSchema(t)
	for _, src := range []string{
		`[]`, `{}`, servers(``), servers(`{}`), servers(`{"url": "a.example"}`), servers(`{"url": 1}`), servers(`1`),
		with(`"port": 3000`), with(`"port": "http"`), with(`"mode": "fallbak"`), with(`"wieght": 1`), with(`"debug": "true"`), with(`"debug": null`),
		with(`"cooldown": -1`), with(`"cooldown": 100000`), with(`"cooldown": "soon"`), with(`"max_body_mb": 0`), with(`"max_body_mb": 1.5`),
		with(`"error_rules": {}`), with(`"error_rules": [{"status": 400}]`), with(`"error_rules": [{"status": 600, "scope": "model"}]`),
		with(`"error_rules": [{"status": 400, "scope": "nobody"}]`), with(`"breaker": {"percent": 101}`), with(`"max_attempts": -1`), with(`"hedge": 1`),
		servers(`{"url": "https://a.example", "health_check": "/health"}`), servers(`{"url": "https://a.example", "health_check": {"interval": "soon"}}`),
		with(`"auth_keys": "k"`), with(`"auth_keys": ["k", "k"]`), with(`"timeouts": {"read": 1}`),
		servers(`{"url": "https://a.example", "weight": -1}`), servers(`{"url": "https://a.example", "weight": 1.5}`),
		servers(`{"url": "https://a.example", "balance_threshold": -1}`), servers(`{"url": "https://a.example", "tokn": "t"}`),
	} {
		if _, problems := Decode("c", []byte(src), env(nil)); !problems.Failed() {
			t.Errorf("Decode takes %s", src)
		}
		if validate(t, schema, []byte(src)) == nil {
			t.Errorf("the schema takes %s", src)
		}
	}
}
