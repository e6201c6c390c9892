package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestProfile takes a profile of short runs, and reads it with go tool pprof.
func TestProfile(t *testing.T) {
	t.Parallel()
	unixOnly(t)
	dir := t.TempDir()
	if err := writeCertificate(dir); err != nil {
		t.Fatal(err)
	}
	os.Getenv("TEST_RUN") // its value differs between runs, because the test cache does not see the sources of the program
	program, err := build(t.Context(), "..", dir)
	if err != nil {
		t.Fatal(err)
	}
	o := options{only: []string{"small", "streams"}, reps: 1, seconds: 1, streams: 10, profile: filepath.Join(dir, "cpu.pprof")}
	var out, progress bytes.Buffer
	b := bench{dir: dir, window: time.Second, warmup: 100 * time.Millisecond}
	if err := o.takeProfile(t.Context(), b, program, &out, &progress); err != nil {
		t.Fatalf("%v\n%s", err, progress.String())
	}
	if want := o.profile + " has a profile of 2 runs\n"; out.String() != want {
		t.Errorf("%q, want %q", out.String(), want)
	}
	top, err := exec.Command("go", "tool", "pprof", "-top", "-cum", o.profile).CombinedOutput()
	if err != nil || !strings.Contains(string(top), "github.com/9bingyin/claude-code-lb/internal/") {
		t.Errorf("%v\n%s", err, top)
	}
}

func TestProfileOfWhatTellsNothing(t *testing.T) {
	t.Parallel()
	unixOnly(t)
	dir := t.TempDir()
	r := &running{cmd: exec.Command("/bin/true"), output: filepath.Join(dir, "none")}
	if _, err := (&profiler{dir: dir}).begin(context.Background(), r, time.Second); err == nil {
		t.Error("no error without a log")
	}
	var none *profiler
	if wait, err := none.begin(context.Background(), r, time.Second); err != nil || wait() != nil {
		t.Errorf("none: %v", err)
	}
}
