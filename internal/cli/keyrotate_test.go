package cli

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/config"
	"github.com/9bingyin/claude-code-lb/internal/service"
)

// keyFiles creates a configuration with a keys file, and returns a function that runs the key
// command with it.
func keyFiles(t *testing.T, keys string) (file string, run func(args ...string) (int, string, string)) {
	t.Helper()
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	c := write("config.json", `{"auth": true, "keys_file": "keys.json", "time_zone": "Asia/Tokyo", "auth_keys": [{"name": "here", "key": "k-here-0123456789abc"}], "servers": [{"url": "https://a.example", "token": "t"}]}`)
	if keys != "" {
		write("keys.json", keys)
	}
	return filepath.Join(dir, "keys.json"), func(args ...string) (int, string, string) {
		var out, err bytes.Buffer
		std := service.Std{In: strings.NewReader(""), Out: &out, Err: &err, Env: func(string) (string, bool) { return "", false }}
		status := runKey(t.Context(), std, append(args, "-c", c))
		return status, out.String(), err.String()
	}
}

func hashOf(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

func TestRotateKeepsEverythingElse(t *testing.T) {
	file, run := keyFiles(t, "[\n  // the team\n  {\"name\": \"ann\", \"key\": \"k-ann\", /* fast */ \"rpm\": 60, \"budget_usd\": {\"day\": 5},},\n  {\"name\": \"bob\", \"key\": \"k-bob\"},\n]\n")
	keys := func() []config.ClientKey {
		t.Helper()
		dir := filepath.Dir(file)
		src, err := os.ReadFile(filepath.Join(dir, "config.json"))
		if err != nil {
			t.Fatal(err)
		}
		cfg, problems := config.Decode(filepath.Join(dir, "config.json"), src, func(string) (string, bool) { return "", false })
		if problems.Failed() {
			t.Fatal(problems)
		}
		return cfg.AuthKeys
	}
	status, out, output := run("rotate", "ann")
	first, entry, _ := strings.Cut(out, "\n")
	if status != 0 || !strings.HasPrefix(first, "sk-lb-") || !strings.Contains(entry, hashOf(first)) || !strings.Contains(output, "works until") {
		t.Fatalf("%d %s %s", status, out, output)
	}
	text, _ := os.ReadFile(file)
	for _, want := range []string{"// the team", "/* fast */", `"rpm": 60`, "k-bob"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("%q is gone: %s", want, text)
		}
	}
	if strings.Contains(string(text), "k-ann") || strings.Contains(string(text), first) {
		t.Errorf("a secret of ann's is in the file: %s", text)
	}
	ann := keys()[1]
	if ann.Name != "ann" || ann.RPM != 60 || ann.Budget.Day != 5 || len(ann.Previous) != 1 || ann.Previous[0].KeySHA256 != hashOf("k-ann") || time.Until(ann.Previous[0].End()) < 23*time.Hour {
		t.Errorf("%+v", ann)
	}
	status, out, output = run("rotate", "ann", "-overlap", "0")
	second, _, _ := strings.Cut(out, "\n")
	if ann := keys()[1]; status != 0 || ann.KeySHA256 != hashOf(second) || len(ann.Previous) != 1 || !strings.Contains(output, "refused from now on") {
		t.Errorf("%d %+v %s", status, ann, output)
	}
	if status, out, _ := run("rotate", "here", "-overlap", "7d"); status != 0 || !strings.Contains(out, hashOf("k-here-0123456789abc")) {
		t.Errorf("%d %s", status, out)
	}
	for _, args := range [][]string{{"rotate"}, {"rotate", "carl"}, {"rotate", "ann", "-overlap", "soon"}, {"rotate", "ann", "-overlap", "-1h"}, {"rotate", "ann", "-overlap", "400d"}} {
		if status, _, output := run(args...); status == 0 || output == "" {
			t.Errorf("%v: %d %s", args, status, output)
		}
	}
	if status, out, _ := run("list"); status != 0 || !strings.Contains(out, "the former one to") || !strings.Contains(out, "begin in Asia/Tokyo") {
		t.Errorf("%d %s", status, out)
	}
}

// TestCommandsAtTheSameTimeLoseNoKey runs commands at the same time, with and without an existing
// keys file.
func TestCommandsAtTheSameTimeLoseNoKey(t *testing.T) {
	for _, keys := range []string{"", "[]"} {
		file, run := keyFiles(t, keys)
		var group sync.WaitGroup
		for i := range 8 {
			group.Go(func() {
				name := fmt.Sprint("user-", i)
				if status, _, output := run("new", name); status != 0 {
					t.Error(output)
				}
				verb := []string{"rotate", "revoke"}[i%2]
				if status, _, output := run(verb, name); status != 0 {
					t.Error(output)
				}
			})
		}
		group.Wait()
		text, err := os.ReadFile(file)
		if n := strings.Count(string(text), `"name"`); err != nil || n != 4 {
			t.Errorf("%d keys are left, want 4: %s %v", n, text, err)
		}
	}
}

func TestLockFiles(t *testing.T) {
	lock := filepath.Join(t.TempDir(), "keys.json.lock")
	now := time.Now()
	_, locked, err := tryLockFile(lock, now)
	if !locked || err != nil {
		t.Fatal(locked, err)
	}
	if _, again, err := tryLockFile(lock, now); again || err != nil {
		t.Error("locked twice", err)
	}
	if _, again, err := tryLockFile(lock, now.Add(lockStale+time.Minute)); again || err != nil {
		t.Error(again, err)
	}
	unlock, locked, err := tryLockFile(lock, now) // the previous call has removed the stale lock
	if !locked || err != nil {
		t.Fatal(locked, err)
	}
	unlock()
	if _, err := os.Stat(lock); err == nil {
		t.Error("the lock file is left")
	}
	if _, _, err := tryLockFile(filepath.Join(t.TempDir(), "none", "x.lock"), now); err == nil {
		t.Error("no error without a directory")
	}
}

// TestKeyNamesTheErrorOfTheConfiguration checks an error in the configuration, such as a client key
// whose variable is not set.
func TestKeyNamesTheErrorOfTheConfiguration(t *testing.T) {
	_, run := keyFiles(t, `[{"name": "ann", "key": "${NOT_SET}"}]`)
	for _, args := range [][]string{{"list"}, {"new", "bob"}, {"rotate", "ann"}, {"revoke", "ann"}} {
		status, out, output := run(args...)
		if status != 1 || out != "" || !strings.Contains(output, "keys.json:1:") || !strings.Contains(output, "NOT_SET is not set") {
			t.Errorf("%v: %d %q %q", args, status, out, output)
		}
	}
}
