package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// sealer creates identities and encrypts with the program, for a configuration in a separate
// directory.
type sealer struct {
	t    *testing.T
	file string // the configuration
	said strings.Builder
}

func newSealer(t *testing.T) *sealer {
	return &sealer{t: t, file: filepath.Join(t.TempDir(), "config.json")}
}

// identity creates the identity file of the configuration and returns its content.
func (s *sealer) identity(args ...string) string {
	s.t.Helper()
	s.run("", append([]string{"new-identity"}, args...)...)
	return readFile(s.t, s.identityFile())
}

func (s *sealer) identityFile() string { return strings.TrimSuffix(s.file, ".json") + ".agekey" }

func (s *sealer) encrypt(secret string) string {
	s.t.Helper()
	return s.run(secret+"\n", "encrypt")
}

func (s *sealer) run(stdin string, args ...string) string {
	s.t.Helper()
	r := run(s.t, invocation{args: append([]string{"-c", s.file, "secret"}, args...), stdin: stdin})
	if r.status != 0 {
		s.t.Fatalf("secret %v: exit status %d: %s", args, r.status, r.stderr)
	}
	s.said.WriteString(r.stdout + r.stderr)
	return strings.TrimSpace(r.stdout)
}

// TestSealedTokens covers the way from an identity to a request: no file and no output contains a
// plain secret.
func TestSealedTokens(t *testing.T) {
	t.Parallel()
	for _, kind := range [][]string{nil, {"-pq"}} {
		t.Run(fmt.Sprint(kind), func(t *testing.T) {
			t.Parallel()
			f, s := newFake(t, "a"), newSealer(t)
			identity := s.identity(kind...)
			entry := f.entry().with("token", s.encrypt(f.token)).with("balance_check", s.encrypt("echo 5 # sk-balance-command"))
			writeConfig(t, s.file, guarded(entry).with("auth_keys", []string{s.encrypt(clientKey)}).with("debug", true))

			check := run(t, invocation{args: []string{"check", "-c", s.file}})
			if check.status != 0 || !strings.Contains(check.stderr, ": ok") {
				t.Fatalf("check: exit status %d: %s", check.status, check.stderr)
			}
			b := startFile(t, s.file)
			b.ask(true).failure(t, 401, "authentication_error")
			if problem := b.ask(true, "X-Api-Key", clientKey).flaw(true); problem != "" {
				t.Error(problem)
			}
			if where := carries(f.only(t), f.token); where == "" {
				t.Error("the upstream did not get the token")
			}
			b.awaitRecords()
			shown := s.said.String() + check.stdout + check.stderr + b.log.String() + readFile(t, s.file)
			for _, secret := range []string{f.token, clientKey, "sk-balance-command", identity[strings.Index(identity, "AGE-SECRET-KEY"):]} {
				if strings.Contains(shown, strings.TrimSpace(secret)) {
					t.Errorf("shown or written: %s", secret)
				}
			}
		})
	}
}

// TestIdentityChanges checks that a wrong identity keeps the configuration in force, and the right
// one applies the new one.
func TestIdentityChanges(t *testing.T) {
	t.Parallel()
	old, young, s := newFake(t, "old"), newFake(t, "young"), newSealer(t)
	first := s.identity()
	writeConfig(t, s.file, balanced("round_robin", old.entry().with("token", s.encrypt(old.token))))
	b := startFile(t, s.file)
	b.mustServe(true, old)

	if err := os.Rename(s.identityFile(), s.identityFile()+".old"); err != nil {
		t.Fatal(err)
	}
	second := s.identity()
	token := s.encrypt(young.token)
	replaceFile(t, s.identityFile(), []byte(first))
	writeConfig(t, s.file, balanced("round_robin", young.entry().with("token", token)))
	b.waitLog("configuration", func(l line) bool { return strings.Contains(l.text("problem"), "encrypted for another identity") })
	b.mustServe(true, old)

	replaceFile(t, s.identityFile(), []byte(second+first))
	b.waitLog("configuration reloaded", nil)
	b.mustServe(true, young)
}

// TestLooseModes checks that files which others can read cause one warning at the start, and no
// failure.
func TestLooseModes(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("SKIPPED on Windows: a mode says nothing there")
	}
	f, s := newFake(t, "a"), newSealer(t)
	s.identity()
	writeConfig(t, s.file, guarded(f.entry().with("token", s.encrypt(f.token))))
	for file, mode := range map[string]os.FileMode{s.file: 0o444, s.identityFile(): 0o644} {
		if err := os.Chmod(file, mode); err != nil {
			t.Fatal(err)
		}
	}
	b := startFile(t, s.file)
	if problem := b.ask(true, "X-Api-Key", clientKey).flaw(true); problem != "" {
		t.Error(problem)
	}
	b.awaitRecords()
	for _, want := range []string{"auth_keys[0]: warning: is a secret in plain text, and others", "others on this machine can read this identity: chmod 600 "} {
		if n := strings.Count(b.log.String(), want); n != 1 {
			t.Errorf("%q is reported %d times, want once", want, n)
		}
	}
}
