package cli

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/9bingyin/claude-code-lb/internal/service"
)

// TestModes checks that files are reported that other users can read and that contain secrets, and
// no others.
func TestModes(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("SKIPPED on Windows: access does not depend on modes")
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "config.json")
	put := func(name, content string, mode os.FileMode) {
		t.Helper()
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(file, mode); err != nil {
			t.Fatal(err)
		}
	}
	f := func(want ...string) {
		t.Helper()
		status, _, errOut := runCommand(t, "check", "", map[string]string{"TOKEN": "t"}, "-c", path)
		var got []string
		for line := range strings.Lines(errOut) {
			if strings.Contains(line, "others on this machine can read") {
				got = append(got, strings.TrimSpace(line))
			}
		}
		if g, w := strings.Join(got, "\n"), strings.Join(want, "\n"); status != service.ExitOK || g != w {
			t.Errorf("status %d\n%s\nwant:\n%s", status, g, w)
		}
	}
	const literal = `{"servers": [{"url": "https://a.example", "token": "sk-1"}]}`
	warning := path + ":1:52: servers[0].token: warning: is a secret in plain text, and others on this machine can read the file: chmod 600 " + path
	put("config.json", literal, 0o600)
	f()
	put("config.json", literal, 0o640)
	f(warning)
	put("config.json", literal, 0o404)
	f(warning)
	put("config.json", `{"servers": [{"url": "https://a.example", "token": "${TOKEN}"}]}`, 0o644)
	f()

	put("config.state/owners.json", "{}", 0o600)
	f()
	put("config.state/owners.json", "{}", 0o644)
	put("config.state/notes", "", 0o644)
	owners := filepath.Join(dir, "config.state", "owners.json")
	f(owners + ":1:1: warning: others on this machine can read the saved state: chmod 600 " + owners)
	if err := os.Chmod(filepath.Dir(owners), 0o700); err != nil {
		t.Fatal(err)
	}
	f()

	runCommand(t, "secret", "", nil, "new-identity", "-c", path)
	_, sealed, _ := runCommand(t, "secret", "sk-1", nil, "encrypt", "-c", path)
	put("config.json", `{"servers": [{"url": "https://a.example", "token": "`+strings.TrimSpace(sealed)+`"}]}`, 0o644)
	f()
	identity := filepath.Join(dir, "config.agekey")
	if err := os.Chmod(identity, 0o444); err != nil {
		t.Fatal(err)
	}
	f(identity + ":1:1: warning: others on this machine can read this identity: chmod 600 " + identity)
}
