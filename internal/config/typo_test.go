package config

import (
	"strings"
	"testing"
)

func TestATypoIsReportedOnce(t *testing.T) {
	f := func(src string, want ...string) {
		t.Helper()
		problems(t, src, want...)
	}
	f(`{"servrs": []}`, `1:2: servrs: error: unknown field "servrs", did you mean "servers"?`)
	f(`{"auth": true, "auth_key": ["0123456789abcdef"], "servers": [{"url": "https://a.example", "token": "t"}]}`,
		`1:16: auth_key: error: unknown field "auth_key", did you mean "auth_keys"?`)
	f(servers(`{"ur": "https://a.example", "token": "t"}`), `1:15: servers[0].ur: error: unknown field "ur", did you mean "url"?`)
	f(servers(`{"url": "https://a.example", "tokn": "t", "auth_header": "x-api-key"}`), `1:43: servers[0].tokn: error: unknown field "tokn", did you mean "token"?`)
	f(servers(`{"url": "https://a.example", "token": "t", "balance_chek": "echo 1", "balance_threshold": 3}`),
		`1:57: servers[0].balance_chek: error: unknown field "balance_chek", did you mean "balance_check"?`)
	f(`{"tls_crt": "a.pem", "tls_key": "a.key", "servers": [{"url": "https://a.example", "token": "t"}]}`,
		`1:2: tls_crt: error: unknown field "tls_crt", did you mean "tls_cert"?`)
	f(`{"webhooks": [{"ulr": "https://a.example"}], "servers": [{"url": "https://a.example", "token": "t"}]}`,
		`1:16: webhooks[0].ulr: error: unknown field "ulr", did you mean "url"?`)
	// A correct field in the same file is checked separately.
	f(`{"servrs": [], "servers": []}`, `1:2: servrs: error: unknown field "servrs", did you mean "servers"?`, `1:27: servers: error: is empty: at least 1 needed`)
}

func TestPathsHoldNoControlCharacters(t *testing.T) {
	f := func(field string) {
		t.Helper()
		for written, hint := range map[string]string{`C:\\ok\temp`: `write "\\t"`, `a\new`: `write "\\n"`, `a\u0007b`: "U+0007"} {
			_, found := Decode("c", []byte(`{`+strings.Replace(field, "PATH", written, 1)+`, "servers": [{"url": "https://a.example", "token": "t"}]}`), env(nil))
			if len(found) != 1 || found[0].Warning || !strings.Contains(found[0].Msg, hint) {
				t.Errorf("%s: %v", field, found)
			}
		}
	}
	f(`"state_dir": "PATH"`)
	f(`"ledger": "PATH"`)
	f(`"age_identity": "PATH"`)
	f(`"auth": true, "keys_file": "PATH"`)
	f(`"tls_cert": "PATH", "tls_key": "x"`)
	f(`"admin_key": "${file:PATH}"`)
	decode(t, `{"state_dir": "C:\\temp\\new", "servers": [{"url": "https://a.example", "token": "t"}]}`)
}

func TestForgottenBraces(t *testing.T) {
	f := func(src string, warned bool) {
		t.Helper()
		_, found := Decode("c", []byte(src), env(nil))
		n := 0
		for _, p := range found {
			if strings.Contains(p.Msg, "looks like a variable") && p.Warning {
				n++
			}
		}
		if (n == 1) != warned {
			t.Errorf("%s: %v", src, found)
		}
	}
	token := func(s string) string { return servers(`{"url": "https://a.example", "token": "` + s + `"}`) }
	for _, s := range []string{"$A_KEY", "%A_KEY%", "$env:A_KEY", "$(cat key)", "{A_KEY}", "{{ A_KEY }}"} {
		f(token(s), true)
	}
	for _, s := range []string{"sk-ant-$abc", "$", "$2a$10$abcdef", "100%", "%", "sk-%41%", "$${A_KEY}x"} {
		f(token(s), false)
	}
	rest := `, "servers": [{"url": "https://a.example", "token": "sk-1"}]}`
	f(`{"admin_key": "$ADMIN_KEY"`+rest, true)
	f(`{"auth": true, "auth_keys": ["$CLIENT_KEY"]`+rest, true)
	f(`{"auth": true, "auth_keys": [{"name": "a", "key": "$CLIENT_KEY"}]`+rest, true)
	f(`{"ledger": "postgres://lb:$DB_PASSWORD@db/lb"`+rest, true)
	f(`{"ledger": "postgres://lb:pa$$word@db/lb"`+rest, false)
	f(`{"webhooks": [{"url": "https://hooks.example/$HOOK"}]`+rest, true)
	f(servers(`{"url": "https://a.example", "token": "t", "balance_check": "$BALANCE_COMMAND"}`), false)
}
