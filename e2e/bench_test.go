package e2e

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// TestDocumentedComparisons runs the documented bench commands: every one with -h, which parses the
// flags before it, and one with a small amount of work.
func TestDocumentedComparisons(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("the comparison needs Linux or macOS")
	}
	ctx, stop := context.WithTimeout(t.Context(), 4*time.Minute)
	defer stop()
	dir := t.TempDir()
	program, soak := filepath.Join(dir, "bench"), filepath.Join(dir, "soak")
	command := func(args ...string) (string, error) {
		cmd := exec.CommandContext(ctx, args[0], args[1:]...)
		cmd.Dir, cmd.Env = "..", append(os.Environ(), "CGO_ENABLED=0") // as bench builds the program
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if out, err := command("go", "build", "-o", dir, "./bench", "./bench/soak"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	lines, run := 0, false
	for _, file := range documents(t) {
		blocks, _ := parse(readFile(t, file))
		for _, b := range blocks {
			for _, line := range b.lines {
				words, ours := strings.CutPrefix(comment.ReplaceAllString(line, ""), "go run ./bench")
				if !ours {
					continue
				}
				lines++
				if words, isSoak := strings.CutPrefix(words, "/soak"); isSoak {
					if out, err := command(append(append([]string{soak}, strings.Fields(words)...), "-h")...); err != nil {
						t.Errorf("%s: %q: %v\n%s", file, line, err, out)
					}
					continue
				}
				args := append([]string{program}, strings.Fields(words)...)
				if out, err := command(append(args, "-h")...); err != nil {
					t.Errorf("%s: %q: %v\n%s", file, line, err, out)
				}
				if run || !strings.Contains(words, "-only") {
					continue
				}
				run = true
				out, err := command(append(args, "-reps", "1", "-seconds", "0.2", "-streams", "10")...)
				if err != nil || !strings.Contains(out, "| claude-code-lb |") || accident(out) != "" {
					t.Errorf("%s: %q: %v\n%s", file, line, err, out)
				}
			}
		}
	}
	if lines < 3 || !run {
		t.Errorf("%d comparisons in the documentation, one of them run: %v", lines, run)
	}
}
