package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"
)

// fuzzTarget is one fuzz test.
type fuzzTarget struct{ pkg, name string }

// fuzzAll runs every fuzz target of the packages, each for o.fuzz. It continues after a target that
// fails.
func fuzzAll(ctx context.Context, out io.Writer, o options) (ok bool, err error) {
	list := exec.CommandContext(ctx, "go", append([]string{"test", "-list", "^Fuzz"}, o.packages...)...)
	listed, err := list.CombinedOutput()
	if err != nil {
		return false, fmt.Errorf("list fuzz targets: %w\n%s", err, listed)
	}
	var total tally
	for _, t := range fuzzTargets(string(listed)) {
		start := time.Now()
		text, err := fuzz(ctx, t, o.fuzz, runtime.GOMAXPROCS(0))
		word := "ok"
		if err != nil {
			word = "FAIL"
			total.failed++
			fmt.Fprintf(out, "%s\n", text)
		} else {
			total.passed++
		}
		fmt.Fprintf(out, "%-4s  %s %s %.0fs\n", word, t.pkg, t.name, time.Since(start).Seconds())
	}
	fmt.Fprintln(out, total)
	return total.failed == 0 && total.passed > 0, nil
}

// fuzz runs one target with a number of workers. If an input makes the target fail, go test writes
// it to the package's testdata/fuzz.
func fuzz(ctx context.Context, t fuzzTarget, length time.Duration, workers int) (text []byte, err error) {
	cmd := exec.CommandContext(ctx, "go", "test", "-run=^$", "-fuzz=^"+t.name+"$", "-fuzztime="+length.String(),
		"-parallel="+strconv.Itoa(workers), "-timeout=0", t.pkg)
	text, err = cmd.CombinedOutput()
	return bytes.TrimSpace(text), err
}

// engine is the package whose fuzz targets compare the HTTP engine "fast" with net/http.
const engine = "github.com/9bingyin/claude-code-lb/internal/http1"

// fuzzEngine runs the differential targets of the engine for a minute, side by side with one worker each.
func (r *report) fuzzEngine(ctx context.Context) {
	targets := []fuzzTarget{{engine, "FuzzServer"}, {engine, "FuzzTransport"}}
	errs := make([]error, len(targets))
	var all sync.WaitGroup
	for i, t := range targets {
		all.Go(func() {
			if text, err := fuzz(ctx, t, time.Minute, 1); err != nil {
				errs[i] = fmt.Errorf("%w\n%s", err, text)
			}
		})
	}
	all.Wait()
	for i, t := range targets {
		r.count(t.name, time.Minute, "", errs[i])
	}
}

// fuzzTargets parses the output of go test -list: the names of a package, then a line with "ok",
// the package and the time.
func fuzzTargets(listed string) (all []fuzzTarget) {
	var names []string
	for line := range strings.Lines(listed) {
		fields := strings.Fields(line)
		switch {
		case len(fields) == 1 && strings.HasPrefix(fields[0], "Fuzz"):
			names = append(names, fields[0])
		case len(fields) > 1 && fields[0] == "ok":
			for _, name := range names {
				all = append(all, fuzzTarget{fields[1], name})
			}
			names = nil
		}
	}
	return all
}
