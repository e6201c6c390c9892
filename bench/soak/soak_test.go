package main

import (
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
)

// TestSoak runs for a few seconds with few requests at a time, because other tests use the
// processors too.
func TestSoak(t *testing.T) {
	os.Getenv("TEST_RUN") // its value differs between runs, because the test cache does not see the sources of the program
	if runtime.GOOS == "windows" {
		t.Skip("SKIPPED on Windows: the descriptors of a process are not counted")
	}
	var out strings.Builder
	err := soak(t.Context(), options{length: 10 * time.Second, every: 500 * time.Millisecond, rate: 60, open: 25}, &out)
	t.Log("\n" + out.String())
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(out.String(), "\n"); n < 10 {
		t.Errorf("%d lines", n)
	}
}

func TestJudge(t *testing.T) {
	f := func(want string, heap func(i int) float64) {
		t.Helper()
		var all []sample
		for i := range 40 {
			all = append(all, sample{heap: heap(i), goroutines: 100, descriptors: 50})
		}
		var out strings.Builder
		if err := judge(all, &out); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q\n%s", err, want, &out)
		}
	}
	f("", func(int) float64 { return 50e6 })
	f("", func(i int) float64 { return min(float64(i), 10) * 5e6 })            // fills up in the first quarter
	f("", func(i int) float64 { return 50e6 + float64(i%7)*2e6 })              // varies
	f("heap", func(i int) float64 { return 50e6 + float64(i)*1e6 })            // leaks
	f("heap", func(i int) float64 { return 10e6 + max(float64(i)-20, 0)*1e6 }) // begins to leak late
	if err := judge(make([]sample, least-1), &strings.Builder{}); err == nil {
		t.Error("a trend of too few samples")
	}
}

// TestBodies checks that request n is the same in every process, and that a conversation always
// begins alike.
func TestBodies(t *testing.T) {
	first, later := string(body(5, true, false)), string(body(5+conversations, true, false))
	if first == later || first != string(body(5, true, false)) {
		t.Error("bodies do not follow from their number")
	}
	begin := strings.Index(first, "Conversation 5 says in turn 0")
	if begin < 0 || !strings.Contains(later, "Conversation 5 says in turn 2") {
		t.Error("the conversation does not go on")
	}
	if n := len(body(3, false, true)); n < 250<<10 {
		t.Errorf("a large body has %d bytes", n)
	}
}
