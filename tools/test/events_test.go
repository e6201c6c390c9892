package main

import (
	"strings"
	"testing"
)

func TestReportCounts(t *testing.T) {
	f := func(name, events string, want tally, shown ...string) {
		t.Run(name, func(t *testing.T) {
			t.Helper()
			var out strings.Builder
			r := newReport(&out)
			if err := r.read(strings.NewReader(strings.TrimSpace(events)), strings.NewReader("")); err != nil {
				t.Fatal(err)
			}
			if r.total != want {
				t.Errorf("total %v, want %v", r.total, want)
			}
			for _, s := range shown {
				if !strings.Contains(out.String(), s) {
					t.Errorf("output lacks %q:\n%s", s, &out)
				}
			}
		})
	}

	f("nothing", "", tally{})
	f("subtests count", `
{"Action":"start","Package":"p"}
{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"run","Package":"p","Test":"TestA/one"}
{"Action":"pass","Package":"p","Test":"TestA/one"}
{"Action":"pass","Package":"p","Test":"TestA"}
{"Action":"pass","Package":"p","Elapsed":0.5}
`, tally{passed: 2}, "ok    p ")
	f("only the failure is quoted", `
{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestA","Output":"chatter\n"}
{"Action":"pass","Package":"p","Test":"TestA"}
{"Action":"run","Package":"p","Test":"TestB"}
{"Action":"output","Package":"p","Test":"TestB","Output":"x_test.go:1: got 1, want 2\n"}
{"Action":"fail","Package":"p","Test":"TestB"}
{"Action":"fail","Package":"p"}
`, tally{passed: 1, failed: 1}, "got 1, want 2", "FAIL  p ")
	f("a package without tests", `
{"Action":"output","Package":"p","Output":"?   \tp\t[no test files]\n"}
{"Action":"skip","Package":"p"}
`, tally{}, "no tests")
	f("the reason of a skipped test", `
{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestA","Output":"    a_test.go:7: node is not installed\n"}
{"Action":"skip","Package":"p","Test":"TestA"}
{"Action":"pass","Package":"p"}
`, tally{skipped: 1}, "node is not installed")
	f("a crash counts once", `
{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestA","Output":"panic: boom\n"}
{"Action":"output","Package":"p","Output":"FAIL\tp\t0.1s\n"}
{"Action":"fail","Package":"p"}
`, tally{failed: 1}, "panic: boom")
	f("a build failure counts once and shows the compiler's message", `
{"ImportPath":"p [p.test]","Action":"build-output","Output":"./x.go:3: undefined: y\n"}
{"ImportPath":"p [p.test]","Action":"build-fail"}
{"Action":"start","Package":"p"}
{"Action":"output","Package":"p","Output":"FAIL\tp [build failed]\n"}
{"Action":"fail","Package":"p","FailedBuild":"p [p.test]"}
`, tally{failed: 1}, "undefined: y")
	f("plain text is not an error", "go: updates to go.mod needed\n", tally{})
	f("a cached result", `
{"Action":"start","Package":"p"}
{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"pass","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Output":"ok  \tp\t(cached)\n"}
{"Action":"pass","Package":"p"}
`, tally{passed: 1}, "(cached)")
}

func TestTallyClosingLine(t *testing.T) {
	if got, want := (tally{12, 1, 3}).String(), "12 passed, 1 failed, 3 skipped"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
