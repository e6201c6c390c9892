package cli

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/9bingyin/claude-code-lb/internal/config"
	"github.com/9bingyin/claude-code-lb/internal/service"
)

// initialized runs init, which must succeed, and returns the file's configuration, its text and
// what init output.
func initialized(t *testing.T, in string, env map[string]string, args ...string) (cfg *config.Config, text, output string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "my config.json")
	status, out, errOut := runCommand(t, "init", in, env, append(args, "-c", path)...)
	if status != service.ExitOK || errOut != "" {
		t.Fatalf("status %d\n%s%s", status, out, errOut)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
	src, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	cfg, problems := config.Decode(path, src, func(name string) (string, bool) {
		value, ok := env[name]
		return value, ok
	})
	if problems.Failed() {
		t.Errorf("%v\n%s", problems, src)
	}
	if !strings.Contains(out, "claude-code-lb -c '"+path+"'\n") {
		t.Errorf("the command that starts the balancer is missing: %s", out)
	}
	return cfg, string(src), out
}

func TestInitFromFlags(t *testing.T) {
	cfg, text, output := initialized(t, "", map[string]string{"A": "sk-a"},
		"-url", "https://a.example", "-token", "${A}", "-url", "https://b.example", "-token", `with"quote`, "-mode", "fallback", "-listen", ":3001", "-auth")
	if len(cfg.Servers) != 2 || cfg.Servers[0].Token.Reveal() != "sk-a" || cfg.Servers[1].Token.Reveal() != `with"quote` {
		t.Errorf("servers: %s", text)
	}
	if !strings.Contains(text, `"token": "${A}"`) {
		t.Errorf("the variable was not kept: %s", text)
	}
	if cfg.Mode != config.ModeFallback || cfg.Address() != ":3001" || !cfg.Auth || len(cfg.AuthKeys) != 1 {
		t.Errorf("config: %s", cfg.Redacted())
	}
	key := cfg.AuthKeys[0].Key.Reveal()
	if !regexp.MustCompile(`^sk-lb-[a-z2-7]{26}$`).MatchString(key) {
		t.Errorf("key %q", key)
	}
	for _, want := range []string{"export ANTHROPIC_BASE_URL=http://127.0.0.1:3001\n", "export ANTHROPIC_AUTH_TOKEN=" + key + "\n"} {
		if !strings.Contains(output, want) {
			t.Errorf("no %q in: %s", want, output)
		}
	}
}

func TestInitDefaults(t *testing.T) {
	cfg, _, output := initialized(t, "", nil, "-token", "s3cr3t")
	if cfg.Servers[0].URL.String() != "https://api.anthropic.com" || cfg.Address() != "127.0.0.1:3000" || cfg.Mode != config.ModeLoadBalance || cfg.Auth {
		t.Errorf("config: %s", cfg.Redacted())
	}
	if strings.Contains(output, "s3cr3t") || !strings.Contains(output, "ANTHROPIC_AUTH_TOKEN=unused ") {
		t.Errorf("output: %s", output)
	}

	_, _, output = initialized(t, "", nil, "-url", "https://a.example", "-auth-key", "s3cr3t")
	if strings.Contains(output, "s3cr3t") || !strings.Contains(output, "ANTHROPIC_AUTH_TOKEN=YOUR_KEY ") {
		t.Errorf("output: %s", output)
	}
}

func TestInitNotesUnsetVariables(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.json")
	status, out, errOut := runCommand(t, "init", "", map[string]string{"CONFIG_FILE": path}, "-token", "${LATER}")
	if status != service.ExitOK || errOut != "" || !strings.Contains(out, "note: servers[0].token: the variable LATER is not set") {
		t.Errorf("status %d\n%s%s", status, out, errOut)
	}
	if !strings.Contains(out, "\n  claude-code-lb\n") {
		t.Errorf("-c is not necessary for the default file: %s", out)
	}
}

func TestInitAsks(t *testing.T) {
	answers := []string{
		"api.example.com",         // not accepted
		"https://api.example.com", // first upstream
		"sk-1",
		"https://b.example", // second
		"${B",               // not accepted
		"${B}",
		"",         // no more
		"fallbak",  // not accepted
		"fallback", // mode
		"3000",     // not accepted
		"0.0.0.0:3000",
		"maybe", // not accepted
		"",      // key: the default is yes, because other machines can connect
	}
	cfg, text, output := initialized(t, strings.Join(answers, "\n")+"\n", map[string]string{"B": "sk-2"})
	if len(cfg.Servers) != 2 || cfg.Servers[0].Token.Reveal() != "sk-1" || cfg.Servers[1].Token.Reveal() != "sk-2" || cfg.Mode != config.ModeFallback || cfg.Address() != "0.0.0.0:3000" || !cfg.Auth {
		t.Errorf("file: %s", text)
	}
	if n := strings.Count(output, "Not accepted:"); n != 5 {
		t.Errorf("%d answers not accepted, want 5: %s", n, output)
	}
	if strings.Contains(output, "sk-1") {
		t.Errorf("the token is shown: %s", output)
	}
}

func TestInitTakesDefaultsForEmptyAnswers(t *testing.T) {
	cfg, text, output := initialized(t, "\n\n\n\n\n", nil)
	if len(cfg.Servers) != 1 || cfg.Servers[0].URL.String() != "https://api.anthropic.com" || !cfg.Servers[0].Token.Empty() || cfg.Address() != "127.0.0.1:3000" || cfg.Auth {
		t.Errorf("file: %s", text)
	}
	if !strings.Contains(output, "ANTHROPIC_AUTH_TOKEN=YOUR_TOKEN ") {
		t.Errorf("output: %s", output)
	}
}

func TestInitWritesNothingOnFailure(t *testing.T) {
	f := func(wantStatus int, wantErr, in string, args ...string) {
		t.Helper()
		path := filepath.Join(t.TempDir(), "config.json")
		status, _, errOut := runCommand(t, "init", in, nil, append(args, "-o", path)...)
		if status != wantStatus || !strings.Contains(errOut, wantErr) {
			t.Errorf("%q: status %d, %s", args, status, errOut)
		}
		if _, err := os.Stat(path); err == nil {
			t.Errorf("%q: a file was written", args)
		}
	}
	f(service.ExitError, "the input ended before all questions were answered", "")
	f(service.ExitError, "the input ended before all questions were answered", "https://a.example\nsk-1")
	f(service.ExitError, `servers[0].url: must begin with https:// or http://: write "https://a.example"`, "", "-url", "a.example")
	f(service.ExitError, `mode: "x" is not one of`, "", "-url", "https://a.example", "-mode", "x")
	f(service.ExitError, "listen: ", "", "-url", "https://a.example", "-listen", "x")
	f(service.ExitError, "servers[0].token: cannot read ", "", "-token", "${file:none}")
	f(service.ExitUsage, "1 -token for 2 -url", "", "-url", "https://a.example", "-url", "https://b.example", "-token", "x")
}

func TestInitNeverOverwrites(t *testing.T) {
	path := writeConfig(t, "mine")
	status, out, errOut := runCommand(t, "init", "", nil, "-c", path, "-token", "x")
	if status != service.ExitError || out != "" || !strings.Contains(errOut, "exists already") {
		t.Errorf("status %d\n%s%s", status, out, errOut)
	}
	if src, err := os.ReadFile(path); err != nil || string(src) != "mine" {
		t.Errorf("file: %q, %v", src, err)
	}
	if err := writeNew(path, []byte("other")); err == nil {
		t.Error("writeNew replaced a file")
	}

	status, _, errOut = runCommand(t, "init", "", nil, "-token", "x", "-c", filepath.Join(t.TempDir(), "none", "config.json"))
	if status != service.ExitError || !strings.Contains(errOut, "cannot write the configuration file") {
		t.Errorf("no folder: status %d, %s", status, errOut)
	}
}

// TestInitCanBeInterrupted checks that the end of the context, which comes with the first Ctrl-C,
// ends the questions.
func TestInitCanBeInterrupted(t *testing.T) {
	in, w := io.Pipe()
	defer w.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var stdout, stderr strings.Builder
	std := service.Std{In: in, Out: &stdout, Err: &stderr, Env: func(string) (string, bool) { return "", false }}
	status := runInit(ctx, std, []string{"-c", filepath.Join(t.TempDir(), "config.json")})
	if status != service.ExitError || !strings.Contains(stderr.String(), "init: interrupted") {
		t.Errorf("status %d, %s", status, stderr.String())
	}
}

func TestShellQuote(t *testing.T) {
	f := func(s, want string) {
		t.Helper()
		if got := service.ShellQuote(s); got != want {
			t.Errorf("shellQuote(%q) = %s, want %s", s, got, want)
		}
	}
	f("/etc/lb/config.json", "/etc/lb/config.json")
	f("my config.json", "'my config.json'")
	f("it's", `'it'\''s'`)
	f("", "''")
}
