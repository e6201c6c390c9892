package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func readFile(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// golden compares with a file in testdata, or writes it with -update.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(readFile(t, path), got); diff != "" {
		t.Errorf("%s (-want +got; go test ./e2e -update accepts it):\n%s", path, diff)
	}
}

func TestVersionAndHelp(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		args   string
		status int
		says   string
	}{
		{"-version", 0, "claude-code-lb "},
		{"--version", 0, "claude-code-lb "},
		{"-help", 0, "-health-check"},
		{"--help", 0, "-health-check"},
		{"-h", 0, "-health-check"},
		{"help", 0, "demo"},
		{"check -help", 0, "Usage: claude-code-lb check"},
		{"init --help", 0, "-url"},
		{"connect -h", 0, "-keep-login"},
		{"run -h", 0, "-env"},
		{"run", 2, "the command is missing"},
		{"schema -h", 0, "Usage: claude-code-lb schema"},
		{"explain-error -h", 0, "-own-credential"},
		{"fake -help", 0, "-fault"},
		{"demo -help", 0, "-for"},
		{"-no-such-flag", 2, "no-such-flag"},
		{"strat", 2, `no command "strat"`},
		{"check -no-such-flag", 2, "no-such-flag"},
		{"check some.json", 2, "some.json"},
	} {
		t.Run(test.args, func(t *testing.T) {
			t.Parallel()
			r := run(t, invocation{args: strings.Fields(test.args)})
			if r.status != test.status || !strings.Contains(r.stdout+r.stderr, test.says) {
				t.Errorf("status %d, want %d, and to read %q:\n%s%s", r.status, test.status, test.says, r.stdout, r.stderr)
			}
		})
	}
}

// TestNoConfiguration checks the help for new users.
func TestNoConfiguration(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{nil, {"-c", "nowhere.json"}, {"check"}, {"-health-check"}} {
		r := run(t, invocation{args: args})
		if r.status != 1 || r.stdout != "" {
			t.Errorf("%q: status %d, stdout %q, want 1 and nothing", args, r.status, r.stdout)
		}
		for _, want := range []string{"claude-code-lb init", "claude-code-lb demo", "CONFIG_FILE", "-c FILE", ".json"} {
			if !strings.Contains(r.stderr, want) {
				t.Errorf("%q does not mention %s:\n%s", args, want, r.stderr)
			}
		}
	}
}

func TestHealthCheck(t *testing.T) {
	t.Parallel()
	f := newFake(t, "a")
	cfg := balanced("round_robin", f.entry()).with("listen", freeAddress(t))
	file := filepath.Join(t.TempDir(), "config.json")
	writeConfig(t, file, cfg)
	expect := func(status int, in invocation) {
		t.Helper()
		if r := run(t, in); r.status != status {
			t.Errorf("%q: exit status %d, want %d: %s%s", in.args, r.status, status, r.stdout, r.stderr)
		}
	}
	expect(1, invocation{args: []string{"-health-check", "-c", file}})

	b := startFile(t, file)
	expect(0, invocation{args: []string{"-health-check", "-c", file}})
	expect(0, invocation{args: []string{"--c", file, "--health-check"}})
	expect(0, invocation{args: []string{"-health-check"}, env: []string{"CONFIG_FILE=" + file}})
	expect(0, invocation{args: []string{"-health-check"}, dir: filepath.Dir(file)})
	expect(0, invocation{args: []string{"-health-check", "-c", file}, env: []string{"HTTP_PROXY=http://127.0.0.1:9", "http_proxy=http://127.0.0.1:9"}})

	f.fails(status(500))
	b.ask(false)
	expect(1, invocation{args: []string{"-health-check", "-c", file}})
}

// TestHealthCheckOfAnotherProgram checks that a response of another program does not count as
// healthy.
func TestHealthCheckOfAnotherProgram(t *testing.T) {
	t.Parallel()
	f := newFake(t, "a")
	file := filepath.Join(t.TempDir(), "config.json")
	writeConfig(t, file, balanced("round_robin", f.entry()).with("listen", strings.TrimPrefix(f.url, "http://")))
	if r := run(t, invocation{args: []string{"-health-check", "-c", file}}); r.status != 1 {
		t.Errorf("exit status %d, want 1: %s%s", r.status, r.stdout, r.stderr)
	}
}

// TestBrokenConfiguration checks that nothing starts.
func TestBrokenConfiguration(t *testing.T) {
	t.Parallel()
	file, err := filepath.Abs(filepath.Join("testdata", "broken.json"))
	if err != nil {
		t.Fatal(err)
	}
	r := run(t, invocation{args: []string{"-c", file}})
	if r.status != 1 || !strings.Contains(r.stderr, "did you mean") || !strings.Contains(r.stderr, "nothing was started") {
		t.Errorf("exit status %d: %s%s", r.status, r.stdout, r.stderr)
	}
}

// TestCheck compares the output of check for files with mistakes, and for valid ones.
func TestCheck(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		file   string
		status int
	}{
		{"broken.json", 1},
		{"syntax.json", 1},
		{"doubtful.json", 0},
		{"good.json", 0},
	} {
		t.Run(test.file, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir() // a file of the repository may be readable by others, which check would report
			replaceFile(t, filepath.Join(dir, test.file), []byte(readFile(t, filepath.Join("testdata", test.file))))
			r := run(t, invocation{args: []string{"check", "-c", test.file}, dir: dir, env: []string{"GOOD_TOKEN=sk-ant-api03-good-secret"}})
			if r.status != test.status {
				t.Errorf("exit status %d, want %d", r.status, test.status)
			}
			golden(t, strings.TrimSuffix(test.file, ".json")+".golden", r.stderr+r.stdout)
			if strings.Contains(r.stdout+r.stderr, "secret") {
				t.Error("a secret is printed")
			}
			if r.status == 0 && !json.Valid([]byte(r.stdout)) {
				t.Errorf("standard output is not JSON:\n%s", r.stdout)
			}
		})
	}
}

func TestSchema(t *testing.T) {
	t.Parallel()
	r := run(t, invocation{args: []string{"schema"}})
	var schema struct {
		Schema     string         `json:"$schema"`
		Properties map[string]any `json:"properties"`
	}
	if err := json.Unmarshal([]byte(r.stdout), &schema); err != nil || r.status != 0 || r.stderr != "" {
		t.Fatalf("exit status %d, %v: %s%s", r.status, err, r.stdout, r.stderr)
	}
	if !strings.Contains(schema.Schema, "2020-12") {
		t.Errorf("$schema is %q", schema.Schema)
	}
	for _, name := range []string{"port", "listen", "mode", "algorithm", "servers", "cooldown", "fallback", "auth", "auth_keys", "debug", "error_rules", "breaker", "stream_keepalive"} {
		if schema.Properties[name] == nil {
			t.Errorf("no property %q", name)
		}
	}
}
