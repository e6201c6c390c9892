package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"time"
)

// fuzzTarget is one fuzz test.
type fuzzTarget struct{ pkg, name string }

// fuzzAll runs every fuzz target of the packages, each for o.fuzz. A target that fails does not
// keep the others from running.
func fuzzAll(ctx context.Context, out io.Writer, o options) (ok bool, err error) {
	list := exec.CommandContext(ctx, "go", append([]string{"test", "-list", "^Fuzz"}, o.packages...)...)
	listed, err := list.CombinedOutput()
	if err != nil {
		return false, fmt.Errorf("list fuzz targets: %w\n%s", err, listed)
	}
	var total tally
	for _, t := range fuzzTargets(string(listed)) {
		start := time.Now()
		text, err := fuzz(ctx, t, o.fuzz)
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

// fuzz runs one target. An input that makes it fail is in the package's testdata/fuzz afterwards.
func fuzz(ctx context.Context, t fuzzTarget, length time.Duration) (text []byte, err error) {
	cmd := exec.CommandContext(ctx, "go", "test", "-run=^$", "-fuzz=^"+t.name+"$", "-fuzztime="+length.String(), "-timeout=0", t.pkg)
	text, err = cmd.CombinedOutput()
	return bytes.TrimSpace(text), err
}

// fuzzTargets reads the output of go test -list: the names of a package, then a line "ok", the
// package and the time.
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
