package cli

import (
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/9bingyin/claude-code-lb/internal/config"
	"github.com/9bingyin/claude-code-lb/internal/service"
)

const sealedLine = `^age:[A-Za-z0-9+/]+=*\n$`

func TestSecretCommands(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "config.json")
	identity := filepath.Join(dir, "config.agekey")

	status, recipient, output := runCommand(t, "secret", "", nil, "-c", path, "new-identity")
	if status != service.ExitOK || !regexp.MustCompile(`^age1[a-z0-9]{58}\n$`).MatchString(recipient) || !strings.Contains(output, identity) {
		t.Fatalf("status %d, %q, %s", status, recipient, output)
	}
	written, err := os.ReadFile(identity)
	if err != nil || !strings.Contains(string(written), "# public key: "+recipient) {
		t.Fatalf("%v, %d bytes", err, len(written))
	}
	if info, err := os.Stat(identity); err != nil || info.Mode().Perm() != 0o600 && runtime.GOOS != "windows" {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}

	status, out, output := runCommand(t, "secret", "", nil, "new-identity", "-c", path)
	if again, _ := os.ReadFile(identity); status != service.ExitError || out != "" || !strings.Contains(output, "exists already") || string(again) != string(written) {
		t.Errorf("a second time: status %d, %q, %s", status, out, output)
	}

	f := func(args ...string) {
		t.Helper()
		status, sealed, output := runCommand(t, "secret", "s3cr3t\n", map[string]string{"CONFIG_FILE": path}, append([]string{"encrypt"}, args...)...)
		if status != service.ExitOK || !regexp.MustCompile(sealedLine).MatchString(sealed) || output != "" {
			t.Fatalf("%q: status %d, %q, %s", args, status, sealed, output)
		}
		cfg, problems := config.Decode(path, []byte(`{"servers": [{"url": "https://a.example", "token": "`+strings.TrimSpace(sealed)+`"}]}`), os.LookupEnv)
		if len(problems) > 0 || cfg.Servers[0].Token.Reveal() != "s3cr3t" {
			t.Errorf("%q: %v", args, problems)
		}
	}
	f()
	f("-c", path)
	f("-recipient", strings.TrimSpace(recipient))
}

// TestInitAcceptsSealedSecrets checks a secret that the identity next to the new file decrypts.
func TestInitAcceptsSealedSecrets(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.json")
	runCommand(t, "secret", "", nil, "new-identity", "-c", path)
	_, sealed, _ := runCommand(t, "secret", "s3cr3t", nil, "encrypt", "-c", path)
	status, _, output := runCommand(t, "init", "", nil, "-c", path, "-token", strings.TrimSpace(sealed))
	if status != service.ExitOK {
		t.Fatalf("status %d, %s", status, output)
	}
	cfg, problems, err := service.LoadConfig(service.Std{Env: func(string) (string, bool) { return "", false }}, path)
	if err != nil || len(problems) > 0 || cfg.Servers[0].Token.Reveal() != "s3cr3t" {
		t.Errorf("%v, %v", problems, err)
	}
}

// TestSecretFollowsTheConfiguration checks that the identity is found although the configuration
// has errors elsewhere.
func TestSecretFollowsTheConfiguration(t *testing.T) {
	path := writeConfig(t, `{"age_identity": "mine.txt", "servers": [{"url": 1, "token": "${UNSET}"}]}`)
	status, recipient, output := runCommand(t, "secret", "", nil, "new-identity", "-pq", "-c", path)
	if status != service.ExitOK || !strings.HasPrefix(recipient, "age1pq1") {
		t.Fatalf("status %d, %q, %s", status, recipient, output)
	}
	if _, err := os.Stat(filepath.Join(filepath.Dir(path), "mine.txt")); err != nil {
		t.Error(err)
	}
	if status, sealed, output := runCommand(t, "secret", "s3cr3t", nil, "encrypt", "-c", path); status != service.ExitOK || !regexp.MustCompile(sealedLine).MatchString(sealed) {
		t.Errorf("status %d, %q, %s", status, sealed, output)
	}
}

func TestSecretRefusals(t *testing.T) {
	const identity = "AGE-SECRET-KEY-1QQPQYSZQGPQYSZQGPQYSZQGPQYSZQGPQYSZQGPQYSZQGPQYSZQGQ0AQ7P3"
	dir := t.TempDir()
	path := filepath.Join(dir, "config.json")
	f := func(status int, in, want string, env map[string]string, args ...string) {
		t.Helper()
		got, out, output := runCommand(t, "secret", in, env, args...)
		if got != status || out != "" || !strings.Contains(output, want) || strings.Count(output, "\n") != 1 {
			t.Errorf("%q: status %d, want %d\n%s%s", args, got, status, out, output)
		}
		if strings.Contains(output, "QYSZQGPQYS") || strings.Contains(output, "s3cr3t") {
			t.Errorf("%q: shown: %s", args, output)
		}
	}
	f(service.ExitUsage, "", "want new-identity or encrypt", nil)
	f(service.ExitUsage, "", `"decrypt" is neither`, nil, "decrypt")
	f(service.ExitUsage, "", "not an option", nil, "encrypt", "s3cret")
	f(service.ExitUsage, "", "not an age recipient", nil, "encrypt", "-recipient", "nobody")
	f(service.ExitUsage, "", "which must stay secret", nil, "encrypt", "-recipient", identity)
	f(service.ExitError, "s3cr3t", `"claude-code-lb secret new-identity" makes one`, nil, "encrypt", "-c", path)
	f(service.ExitError, "s3cr3t", "contains an identity", map[string]string{config.IdentityVariable: identity}, "encrypt", "-c", path)
	f(service.ExitError, "", "contains an identity", map[string]string{config.IdentityVariable: identity}, "new-identity", "-c", path)
	f(service.ExitError, "", "no such file", nil, "new-identity", "-c", filepath.Join(dir, "none", "config.json"))
	f(service.ExitError, "", "the file is empty", nil, "new-identity", "-c", writeConfig(t, ""))
	f(service.ExitError, "", "PLACE is not set", nil, "new-identity", "-c", writeConfig(t, `{"age_identity": "${PLACE}"}`))

	runCommand(t, "secret", "", nil, "new-identity", "-c", path)
	f(service.ExitError, "", "standard input is empty", nil, "encrypt", "-c", path)
	f(service.ExitError, "\r\n", "standard input is empty", nil, "encrypt", "-c", path)
	f(service.ExitError, "\xff", "not UTF-8", nil, "encrypt", "-c", path)
	f(service.ExitError, strings.Repeat("s3cr3t", maxSecret), "longer than 64 KiB", nil, "encrypt", "-c", path)
	if err := os.WriteFile(filepath.Join(dir, "config.agekey"), []byte(identity+"x"), 0o600); err != nil {
		t.Fatal(err)
	}
	f(service.ExitError, "s3cr3t", "does not hold an age identity", nil, "encrypt", "-c", path)
}
