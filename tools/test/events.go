package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"gotest.tools/gotestsum/testjson"
)

// tally counts tests, subtests included, and the checks that run beside them.
type tally struct{ passed, failed, skipped int }

// String returns the last line of the command, which other programs read.
func (t tally) String() string {
	return fmt.Sprintf("%d passed, %d failed, %d skipped", t.passed, t.failed, t.skipped)
}

// report counts the results of checks and of `go test -json` runs. Not for concurrent use.
type report struct {
	out      io.Writer
	total    tally
	failures []string        // checks and runs that failed; the summary of a run lists its tests
	tested   map[string]bool // packages whose results did not come from the test cache
}

func newReport(out io.Writer) *report {
	return &report{out: out, tested: map[string]bool{}}
}

// read consumes the events of one run, prints a line per package, then failed tests with their
// output and skipped tests with their reasons.
func (r *report) read(events, stderr io.Reader) error {
	run, err := testjson.ScanTestOutput(testjson.ScanConfig{
		Stdout: events, Stderr: stderr, Handler: &packageLines{r: r},
		IgnoreNonJSONOutputLines: true, // the go command writes some messages as plain text
	})
	if err != nil {
		return fmt.Errorf("read test events: %w", err)
	}
	for _, name := range run.Packages() {
		p := run.Package(name)
		r.total.passed += len(p.Passed)
		r.total.skipped += len(p.Skipped)
		r.total.failed += failures(p)
	}
	testjson.PrintSummary(r.out, run, testjson.SummarizeAll)
	return nil
}

// failures returns the number of failed tests. A build error, a panic outside a test and a
// time-out count as one.
func failures(p *testjson.Package) int {
	if p.Result() == testjson.ActionFail {
		return max(1, len(p.Failed))
	}
	return len(p.Failed)
}

// packageLines prints a line when a package ends. The scanner calls Event and Err from two goroutines.
type packageLines struct {
	mu     sync.Mutex
	r      *report
	cached map[string]bool
}

// Event implements testjson.EventHandler.
func (l *packageLines) Event(e testjson.TestEvent, run *testjson.Execution) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !e.PackageEvent() {
		return nil
	}
	if e.Action == testjson.ActionOutput && strings.HasSuffix(strings.TrimSpace(e.Output), "(cached)") {
		if l.cached == nil {
			l.cached = map[string]bool{}
		}
		l.cached[e.Package] = true
	}
	if !e.Action.IsTerminal() {
		return nil
	}
	p := run.Package(e.Package)
	counts := tally{len(p.Passed), failures(p), len(p.Skipped)}.String()
	if p.IsEmpty() && e.Action != testjson.ActionFail {
		counts = "no tests"
	}
	word := map[testjson.Action]string{testjson.ActionPass: "ok", testjson.ActionFail: "FAIL", testjson.ActionSkip: "-"}[e.Action]
	if l.cached[e.Package] {
		counts += " (cached)"
	} else {
		l.r.tested[e.Package] = true
	}
	fmt.Fprintf(l.r.out, "%-4s  %-60s %7.2fs  %s\n", word, e.Package, e.Elapsed, counts)
	return nil
}

// Err implements testjson.EventHandler.
func (l *packageLines) Err(text string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, err := fmt.Fprintln(os.Stderr, text)
	return err
}
