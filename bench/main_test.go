package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestMain makes this binary the upstream if asked, like the command itself.
func TestMain(m *testing.M) {
	if spec, isUpstream := os.LookupEnv(upstreamVariable); isUpstream {
		if err := serveUpstreams(spec); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func unixOnly(t *testing.T) {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("there is no ps")
	}
}

// TestComparison makes a very short comparison over every wire, of every installed proxy. It
// ignores the times.
func TestComparison(t *testing.T) {
	t.Parallel()
	unixOnly(t)
	ctx, stop := context.WithTimeout(t.Context(), 4*time.Minute)
	defer stop()
	dir := t.TempDir()
	if err := writeCertificate(dir); err != nil {
		t.Fatal(err)
	}
	root, err := moduleRoot(ctx)
	if err != nil {
		t.Fatal(err)
	}
	program, err := build(ctx, root, dir)
	if err != nil {
		t.Fatal(err)
	}
	others, missing := peers(ctx)
	t.Logf("not installed: %q", missing)
	b := bench{dir: dir, window: 400 * time.Millisecond, warmup: 50 * time.Millisecond}
	for _, tls := range []bool{false, true} {
		o := options{only: kinds(), reps: 1, seconds: b.window.Seconds(), streams: 20, tls: tls}
		if err := o.validate(); err != nil {
			t.Log(err)
			continue
		}
		var progress bytes.Buffer
		results, err := o.runAll(ctx, b, append([]proxy{direct(), balancer(program, o.engine)}, others...), &progress)
		if err != nil {
			t.Fatalf("%v\n%s", err, progress.String())
		}
		seen := map[string]bool{}
		for _, r := range results {
			seen[fmt.Sprint(r.wire, r.work.name, r.proxy.name)] = true
			if m := r.typical(); len(r.runs) != 1 || m.units == 0 || m.errors != 0 || (m.p99 == 0) != r.work.hold || (m.first99 == 0) == r.work.hold {
				t.Errorf("%s, %s, %s: %+v", r.wire, r.work.name, r.proxy.name, r.runs)
			}
		}
		wires := 1
		if tls {
			wires = 3
		}
		for _, name := range []string{"direct", ours} {
			if n := len(slices.DeleteFunc(slices.Clone(results), func(r *result) bool { return r.proxy.name != name })); n != wires*len(kinds()) {
				t.Errorf("%d results of %s: %v\n%s", n, name, seen, progress.String())
			}
		}
		if lines := strings.Count(markdown(results, tls), "\n"); lines != len(results)+2 {
			t.Errorf("a table of %d lines for %d results", lines, len(results))
		}
	}
}

func TestProxyThatDoesNotStart(t *testing.T) {
	t.Parallel()
	unixOnly(t)
	dir := t.TempDir()
	broken := proxy{name: "broken", program: "/bin/sh", configure: func(string, string, upstreams) (args, env []string, err error) {
		return []string{"-c", "echo what is wrong; exit 3"}, nil, nil
	}}
	_, err := broken.start(t.Context(), dir, upstreams{})
	if err == nil || !strings.Contains(err.Error(), "what is wrong") || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("error %v", err)
	}
	broken.program = filepath.Join(dir, "nowhere")
	if _, err := broken.start(t.Context(), dir, upstreams{}); err == nil || !strings.Contains(err.Error(), "start broken") {
		t.Errorf("error %v", err)
	}
}

func TestFlags(t *testing.T) {
	t.Parallel()
	f := func(wantErr string, args ...string) {
		t.Helper()
		var out, errOut bytes.Buffer
		ended, stop := context.WithCancel(t.Context())
		stop() // valid flags end at once
		status := run(ended, args, &out, &errOut)
		if wantErr == "" && status != 1 || wantErr != "" && (status != 2 || !strings.Contains(errOut.String(), wantErr)) {
			t.Errorf("%q: exit status %d, %s; want %q", args, status, errOut.String(), wantErr)
		}
	}
	f("")
	f("-profile compares nothing", "-profile", "x", "-write")
	f("", "-only", "small,streams", "-reps", "1", "-seconds", "0.3", "-streams", "20", "-write")
	f(`no work is called "big": there are small, realistic, streams`, "-only", "small,big")
	f(`no work is called ""`, "-only", "")
	f("-reps 0: from 1 to 100", "-reps", "0")
	f("-seconds 0.01: from 0.1 to 600", "-seconds", "0.01")
	f("-seconds NaN", "-seconds", "NaN")
	f("-streams 0: from 1 to 20000", "-streams", "0")
	f("", "-engine", "go")
	f("-engine nginx: fast or go", "-engine", "nginx")
	f("-engine go: docs/performance.md shows", "-engine", "go", "-write")
	f(`unexpected argument "small"`, "small")
	f("flag provided but not defined: -fast", "-fast")

	var help bytes.Buffer
	if status := run(t.Context(), []string{"-h"}, &help, &help); status != 0 || !strings.Contains(help.String(), "-streams number") {
		t.Errorf("exit status %d:\n%s", status, help.String())
	}
}
