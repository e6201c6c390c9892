// Command test is the project's one test command:
//
//	go run ./tools/test
//
// It needs only Go. It checks formatting, runs go vet, staticcheck and govulncheck, runs
// every test under the race detector, and repeats some tests without it. If the HTTP engine
// changed since the last run, it compares it with net/http on random input for a minute.
// A test that cannot run on this machine is listed with its reason and counted as skipped; a
// missing race detector is a note. The last line is always "N passed, N failed, N skipped";
// each check counts as one test.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

type options struct {
	noSkip   bool
	install  bool
	short    bool
	fuzz     time.Duration
	run      string
	packages []string
}

func main() {
	var o options
	flag.BoolVar(&o.noSkip, "no-skip", false, "fail when a test was skipped, the race detector is missing or a vulnerability is known (continuous integration)")
	flag.BoolVar(&o.install, "install", os.Getenv("CI") == "true", "install what tests need (gcc, node, npm, PostgreSQL, promtool) with apt-get when root; on by default where CI=true")
	flag.BoolVar(&o.short, "short", false, "leave out slow tests, as go test -short does")
	flag.StringVar(&o.run, "run", "", "run only tests matching this `regexp`, as go test -run does")
	flag.DurationVar(&o.fuzz, "fuzz", 0, "instead of the tests, run each fuzz target of the packages for this `time`, such as 1m")
	flag.Parse()
	o.packages = flag.Args()
	if len(o.packages) == 0 {
		o.packages = everything()
	}

	ok, err := testAll(context.Background(), os.Stdout, o)
	if err != nil {
		fmt.Fprintln(os.Stderr, "test:", err)
	}
	if err != nil || !ok {
		os.Exit(1)
	}
}

func testAll(ctx context.Context, out io.Writer, o options) (ok bool, err error) {
	if err := enterModule(ctx); err != nil {
		return false, err
	}
	// Everything except the race detector uses the configuration of releases, so that the checks,
	// the tests and the programs that tests build share one compilation.
	if err := os.Setenv("CGO_ENABLED", "0"); err != nil {
		return false, err
	}
	if o.fuzz > 0 {
		return fuzzAll(ctx, out, o)
	}
	var notes []string
	if o.install {
		if err := install(ctx); err != nil {
			notes = append(notes, err.Error())
		}
	}

	r := newReport(out)
	for _, c := range checks(o.packages, o.noSkip) {
		if note := r.check(ctx, c); note != "" {
			notes = append(notes, c.name+": "+note)
		}
	}
	server, err := startPostgres(ctx)
	if err != nil {
		notes = append(notes, err.Error())
	} else {
		defer server.stop()
	}
	race, raceEnv, withoutRace := raceArgs(ctx)
	r.run(ctx, o, append(race, o.packages...), append(slices.Clip(raceEnv), netHTTP), server)
	if withoutRace != "" {
		notes = append(notes, withoutRace)
	}
	if r.tested[engine] && !o.short && o.run == "" {
		r.fuzzEngine(ctx)
	}
	if again := plainPackages(o.packages); len(again) > 0 {
		fmt.Fprintln(out, "without the race detector:")
		r.run(ctx, o, again, os.Environ(), server)
	}

	for _, note := range notes {
		fmt.Fprintln(out, "NOTE    ", note)
	}
	for _, f := range r.failures {
		fmt.Fprintln(out, "FAILED  ", f)
	}
	ok = r.total.failed == 0
	if o.noSkip && (r.total.skipped > 0 || withoutRace != "") {
		fmt.Fprintln(out, "FAILED   -no-skip: something above did not run")
		ok = false
	}
	fmt.Fprintln(out, r.total)
	return ok, nil
}

// check runs one check. If it came to no result, it returns the reason as a note.
func (r *report) check(ctx context.Context, c check) (note string) {
	start := time.Now()
	note, err := c.run(ctx)
	r.count(c.name, time.Since(start), note, err)
	return note
}

// count counts a check as a test and prints its line. A check with a note is not counted.
func (r *report) count(name string, took time.Duration, note string, err error) {
	word := "ok"
	switch {
	case err != nil:
		fmt.Fprintln(r.out, err)
		word = "FAIL"
		r.total.failed++
		r.failures = append(r.failures, name+": check failed")
	case note != "":
		word = "?"
	default:
		r.total.passed++
	}
	fmt.Fprintf(r.out, "%-4s  %-60s %7.2fs\n", word, name, took.Seconds())
}

// netHTTP makes the end-to-end tests use the HTTP engine "go" in the first run. The second run uses the default, "fast",
// whose system calls only exist without the race detector. Other packages test both engines in each run.
const netHTTP = "E2E_HTTP_ENGINE=go"

// everything lists the packages that the command tests by default. go.mod excludes bench from
// ./..., so bench is listed here.
func everything() []string { return []string{"./...", "./bench", "./bench/soak"} }

// plainPackages returns the packages that are tested again without the race detector. Under
// the race detector, internal/socket reads and writes connections with the standard library,
// so the system calls of the released program run only here.
func plainPackages(asked []string) []string {
	plain := []string{"./internal/socket", "./internal/http1", "./e2e"}
	if slices.Contains(asked, "./...") {
		return plain
	}
	return slices.DeleteFunc(plain, func(p string) bool { return !slices.Contains(asked, p) })
}

// run makes one `go test` run and counts a problem of the run itself as a failed test.
func (r *report) run(ctx context.Context, o options, args, env []string, server *postgres) {
	if err := runTests(ctx, r, o, args, env, server); err != nil {
		r.total.failed++
		r.failures = append(r.failures, "go test: "+err.Error())
	}
}

// runVariable has a different value in every run. Tests that build a program read it, because the
// test cache does not see the sources of that program. The test cache keeps the results of other
// packages as long as nothing that they read changes.
const runVariable = "TEST_RUN"

// runTests adds the results of one `go test` run to r.
func runTests(ctx context.Context, r *report, o options, last, env []string, server *postgres) error {
	args := []string{"test", "-json", "-timeout=10m", "-vet=off"} // go vet is a separate check
	if o.short {
		args = append(args, "-short")
	}
	if o.run != "" {
		args = append(args, "-run", o.run)
	}
	cmd := exec.CommandContext(ctx, "go", append(args, last...)...)
	cmd.Env = append(slices.Clip(env), runVariable+"="+strconv.FormatInt(time.Now().UnixNano(), 36))
	if server != nil {
		cmd.Env = append(cmd.Env, postgresVariable+"="+server.url)
	}
	events, err := cmd.StdoutPipe()
	if err != nil {
		return fmt.Errorf("run tests: %w", err)
	}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return fmt.Errorf("run tests: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("run tests: %w", err)
	}
	failedBefore := r.total.failed
	if err := r.read(events, stderr); err != nil {
		return err
	}
	if err := cmd.Wait(); err != nil && r.total.failed == failedBefore {
		// The go command failed without a failed package, for example because of a broken go.mod.
		return fmt.Errorf("run tests: %w", err)
	}
	return nil
}

// enterModule makes the module's root the working directory, so that the command does the same in
// every directory of the module.
func enterModule(ctx context.Context) error {
	out, err := exec.CommandContext(ctx, "go", "env", "GOMOD").Output()
	if err != nil {
		return fmt.Errorf("find the module: %w", err)
	}
	file := strings.TrimSpace(string(out))
	if cmp.Or(file, os.DevNull) == os.DevNull {
		return errors.New("not inside the module")
	}
	return os.Chdir(filepath.Dir(file))
}
