package e2e

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestTypeScriptSDK runs the official TypeScript client, in the version in
// typescript/package-lock.json.
func TestTypeScriptSDK(t *testing.T) {
	t.Parallel()
	for _, program := range []string{"node", "npm"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("SKIPPED, the TypeScript SDK was NOT tested: there is no %s on this machine (Debian: apt-get install nodejs npm)", program)
		}
	}
	dir := t.TempDir()
	for _, name := range []string{"package.json", "package-lock.json", "run.mjs"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(readFile(t, filepath.Join("typescript", name))), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	node := func(program string, args ...string) string {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, program, args...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s %s: %v\n%s", program, strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	node("npm", "ci", "--prefer-offline", "--no-audit", "--no-fund", "--ignore-scripts")

	first, second := newFake(t, "first"), newFake(t, "second")
	first.Script(status(529, "retry-after", "45"))
	b := start(t, fallback(first.entry(), second.entry()).with("auth", true).with("auth_keys", []string{clientKey}))
	out := node("node", "run.mjs", b.url, clientKey, model)
	if n := strings.Count(out, "ok "); n != 8 {
		t.Errorf("%d steps passed, want 8:\n%s", n, out)
	}
	if b.available() != 1 {
		t.Errorf("%d servers available, want the second alone", b.available())
	}
}
