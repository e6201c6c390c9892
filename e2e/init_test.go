package e2e

import (
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

func TestInit(t *testing.T) {
	t.Parallel()
	f := newFake(t, "a")
	for _, test := range []struct {
		name  string
		args  []string
		stdin string
	}{
		{"flags", []string{"-url", f.url, "-token", "${UPSTREAM_TOKEN}", "-listen", "127.0.0.1:0"}, ""},
		{"double dashes", []string{"--url", f.url, "--token", f.token, "--listen=127.0.0.1:0"}, ""},
		{"answers", nil, strings.Join([]string{f.url, f.token, "", "127.0.0.1:0", "no", ""}, "\n")},
		{"answers and a client key", nil, strings.Join([]string{f.url, "${UPSTREAM_TOKEN}", "", "127.0.0.1:0", "yes", ""}, "\n")},
		{"two upstreams", []string{"-url", f.url, "-token", f.token, "-url", f.url, "-token", f.token + "2", "-mode", "fallback", "-listen", "127.0.0.1:0", "-auth-key", clientKey}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			file := filepath.Join(dir, "config.json")
			r := run(t, invocation{args: append([]string{"init"}, test.args...), stdin: test.stdin, dir: dir})
			if r.status != 0 || !strings.Contains(r.stdout, "ANTHROPIC_BASE_URL") {
				t.Fatalf("exit status %d: %s%s", r.status, r.stdout, r.stderr)
			}
			if strings.Contains(r.stdout+r.stderr, f.token) {
				t.Errorf("the token is printed:\n%s%s", r.stdout, r.stderr)
			}
			info, err := os.Stat(file)
			if err != nil {
				t.Fatal(err)
			}
			if mode := info.Mode().Perm(); mode != fs.FileMode(0o600) && runtime.GOOS != "windows" {
				t.Errorf("the file has mode %o, want 600", mode)
			}
			mustServeWith(t, file, "UPSTREAM_TOKEN="+f.token)
		})
	}
}

// mustServeWith runs the balancer with a file that init wrote, with the client key in it, if any.
func mustServeWith(t *testing.T, file, env string) {
	t.Helper()
	if r := run(t, invocation{args: []string{"check", "-c", file}, env: []string{env}}); r.status != 0 {
		t.Errorf("check: exit status %d: %s", r.status, r.stderr)
	}
	var written struct {
		AuthKeys []string `json:"auth_keys"`
	}
	if err := json.Unmarshal([]byte(readFile(t, file)), &written); err != nil {
		t.Fatal(err)
	}
	b := startFile(t, file, env)
	key := "any"
	if len(written.AuthKeys) > 0 {
		b.ask(false).failure(t, 401, "authentication_error")
		key = written.AuthKeys[0]
	}
	if problem := b.ask(true, "Authorization", "Bearer "+key).flaw(true); problem != "" {
		t.Error(problem)
	}
}

func TestInitNeverOverwrites(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "mine.json")
	replaceFile(t, file, []byte("precious"))
	for _, in := range []invocation{
		{args: []string{"init", "-c", file, "-url", "https://example.com"}},
		{args: []string{"-c", file, "init", "-url", "https://example.com"}},
		{args: []string{"init", "-url", "https://example.com"}, env: []string{"CONFIG_FILE=" + file}},
		{args: []string{"init"}, stdin: "https://example.com\n\n\n\n\n\n", env: []string{"CONFIG_FILE=" + file}},
	} {
		if r := run(t, in); r.status != 1 || !strings.Contains(r.stderr, "exists") {
			t.Errorf("%q: exit status %d: %s%s", in.args, r.status, r.stdout, r.stderr)
		}
	}
	if got := readFile(t, file); got != "precious" {
		t.Errorf("the file holds %q now", got)
	}
}

// TestInitRefuses checks that init writes nothing unusable, and nothing if an answer is missing.
func TestInitRefuses(t *testing.T) {
	t.Parallel()
	for _, in := range []invocation{
		{args: []string{"init", "-url", "ftp://example.com"}},
		{args: []string{"init", "-url", "https://example.com", "-mode", "sometimes"}},
		{args: []string{"init", "-url", "https://example.com", "-token", "a", "-token", "b"}},
		{args: []string{"init"}, stdin: "https://example.com\n"},
		{args: []string{"init"}},
	} {
		in.dir = t.TempDir()
		r := run(t, in)
		if r.status == 0 || r.stderr == "" {
			t.Errorf("%q: exit status %d: %s", in.args, r.status, r.stderr)
		}
		if _, err := os.Stat(filepath.Join(in.dir, "config.json")); err == nil {
			t.Errorf("%q wrote a file:\n%s", in.args, readFile(t, filepath.Join(in.dir, "config.json")))
		}
	}
}
