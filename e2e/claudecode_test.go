package e2e

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

const claudeCodePackage = "@anthropic-ai/claude-code"

// claudeCode is the real client, installed once for all tests of a run.
var claudeCode = sync.OnceValues(installClaudeCode)

// installClaudeCode installs the newest Claude Code from the npm registry. It keeps it in the
// user's cache directory, because it takes 400 MB.
func installClaudeCode() (client, error) {
	version, err := npm("", "view", claudeCodePackage, "version")
	if err != nil {
		return client{}, err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	base := filepath.Join(cache, "claude-code-lb-tests")
	dir := filepath.Join(base, "claude-code-"+version)
	if c, err := findClaudeCode(dir, version); err == nil {
		return c, nil
	}
	if err := os.MkdirAll(base, 0o755); err != nil {
		return client{}, err
	}
	// Another run may install the same version at the same time: the first one to rename wins.
	fresh, err := os.MkdirTemp(base, "installing-")
	if err != nil {
		return client{}, err
	}
	defer os.RemoveAll(fresh)
	if err := os.WriteFile(filepath.Join(fresh, "package.json"), []byte(`{"private":true}`), 0o644); err != nil {
		return client{}, err
	}
	install := []string{"install", "--no-audit", "--no-fund", "--ignore-scripts", claudeCodePackage + "@" + version}
	if _, err := npm(fresh, install...); err != nil {
		return client{}, err
	}
	if err := os.Rename(fresh, dir); err != nil {
		os.RemoveAll(dir)
		if err := os.Rename(fresh, dir); err != nil {
			return client{}, err
		}
	}
	return findClaudeCode(dir, version)
}

// findClaudeCode returns the program in the package for this platform, which npm chooses.
func findClaudeCode(dir, version string) (client, error) {
	for _, name := range []string{"claude", "claude.exe"} {
		found, _ := filepath.Glob(filepath.Join(dir, "node_modules", "@anthropic-ai", "claude-code-*", name))
		for _, program := range found {
			if exec.Command(program, "--version").Run() == nil {
				return client{program, version}, nil
			}
		}
	}
	return client{}, errors.New("no Claude Code that runs on this platform in " + dir)
}

func npm(dir string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "npm", args...)
	cmd.Dir = dir
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", errors.New("npm " + strings.Join(args, " ") + ": " + err.Error() + "\n" + stderr.String())
	}
	return strings.TrimSpace(string(out)), nil
}

// client is an installed Claude Code.
type client struct{ program, version string }

// claudeSession is Claude Code in an empty home and an empty working directory.
type claudeSession struct {
	client
	t         *testing.T
	home, dir string
	env       []string
}

// claudeAt returns a Claude Code that uses a base URL with a key, with its usual retries.
func claudeAt(t *testing.T, baseURL, key string, env ...string) *claudeSession {
	t.Helper()
	if testing.Short() {
		t.Skip("SKIPPED with -short: the real Claude Code")
	}
	c, err := claudeCode()
	if err != nil {
		t.Skipf("SKIPPED, the real Claude Code was NOT tested: %v", err)
	}
	t.Logf("Claude Code %s", c.version)
	s := &claudeSession{client: c, t: t, home: t.TempDir(), dir: t.TempDir()}
	s.env = append([]string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + s.home, "TMPDIR=" + t.TempDir(), "NO_COLOR=1",
		"ANTHROPIC_BASE_URL=" + baseURL, "ANTHROPIC_AUTH_TOKEN=" + key,
		"DISABLE_AUTOUPDATER=1", "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1", "DISABLE_TELEMETRY=1",
		"IS_SANDBOX=1", // some machines run tests as root
	}, env...)
	return s
}

// outcome is the output of one run of the client, and its duration.
type outcome struct {
	text string
	took time.Duration
	err  error
}

// say runs the client headless with one prompt. It ends a client that prints nothing within the
// limit.
func (s *claudeSession) say(limit time.Duration, prompt string, args ...string) outcome {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, s.program, append([]string{"-p", prompt}, args...)...)
	cmd.Dir, cmd.Env = s.dir, s.env
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	start := time.Now()
	err := cmd.Run()
	if ctx.Err() != nil {
		err = errors.Join(err, ctx.Err())
	}
	o := outcome{out.String(), time.Since(start), err}
	s.t.Logf("claude -p %q %v: %.1f s, %v: %s", prompt, args, o.took.Seconds(), err, strings.TrimSpace(o.text))
	return o
}

// mustSay checks that the client printed a text.
func (o outcome) mustSay(t *testing.T, text string) {
	t.Helper()
	if !strings.Contains(o.text, text) {
		t.Errorf("the client did not print %q within %.1f s: %v\n%s", text, o.took.Seconds(), o.err, o.text)
	}
}
