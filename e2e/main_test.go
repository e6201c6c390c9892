// Package e2e drives the built program as its users do: with configuration files, signals and HTTP,
// in front of simulated upstreams inside the test. No test accesses the program's internals: tests
// see responses, the log, and what arrives at an upstream.
//
// Tests wait for conditions, never for a fixed time: a simulated upstream that must be busy holds
// its response (see fake) until the test releases it.
package e2e

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the files in testdata instead of comparing with them")

// binary is the program under test, built once by TestMain.
var binary string

func TestMain(m *testing.M) {
	flag.Parse()
	// Most tests wait most of the time, so more of them than processors may run at once.
	if f := flag.Lookup("test.parallel"); f.Value.String() == f.DefValue {
		flag.Set("test.parallel", fmt.Sprint(max(6, 2*runtime.GOMAXPROCS(0))))
	}
	os.Exit(buildAndRun(m))
}

func buildAndRun(m *testing.M) int {
	dir, err := os.MkdirTemp("", "claude-code-lb-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "claude-code-lb")
	if runtime.GOOS == "windows" {
		binary += ".exe"
	}
	args := []string{"build", "-o", binary}
	if raceDetector {
		args = append(args, "-race")
	}
	build := exec.Command("go", append(args, ".")...)
	build.Dir = ".."
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "e2e: build the program: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// result is the output and exit status of a command.
type result struct {
	status         int
	stdout, stderr string
}

// invocation is a command line with its environment.
type invocation struct {
	args  []string
	stdin string
	dir   string   // default: an empty one
	env   []string // in addition to a plain environment
}

// run runs a command of the program to its end.
func run(t *testing.T, in invocation) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, in.args...)
	cmd.Dir = in.dir
	if cmd.Dir == "" {
		cmd.Dir = t.TempDir()
	}
	cmd.Env = environment(in.env...)
	cmd.Stdin = bytes.NewBufferString(in.stdin)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatalf("run %v: %v", in.args, err)
	}
	r := result{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
	if complaint := accident(r.stderr); complaint != "" {
		t.Errorf("%v: %s:\n%s", in.args, complaint, r.stderr)
	}
	return r
}

// environment returns the machine's environment without variables that change the program's
// behavior.
func environment(more ...string) []string {
	env := []string{"NO_COLOR=1", "GORACE=atexit_sleep_ms=0"}
	for _, name := range []string{"PATH", "HOME", "TMPDIR", "SYSTEMROOT", "COMSPEC", "PATHEXT", "TEMP", "TMP", "USERPROFILE", "LOCALAPPDATA"} {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	return append(env, more...)
}

// accident returns a text that must never be in a log, "" if there is none.
func accident(log string) string {
	for _, sign := range []string{"DATA RACE", "panic: ", "request handler panicked", "goroutine 1 ["} {
		if bytes.Contains([]byte(log), []byte(sign)) {
			return "the program had an accident (" + sign + ")"
		}
	}
	return ""
}

// eventually waits until a condition holds, and fails the test if it does not in reasonable time.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	within(t, 15*time.Second, what, holds)
}

// within is eventually with a given limit.
func within(t *testing.T, limit time.Duration, what string, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(limit)
	poll := time.NewTicker(5 * time.Millisecond)
	defer poll.Stop()
	for !holds() {
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %s", limit, what)
		}
		<-poll.C
	}
}

// unixOnly skips a test that the operating system does not support.
func unixOnly(t *testing.T, why string) {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("SKIPPED on Windows: " + why)
	}
}
