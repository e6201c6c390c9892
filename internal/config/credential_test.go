package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// decodeHidden decodes src with a variable V and a file f of some content, and checks that no
// message contains any word of it.
func decodeHidden(t *testing.T, src, content string) (*Config, string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "f"), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, found := Decode(filepath.Join(dir, "c"), []byte(src), env(map[string]string{"V": content}))
	var said []string
	for _, p := range found {
		said = append(said, strings.TrimPrefix(p.String(), dir+string(filepath.Separator)))
	}
	all := strings.Join(said, "\n")
	if strings.Contains(all, "s3cr3t") {
		t.Errorf("a secret is shown: %s", all)
	}
	return cfg, all
}

// TestAnEmptiedCredentialIsAnError covers every field with a credential, and every way in which it
// can become empty.
func TestAnEmptiedCredentialIsAnError(t *testing.T) {
	for _, place := range []string{
		`"auth": false, "servers": [{"url": "https://a.example", "token": "X"}]`,
		`"auth": true, "auth_keys": ["k"], "servers": [{"url": "https://a.example", "token": "X"}]`,
		`"auth": true, "auth_keys": ["k", "X"], "servers": [{"url": "https://a.example", "token": "t"}]`,
		`"auth": true, "auth_keys": [{"name": "n", "key": "X"}], "servers": [{"url": "https://a.example", "token": "t"}]`,
		`"admin_key": "X", "servers": [{"url": "https://a.example", "token": "t"}]`,
		`"webhooks": [{"url": "https://a.example/h", "secret": "X", "events": ["server_out"]}], "servers": [{"url": "https://a.example", "token": "t"}]`,
	} {
		for _, content := range []string{"", "\n", " \t\r\n", byteOrderMark, byteOrderMark + "\r\n", "\u00a0", "\u200b", " \u2060\n"} {
			for _, written := range []string{"${V}", "${file:f}", "${V}${file:f}", "${V:-}", " ${V}"} {
				if _, said := decodeHidden(t, "{"+strings.Replace(place, "X", written, 1)+"}", content); !strings.Contains(said, "error: is empty after its variables and files are expanded") {
					t.Errorf("%s with %q and %q: %s", place, written, content, said)
				}
			}
		}
		if _, said := decodeHidden(t, "{"+strings.Replace(place, "X", "${V}", 1)+"}", "s3cr3t-0123456789"); strings.Contains(said, "error") {
			t.Errorf("%s: %s", place, said)
		}
	}
}

// TestLiteralEmptyTokenStaysMeaningful checks the documented meaning "no token".
func TestLiteralEmptyTokenStaysMeaningful(t *testing.T) {
	if _, said := decodeHidden(t, servers(`{"url": "https://a.example", "token": ""}`), ""); strings.Contains(said, "error") {
		t.Error(said)
	}
	if _, said := decodeHidden(t, servers(`{"url": "https://a.example", "token": "\ufeff"}`), ""); !strings.Contains(said, "error: is empty") {
		t.Error(said)
	}
	if _, said := decodeHidden(t, with(`"ledger": "${V:-}"`), ""); said != "" {
		t.Error(said)
	}
}

// TestEmptyQuotesAreEmpty checks "", because docker keeps the quotes of NAME="" in an --env-file.
func TestEmptyQuotesAreEmpty(t *testing.T) {
	for _, content := range []string{`""`, `''`, "``", ` "" `, `" "`, "“”"} {
		if _, said := decodeHidden(t, servers(`{"url": "https://a.example", "token": "${V}"}`), content); !strings.Contains(said, "error: is empty") {
			t.Errorf("%q: %s", content, said)
		}
	}
}

func TestDamagedCredentials(t *testing.T) {
	for _, c := range []struct{ content, want, warning string }{
		{"s3cr3t", "s3cr3t", ""},
		{byteOrderMark + "s3cr3t\n", "s3cr3t", "warning: holds a byte order mark, which is left out"},
		{"s3c" + byteOrderMark + "r3t", "s3cr3t", "warning: holds a byte order mark"},
		{`"s3cr3t"`, `"s3cr3t"`, "warning: begins and ends with quotes"},
		{`'s3cr3t'`, `'s3cr3t'`, "warning: begins and ends with quotes"},
		{"“s3cr3t”", "“s3cr3t”", "warning: begins and ends with quotes"},
		{`"`, `"`, ""},
		{"s3c\u200br3t", "s3c\u200br3t", "warning: holds an invisible character"},
		{"s3c\u2060r3t", "s3c\u2060r3t", "warning: holds an invisible character"},
		{"s3c\u00a0r3t", "s3c\u00a0r3t", "warning: holds a blank"},
		{"s3c r3t", "s3c r3t", "warning: holds a blank"},
		{"s3cr3té", "s3cr3té", "warning: holds a character that is not ASCII"},
		{"Bearer s3cr3t", "Bearer s3cr3t", "warning: begins with \"Bearer\""},
		{"s3c\nr3t", "s3c\nr3t", "error: holds a line break"},
		{"s3c\r\nr3t", "s3c\r\nr3t", "error: holds a line break"},
		{"s3c\u0085r3t", "s3c\u0085r3t", "error: holds a line break"},
		{" s3cr3t", " s3cr3t", "error: begins or ends with a blank"},
	} {
		for _, written := range []string{"${V}", "${file:f}"} {
			content := c.content
			if written == "${V}" {
				content = strings.TrimRight(content, "\n")
			}
			cfg, said := decodeHidden(t, `{"admin_key": "`+written+`", "auth": true, "auth_keys": [{"name": "n", "key": "`+written+`"}], "servers": [{"url": "https://a.example", "token": "`+written+`"}]}`, content)
			if got := cfg.Servers[0].Token.Reveal(); got != c.want || cfg.AuthKeys[0].Key.Reveal() != c.want || cfg.AdminKey.Reveal() != c.want {
				t.Errorf("%q became %q", c.content, got)
			}
			if n := strings.Count(said, c.warning); c.warning != "" && n != 3 || c.warning == "" && said != "" {
				t.Errorf("%q: %d times %q in\n%s", c.content, n, c.warning, said)
			}
		}
	}
}

func TestAnEmptiedExpiryIsAnError(t *testing.T) {
	key := func(expires string) string {
		return with(`"auth": true, "auth_keys": [{"key": "k", "name": "n", "expires": "` + expires + `"}]`)
	}
	if _, said := decodeHidden(t, key("${V}"), ""); !strings.Contains(said, "auth_keys[0].expires: error: is empty") {
		t.Error(said)
	}
	if _, said := decodeHidden(t, key(""), ""); said != "" {
		t.Error(said)
	}
}
