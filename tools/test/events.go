package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// tally counts tests, subtests included, and the checks that run beside them.
type tally struct{ passed, failed, skipped int }

// String is the closing line of the command; machines read it.
func (t tally) String() string {
	return fmt.Sprintf("%d passed, %d failed, %d skipped", t.passed, t.failed, t.skipped)
}

// event is one line of `go test -json`, as `go doc test2json` and
// `go help buildjson` describe it.
type event struct {
	Action      string
	Package     string
	ImportPath  string // of a build event, instead of Package
	Test        string // empty: the event is about the whole package
	Output      string
	Elapsed     float64 // seconds
	FailedBuild string
}

// named is a test that needs a word at the end: why it was skipped, or that it failed.
type named struct{ pkg, test, why string }

func (n named) String() string {
	return strings.TrimSpace(n.pkg+" "+n.test) + ": " + n.why
}

// report folds the events of one `go test -json` run into a tally, and prints
// one line per package and the output of whatever failed. Not for concurrent use.
type report struct {
	out      io.Writer
	total    tally
	skips    []named
	failures []named
	packages map[string]*packageState
	builds   map[string]*strings.Builder // compiler output by import path
}

type packageState struct {
	total  tally
	output map[string]*strings.Builder // by test; "" is the package's own
}

func newReport(out io.Writer) *report {
	return &report{out: out, packages: map[string]*packageState{}, builds: map[string]*strings.Builder{}}
}

// read consumes a whole event stream. Lines that are not events are passed on,
// because the go command writes some of its own complaints as plain text.
func (r *report) read(events io.Reader) error {
	br := bufio.NewReader(events)
	for {
		line, err := br.ReadBytes('\n')
		if len(line) > 0 {
			var e event
			if json.Unmarshal(line, &e) == nil && e.Action != "" {
				r.observe(e)
			} else {
				r.out.Write(line)
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read test events: %w", err)
		}
	}
}

func (r *report) observe(e event) {
	switch {
	case strings.HasPrefix(e.Action, "build-"):
		appendOutput(r.builds, e.ImportPath, e.Output)
	case e.Action == "output":
		appendOutput(r.state(e.Package).output, e.Test, e.Output)
	case e.Test == "":
		r.endPackage(e)
	default:
		r.endTest(e)
	}
}

func (r *report) endTest(e event) {
	p := r.state(e.Package)
	switch e.Action {
	case "pass":
		p.total.passed++
	case "fail":
		p.total.failed++
		r.failures = append(r.failures, named{e.Package, e.Test, "failed"})
		r.quote(p.output[e.Test])
	case "skip":
		p.total.skipped++
		r.skips = append(r.skips, named{e.Package, e.Test, skipReason(p.output[e.Test])})
	default: // run, pause, cont, bench, attr: the test is still going
		return
	}
	delete(p.output, e.Test)
}

func (r *report) endPackage(e event) {
	if e.Action != "pass" && e.Action != "fail" && e.Action != "skip" {
		return
	}
	p := r.state(e.Package)
	if e.Action == "fail" && p.total.failed == 0 {
		// A build error, a panic outside a test, a timeout: no test carries the blame.
		p.total.failed = 1
		r.failures = append(r.failures, named{e.Package, "", "failed outside its tests"})
		r.quote(r.builds[e.FailedBuild])
		for _, test := range slices.Sorted(maps.Keys(p.output)) {
			r.quote(p.output[test])
		}
	}
	r.total.passed += p.total.passed
	r.total.failed += p.total.failed
	r.total.skipped += p.total.skipped

	word := map[string]string{"pass": "ok", "fail": "FAIL", "skip": "-"}[e.Action]
	counts := p.total.String()
	if p.total == (tally{}) {
		counts = "no tests"
	}
	fmt.Fprintf(r.out, "%-4s  %-44s %7.2fs  %s\n", word, e.Package, e.Elapsed, counts)
	delete(r.packages, e.Package)
}

func (r *report) state(pkg string) *packageState {
	p := r.packages[pkg]
	if p == nil {
		p = &packageState{output: map[string]*strings.Builder{}}
		r.packages[pkg] = p
	}
	return p
}

func (r *report) quote(b *strings.Builder) {
	if b != nil {
		io.WriteString(r.out, b.String())
	}
}

func appendOutput(m map[string]*strings.Builder, key, text string) {
	if m[key] == nil {
		m[key] = &strings.Builder{}
	}
	m[key].WriteString(text)
}

// skipReason is what the test said before it stopped, without the lines that the
// testing package adds.
func skipReason(output *strings.Builder) string {
	if output == nil {
		return "no reason given"
	}
	var said []string
	for line := range strings.Lines(output.String()) {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "=== ") && !strings.HasPrefix(line, "--- ") {
			said = append(said, line)
		}
	}
	if len(said) == 0 {
		return "no reason given"
	}
	return strings.Join(said, " ")
}
