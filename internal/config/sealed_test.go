package config

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"filippo.io/age"
	"filippo.io/age/armor"
)

// hidden is a secret that no message may contain.
const hidden = "sk-ant-api03-Zq9mArKeR7x"

func newIdentity(t testing.TB) *age.X25519Identity {
	t.Helper()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func seal(t testing.TB, text string, to ...age.Recipient) string {
	t.Helper()
	sealed, err := Seal(NewSecret(text), to...)
	if err != nil {
		t.Fatal(err)
	}
	return sealed
}

// armored returns an encrypted secret in age's armor, as a string of the file.
func armored(t testing.TB, sealed string) string {
	t.Helper()
	raw, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(sealed, sealPrefix))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	w := armor.NewWriter(&out)
	w.Write(raw) // to memory
	w.Close()
	return sealPrefix + out.String()
}

// folder creates a directory with files and returns the path of its configuration.
func folder(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "config.json")
}

func TestSealedSecrets(t *testing.T) {
	id := newIdentity(t)
	hybrid, err := age.GenerateHybridIdentity()
	if err != nil {
		t.Fatal(err)
	}
	plain := seal(t, hidden, id.Recipient())
	file := folder(t, map[string]string{
		"config.agekey": "# a comment\r\n" + id.String() + "\r\n",
		"other.agekey":  hybrid.String(),
		"token.age":     armored(t, plain),
	})
	f := func(token, more string, vars map[string]string) {
		t.Helper()
		cfg, found := Decode(file, fmt.Appendf(nil, `{"servers": [{"url": "https://a.example", "token": %q}]%s}`, token, more), env(vars))
		if len(found) > 0 || cfg.Servers[0].Token.Reveal() != hidden {
			t.Errorf("%.20s %s: %v, token %d bytes", token, more, found, len(cfg.Servers[0].Token.Reveal()))
		}
		if !slices.Contains(cfg.Files, cfg.IdentityPath) {
			t.Errorf("%s is not among %q", cfg.IdentityPath, cfg.Files)
		}
		if cfg.Literal != (Place{}) {
			t.Errorf("a sealed secret counts as a literal one, at %v", cfg.Literal)
		}
		if shown := fmt.Sprintf("%v %+v %s", found, cfg, cfg.Redacted()); strings.Contains(shown, hidden) {
			t.Errorf("shown: %s", shown)
		}
	}
	f(plain, "", nil)
	f(strings.TrimRight(plain, "="), "", nil)
	f(armored(t, plain), "", nil)
	f("${file:token.age}", "", nil)
	f("${TOKEN}", "", map[string]string{"TOKEN": plain})
	f(seal(t, hidden+"\r\n", id.Recipient()), "", nil)
	f(seal(t, hidden, newIdentity(t).Recipient(), id.Recipient()), "", nil)
	f(seal(t, hidden, hybrid.Recipient()), `, "age_identity": "other.agekey"`, nil)
	f(seal(t, hidden, hybrid.Recipient()), `, "age_identity": "${WHERE}"`, map[string]string{"WHERE": filepath.Join(filepath.Dir(file), "other.agekey")})
	f(seal(t, hidden, hybrid.Recipient()), "", map[string]string{IdentityVariable: filepath.Join(filepath.Dir(file), "other.agekey")})
	f(plain, `, "age_identity": "config.agekey"`, map[string]string{IdentityVariable: "/none"})
}

// TestSealedCommand checks that a decrypted command keeps the shell's references.
func TestSealedCommand(t *testing.T) {
	id := newIdentity(t)
	file := folder(t, map[string]string{"config.agekey": id.String()})
	command := seal(t, "curl ${x%y} ${UNSET}", id.Recipient())
	cfg, found := Decode(file, []byte(servers(`{"url": "https://a.example", "token": "${T}", "balance_check": "`+command+`"}`)), env(map[string]string{"T": "t"}))
	if len(found) > 0 || cfg.Servers[0].BalanceCheck.Reveal() != "curl ${x%y} ${UNSET}" {
		t.Errorf("%v, %q", found, cfg.Servers[0].BalanceCheck.Reveal())
	}
}

func TestSealedProblems(t *testing.T) {
	id := newIdentity(t)
	sealed := seal(t, hidden, id.Recipient())
	phrase, err := age.NewScryptRecipient(hidden)
	if err != nil {
		t.Fatal(err)
	}
	phrase.SetWorkFactor(2)
	file := folder(t, map[string]string{
		"config.agekey":  id.String(),
		"other.agekey":   newIdentity(t).String(),
		"broken.agekey":  "AGE-SECRET-KEY-1" + hidden,
		"locked.agekey":  strings.TrimPrefix(armored(t, sealed), sealPrefix),
		"nothing.agekey": "\n",
	})
	f := func(token, more, want string) {
		t.Helper()
		src := fmt.Sprintf(`{"servers": [{"url": "https://a.example", "token": %q}]%s}`, token, more)
		cfg, found := Decode(file, []byte(src), env(map[string]string{"HERE": "config.agekey", "KEY": id.String(), "NONE": "none-" + hidden}))
		if len(found) != 1 || found[0].Warning || found[0].Path != "servers[0].token" || found[0].Line != 1 || found[0].Col != 52 || !strings.Contains(found[0].Msg, want) {
			t.Errorf("%.20s %s: %v, want %q", token, more, found, want)
		}
		if !cfg.Servers[0].Token.Empty() {
			t.Errorf("%s: there is a token", want)
		}
		shown := fmt.Sprintf("%v %+v", found, cfg.Servers)
		for _, secret := range []string{hidden, id.String()[20:], sealed[len(sealed)-20:]} {
			if strings.Contains(shown, secret) {
				t.Errorf("shown: %s", shown)
			}
		}
	}
	f(sealed, `, "age_identity": "none"`, `"none" does not exist: put the identity there`)
	f(sealed, `, "age_identity": "${NONE}"`, "the file that age_identity names does not exist")
	f(sealed, `, "age_identity": "."`, "cannot be used: it is not a regular file")
	f(sealed, `, "age_identity": "other.agekey"`, `is encrypted for another identity than "other.agekey" holds`)
	f(sealed, `, "age_identity": "broken.agekey"`, `"broken.agekey" cannot be used: it does not hold an age identity`)
	f(sealed, `, "age_identity": "nothing.agekey"`, "it does not hold an age identity")
	f(sealed, `, "age_identity": "locked.agekey"`, "it is encrypted, and the balancer cannot ask for its passphrase")
	f(seal(t, hidden, phrase), "", "is encrypted with a passphrase")
	f(seal(t, "\n", id.Recipient()), "", "is empty or not UTF-8 text")
	f(seal(t, "\xff"+hidden, id.Recipient()), "", "is empty or not UTF-8 text")
	f("age:", "", "is damaged")
	f("age:"+hidden, "", "is damaged")
	f(sealed[:len(sealed)-24], "", "is damaged")
	f(sealed[:40]+"A"+sealed[41:], "", "is damaged")
	f(sealed[:len(sealed)-30]+"AAAA"+sealed[len(sealed)-26:], "", "is damaged")
	f(armored(t, sealed)[:120], "", "is damaged")
	f(strings.TrimPrefix(sealed, sealPrefix), "", `is an age file: write "age:" in front of it`)
	f(strings.TrimPrefix(armored(t, sealed), sealPrefix), "", `is an age file: write "age:" in front of it`)
}

// TestIdentityInsteadOfItsFile checks that an identity in place of its file's name is not used as a
// name.
func TestIdentityInsteadOfItsFile(t *testing.T) {
	id := newIdentity(t)
	file := folder(t, nil)
	src := func(more string) []byte {
		return fmt.Appendf(nil, `{"servers": [{"url": "https://a.example", "token": %q}]%s}`, seal(t, hidden, id.Recipient()), more)
	}
	f := func(src []byte, vars map[string]string, paths ...string) {
		t.Helper()
		cfg, found := Decode(file, src, env(vars))
		var got []string
		for _, p := range found {
			got = append(got, p.Path)
			if !strings.Contains(p.Msg, "an identity itself stands where the name of its file belongs") {
				t.Errorf("said: %s", p)
			}
		}
		if !slices.Equal(got, paths) {
			t.Errorf("problems at %q, want %q", got, paths)
		}
		if shown := fmt.Sprintf("%v %+v %s", found, cfg, cfg.Redacted()); strings.Contains(shown, id.String()[20:]) {
			t.Errorf("shown: %s", shown)
		}
	}
	f(src(`, "age_identity": "`+id.String()+`"`), nil, "servers[0].token", "age_identity")
	f(src(""), map[string]string{IdentityVariable: id.String()}, "servers[0].token")
}

func TestLiteralSecrets(t *testing.T) {
	f := func(src, want string) {
		t.Helper()
		cfg, _ := Decode("c", []byte(src), env(map[string]string{"A": "alpha"}))
		if cfg.Literal.Path != want {
			t.Errorf("%s: %v, want %q", src, cfg.Literal, want)
		}
	}
	f(servers(`{"url": "https://a.example", "token": "${A}"}, {"url": "https://b.example", "token": "b"}`), "servers[1].token")
	f(servers(`{"url": "https://a.example", "token": "${A}", "balance_check": "curl -H 'x-api-key: abc' https://a.example"}`), "servers[0].balance_check")
	f(servers(`{"url": "https://a.example", "token": "${A}", "balance_check": "curl -H \"Authorization: Bearer abc\" https://a.example"}`), "servers[0].balance_check")
	f(servers(`{"url": "https://a.example", "token": "${A}", "balance_check": "curl -H \"Authorization: Bearer $A\" https://a.example"}`), "")
	f(servers(`{"url": "https://a.example", "token": "${A}", "balance_check": "./balance"}`), "")
	f(servers(`{"url": "https://a.example", "token": ""}`), "")
	f(with(`"auth": true, "auth_keys": ["${A}", "b"]`), "auth_keys[1]")
}

// FuzzUnseal checks that any text after the prefix is decrypted or rejected, and that no message
// contains the decrypted text.
func FuzzUnseal(f *testing.F) {
	id := newIdentity(f)
	sealed := strings.TrimPrefix(seal(f, hidden, id.Recipient()), sealPrefix)
	f.Add(sealed)
	f.Add(strings.TrimPrefix(armored(f, sealPrefix+sealed), sealPrefix))
	f.Add(sealed[:100])
	f.Add("")
	f.Add(base64.StdEncoding.EncodeToString([]byte("age-encryption.org/v1\n-> X25519 a\n--- b\n")))
	f.Fuzz(func(t *testing.T, s string) {
		text, err := unseal(s, []age.Identity{id})
		if (text == "") == (err == nil) {
			t.Errorf("%q, %v", text, err)
		}
		if err != nil && strings.Contains(err.Error(), hidden) {
			t.Errorf("shown: %v", err)
		}
	})
}
