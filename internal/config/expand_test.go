package config

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func TestVariables(t *testing.T) {
	vars := env(map[string]string{"A": "alpha", "EMPTY": "", "QUOTED": `a"b\${A}`, "_x1": "under"})
	f := func(written, want string) {
		t.Helper()
		cfg, problems := Decode("config.json", []byte(servers(`{"url": "https://a.example", "name": "n`+written+`", "token": "t"}`)), vars)
		if len(problems) > 0 || cfg.Servers[0].Name != "n"+want {
			t.Errorf("%s: %q, want %q; %v", written, cfg.Servers[0].Name, "n"+want, problems)
		}
	}
	f("${A}", "alpha")
	f("-${A}-${A}-", "-alpha-alpha-")
	f("${EMPTY}", "")
	f("${A:-x}", "alpha")
	f("${EMPTY:-x}", "x")
	f("${NONE:-x y:-z}", "x y:-z")
	f("${NONE:-}", "")
	f("${_x1}", "under")
	f("${QUOTED}", `a"b\${A}`)
	f("$A $ $$ {A}", "$A $ $$ {A}")
	f("$${A}", "${A}")
	f("$$${A}", "$${A}")
	f(`\u0024{A}`, "alpha")
}

func TestShellKeepsItsOwnVariables(t *testing.T) {
	f := func(written, want string) {
		t.Helper()
		cfg, problems := Decode("config.json", []byte(servers(`{"url": "https://a.example", "token": "t", "balance_check": "`+written+`"}`)), env(map[string]string{"A": "alpha"}))
		if len(problems) > 0 || cfg.Servers[0].BalanceCheck.Reveal() != want {
			t.Errorf("%s: %q, want %q; %v", written, cfg.Servers[0].BalanceCheck.Reveal(), want, problems)
		}
	}
	f("echo ${A} $A ${x%.*} ${#x} $(date)", `echo "${CLAUDE_CODE_LB_1}" $A ${x%.*} ${#x} $(date)`)
	f("echo ${x:-${A}} ${A}", `echo ${x:-${A}} "${CLAUDE_CODE_LB_1}"`)
	f("echo ${ ${A}", `echo ${ "${CLAUDE_CODE_LB_1}"`)
	f("echo $${A}", "echo ${A}")

	problems(t, servers(`{"url": "https://a.example", "token": "t", "balance_check": "echo ${x}"}`),
		`1:74: servers[0].balance_check: error: the variable x is not set: export it, or write $x to leave it to the shell`)
}

func TestMalformedVariables(t *testing.T) {
	for _, written := range []string{"${", "${}", "${1A}", "${A", "${A-x}", "${A:=x}", "${file:}", "${A:-${B}}", "${A B}"} {
		cfg, found := Decode("c", []byte(servers(`{"url": "https://a.example", "token": "s3cr3t`+written+`"}`)), env(map[string]string{"A": "", "B": ""}))
		if len(found) == 0 || !strings.Contains(found[0].Msg, `has a "${" that is not a variable`) {
			t.Errorf("%s: %v", written, found)
		}
		if !cfg.Servers[0].Token.Empty() {
			t.Errorf("%s: token %q", written, cfg.Servers[0].Token.Reveal())
		}
	}
}

func TestFiles(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	key := write("key", "sk-from-file\r\n\n")
	write("big", strings.Repeat("x", maxIncluded+1))
	write("binary", "\xff\xfe")
	file := filepath.Join(dir, "config.json")

	src := servers(`{"url": "https://a.example", "token": "${file:key}"}, {"url": "https://b.example", "token": "a${file:` + filepath.ToSlash(key) + `}"}`)
	cfg, found := Decode(file, []byte(src), env(nil))
	if len(found) > 0 {
		t.Fatal(found)
	}
	if got := cfg.Servers[0].Token.Reveal(); got != "sk-from-file" {
		t.Errorf("relative: %q", got)
	}
	if got := cfg.Servers[1].Token.Reveal(); got != "ask-from-file" {
		t.Errorf("absolute: %q", got)
	}
	if want := []string{key}; !reflect.DeepEqual(cfg.Files, want) {
		t.Errorf("Files = %q, want %q", cfg.Files, want)
	}

	f := func(name, want string, files ...string) {
		t.Helper()
		cfg, found := Decode(file, []byte(servers(`{"url": "https://a.example", "token": "${file:`+name+`}"}`)), env(nil))
		if len(found) != 1 || found[0].Col != 52 || !strings.HasSuffix(found[0].Msg, want) {
			t.Errorf("%s: %v, want %q", name, found, want)
		}
		if !reflect.DeepEqual(cfg.Files, files) {
			t.Errorf("%s: Files = %q, want %q", name, cfg.Files, files)
		}
	}
	f("none", "none: no such file or directory", filepath.Join(dir, "none"))
	f(".", "it is not a regular file")
	f("big", "it is larger than 1 MiB", filepath.Join(dir, "big"))
	f("binary", "it is not UTF-8 text", filepath.Join(dir, "binary"))
}
