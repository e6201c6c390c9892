package config

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const someHash = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"

func TestKeyProblems(t *testing.T) {
	f := func(keys string, want ...string) {
		t.Helper()
		problems(t, with(`"auth": true, "auth_keys": [`+keys+`]`), want...)
	}
	f(`"k", {"key": "l", "name": "ann", "rpm": 5, "budget_usd": {"day": 1.5, "time_zone": "Europe/Berlin"}, "ips": ["10.0.0.0/8", "::1"], "models": ["claude-*"]}, {"key_sha256": "` + someHash + `"}`)
	f(`{"name": "ann"}`, `1:30: auth_keys[0]: error: has neither "key" nor "key_sha256"`)
	f(`{"key": "k", "key_sha256": "`+someHash+`"}`, `1:30: auth_keys[0]: error: has both "key" and "key_sha256": remove one`)
	f(`{"key_sha256": "abc"}`, `1:45: auth_keys[0].key_sha256: error: is not a SHA-256 in 64 hexadecimal digits: "claude-code-lb key new" makes one`)
	f(`{"key": "k", "expires": "tomorrow"}`, `1:54: auth_keys[0].expires: error: "tomorrow" is not a date such as "2026-12-31"`)
	f(`{"key": "k", "expires": "2020-01-01"}`, `1:54: auth_keys[0].expires: warning: is over: the key is not valid any more`)
	f(`{"key": "k", "ips": ["10.0.0.0/8", "ten"]}`, `1:65: auth_keys[0].ips[1]: error: "ten" is not an address or a network such as "10.0.0.0/8"`)
	f(`{"key": "k", "models": ["["]}`, `1:54: auth_keys[0].models[0]: error: is not a pattern for names of models`)
	f(`{"key": "k", "budget_usd": {"time_zone": "Mars/Olympus"}}`, `1:71: auth_keys[0].budget_usd.time_zone: error: "Mars/Olympus" is not a time zone such as "Europe/Berlin"`)
	f(`{"key": "k", "name": "a"}, {"key": "l", "name": "a"}`, `1:57: auth_keys[1]: error: has the name of auth_keys[0]: reports need a unique name for each key`)
	f(`{"key": "k", "rmp": 1}`, `1:43: auth_keys[0].rmp: error: unknown field "rmp", did you mean "rpm"?`)
	f(`{"key": "k", "budget_usd": 5}`, `1:57: auth_keys[0].budget_usd: error: must be an object, { … }, not a number`)
	f(`"test", {"key_sha256": "`+someHash+`"}`, `1:38: auth_keys[1]: error: is the same key as auth_keys[0]: remove one`)
}

// decodeKeys decodes a configuration with a keys file.
func decodeKeys(t *testing.T, keys string) (*Config, []string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "keys.json"), []byte(keys), 0o600); err != nil {
		t.Fatal(err)
	}
	src := `{"auth": true, "keys_file": "keys.json", "auth_keys": ["k"], "servers": [{"url": "https://a.example", "token": "t"}]}`
	cfg, found := Decode(filepath.Join(dir, "config.json"), []byte(src), env(nil))
	var said []string
	for _, p := range found {
		said = append(said, strings.ReplaceAll(p.String(), dir+string(filepath.Separator), ""))
	}
	return cfg, said
}

func TestKeysFile(t *testing.T) {
	cfg, said := decodeKeys(t, "// made by hand\n[\n  {\"name\": \"ann\", \"key\": \"l\", \"tpm\": 7},\n]\n")
	if len(said) > 0 || len(cfg.AuthKeys) != 2 || cfg.AuthKeys[0].Name != usualKeyName(&cfg.AuthKeys[0]) || cfg.AuthKeys[1].Name != "ann" || cfg.AuthKeys[1].TPM != 7 || len(cfg.Files) != 1 {
		t.Errorf("%+v %q", cfg, said)
	}
	if shown := string(cfg.Redacted()); strings.Contains(shown, "ann") || !strings.Contains(shown, `"keys_file": "keys.json"`) {
		t.Error(shown)
	}
	f := func(keys, want string) {
		t.Helper()
		if _, said := decodeKeys(t, keys); len(said) != 1 || !strings.Contains(said[0], want) {
			t.Errorf("%s: %q", keys, said)
		}
	}
	f("[\n  {\"name\": \"ann\", \"key\": \"l\", \"rmp\": 7},\n]", `keys.json:2:31: [0].rmp: error: unknown field "rmp", did you mean "rpm"?`)
	f(`{"name": "ann"}`, "keys.json:1:1: error: must be a list")
	f(`["l"]`, `keys.json:1:2: [0]: error: has no "name"`)
	f(`[{"name": "ann", "key": "k"}]`, "is the same key as auth_keys[0]")
	f(`[`, "keys.json:1:1: error:")
	f("", "keys.json:1:1: error: the file is empty")
}

func TestAMissingKeysFileIsAnError(t *testing.T) {
	src := `{"auth": true, "keys_file": "none.json", "servers": [{"url": "https://a.example", "token": "t"}]}`
	_, found := Decode(filepath.Join(t.TempDir(), "config.json"), []byte(src), env(nil))
	if len(found) != 1 || !strings.Contains(fmt.Sprint(found), `"claude-code-lb key new" makes it`) {
		t.Errorf("%v", found)
	}
}

func TestTenThousandKeys(t *testing.T) {
	var text strings.Builder
	text.WriteString("[")
	for i := range 10_000 {
		fmt.Fprintf(&text, "{\"name\": \"agent-%d\", \"key_sha256\": \"%064x\", \"models\": [\"claude-haiku-*\"], \"budget_usd\": {\"day\": 5}},\n", i, i+1)
	}
	text.WriteString("]")
	cfg, said := decodeKeys(t, text.String())
	if len(said) > 0 || len(cfg.AuthKeys) != 10_001 {
		t.Errorf("%d keys, %.300q", len(cfg.AuthKeys), said)
	}
}

// TestANamelessKeyIsNamedByItself checks that the name depends neither on other keys, nor on the
// position, nor on the notation.
func TestANamelessKeyIsNamedByItself(t *testing.T) {
	names := func(keys string) (list []string) {
		cfg, found := Decode("c", []byte(with(`"auth": true, "auth_keys": [`+keys+`]`)), env(nil))
		if found.Failed() {
			t.Fatal(found)
		}
		for _, k := range cfg.AuthKeys {
			list = append(list, k.Name)
		}
		return list
	}
	both := names(`"kA", "kB"`)
	if both[0] == both[1] || len(both[0]) != len("key-")+10 {
		t.Fatal(both)
	}
	sum := sha256.Sum256([]byte("kB"))
	for _, keys := range []string{`"kB"`, `{"key": "kB", "rpm": 5}`, fmt.Sprintf(`{"key_sha256": "%x"}`, sum), fmt.Sprintf(`{"key_sha256": "%X"}`, sum)} {
		if got := names(keys); got[0] != both[1] {
			t.Errorf("%s: %s, want %s", keys, got[0], both[1])
		}
	}
	if strings.Contains(fmt.Sprintf("%x", sum), strings.TrimPrefix(both[1], "key-")) {
		t.Error("the name shows a part of the key's hash")
	}
}

func TestGroupsAndFormerKeys(t *testing.T) {
	f := func(keys string, want ...string) {
		t.Helper()
		problems(t, with(`"auth": true, "auth_keys": [`+keys+`]`), want...)
	}
	const until = `"until": "2026-12-31T12:00:00Z"`
	f(`{"key": "k", "name": "a", "group": "team"}, {"key": "l", "name": "b", "group": "team", "previous": [{"key_sha256": "` + someHash + `", ` + until + `}]}`)
	f(`{"key": "k", "group": "a\nb"}`, `1:52: auth_keys[0].group: error: must be one line of at most 100 bytes, without control characters`)
	f(`{"key": "k", "previous": [{"key_sha256": "ab", "until": "soon"}]}`,
		`1:71: auth_keys[0].previous[0].key_sha256: error: is not a SHA-256 in 64 hexadecimal digits: "claude-code-lb key new" makes one`,
		`1:86: auth_keys[0].previous[0].until: error: "soon" is not a moment such as "2026-12-31T12:00:00Z"`)
	f(`{"key": "k", "previous": [{`+until+`}]}`, `1:56: auth_keys[0].previous[0].key_sha256: error: is missing`)
	f(`{"key": "k"}, {"key": "test", "previous": [{"key_sha256": "`+someHash+`", `+until+`}]}`, `1:44: auth_keys[1]: error: names as "previous" the key of auth_keys[1]: remove one`)
}

func TestTimeZones(t *testing.T) {
	problems(t, with(`"time_zone": "Europe/Berlin"`))
	for written, meant := range map[string]string{"europe/berlin": "Europe/Berlin", "Berlin": "Europe/Berlin", "Europe/Berln": "Europe/Berlin", "new york": "America/New_York", "Shangai": "Asia/Shanghai", "utc": "UTC"} {
		problems(t, with(`"time_zone": "`+written+`"`), `1:15: time_zone: error: "`+written+`" is not a time zone, did you mean "`+meant+`"?`)
	}
	problems(t, with(`"time_zone": "Local"`), `1:15: time_zone: error: "Local" is not a time zone such as "Europe/Berlin"`)
	problems(t, with(`"time_zone": "${SECRET}"`), `1:15: time_zone: error: this value is not a time zone such as "Europe/Berlin"`)
	problems(t, with(`"resources": "shared"`), `1:15: resources: warning: is ignored, because "auth" is off: without client keys nothing has an owner`)
	problems(t, with(`"resources": "shared", "auth": true, "auth_keys": ["k"]`))
	problems(t, with(`"resources": "share"`), `1:15: resources: error: "share" is not one of own, shared, did you mean "shared"?`)
}
