package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestReportCounts(t *testing.T) {
	f := func(name, events string, want tally, shown ...string) {
		t.Run(name, func(t *testing.T) {
			t.Helper()
			var out strings.Builder
			r := newReport(&out)
			if err := r.read(strings.NewReader(events)); err != nil {
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
{"Action":"output","Package":"p","Test":"TestA","Output":"chatter\n"}
{"Action":"pass","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestB","Output":"x_test.go:1: got 1, want 2\n"}
{"Action":"fail","Package":"p","Test":"TestB"}
{"Action":"fail","Package":"p"}
`, tally{passed: 1, failed: 1}, "got 1, want 2", "FAIL  p ")
	f("interleaved packages", `
{"Action":"output","Package":"p","Test":"TestA","Output":"of p\n"}
{"Action":"pass","Package":"q","Test":"TestA"}
{"Action":"pass","Package":"q"}
{"Action":"fail","Package":"p","Test":"TestA"}
{"Action":"fail","Package":"p"}
`, tally{passed: 1, failed: 1}, "of p")
	f("a package without tests is no skip", `
{"Action":"output","Package":"p","Output":"?   \tp\t[no test files]\n"}
{"Action":"skip","Package":"p"}
`, tally{}, "no tests")
	f("a crash outside any verdict counts once and shows what was running", `
{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestA","Output":"panic: boom\n"}
{"Action":"output","Package":"p","Output":"FAIL\tp\t0.1s\n"}
{"Action":"fail","Package":"p"}
`, tally{failed: 1}, "panic: boom")
	f("a build failure counts once and shows the compiler", `
{"ImportPath":"p [p.test]","Action":"build-output","Output":"./x.go:3: undefined: y\n"}
{"ImportPath":"p [p.test]","Action":"build-fail"}
{"Action":"start","Package":"p"}
{"Action":"fail","Package":"p","FailedBuild":"p [p.test]"}
`, tally{failed: 1}, "undefined: y")
	f("plain text is passed on", "go: updates to go.mod needed\n", tally{}, "updates to go.mod needed")
}

func TestReportKeepsSkipReasons(t *testing.T) {
	r := newReport(&strings.Builder{})
	err := r.read(strings.NewReader(`
{"Action":"output","Package":"p","Test":"TestA","Output":"=== RUN   TestA\n"}
{"Action":"output","Package":"p","Test":"TestA","Output":"    a_test.go:7: node is not installed\n"}
{"Action":"output","Package":"p","Test":"TestA","Output":"--- SKIP: TestA (0.00s)\n"}
{"Action":"skip","Package":"p","Test":"TestA"}
{"Action":"skip","Package":"p","Test":"TestB"}
{"Action":"pass","Package":"p"}
`))
	if err != nil {
		t.Fatal(err)
	}
	if want := (tally{skipped: 2}); r.total != want {
		t.Errorf("total %v, want %v", r.total, want)
	}
	if got, want := r.skips[0].why, "a_test.go:7: node is not installed"; got != want {
		t.Errorf("reason %q, want %q", got, want)
	}
	if got, want := r.skips[1].why, "no reason given"; got != want {
		t.Errorf("reason %q, want %q", got, want)
	}
}

func TestTallyClosingLine(t *testing.T) {
	if got, want := (tally{12, 1, 3}).String(), "12 passed, 1 failed, 3 skipped"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestUnformatted(t *testing.T) {
	dir := t.TempDir()
	write := func(name, src string) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(src), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("good.go", "package p\n\nvar x = 1\n")
	write("testdata/bad.go", "package   p\n")
	write("node_modules/m/bad.go", "package   p\n")
	if err := unformatted(dir); err != nil {
		t.Errorf("well formatted tree: %v", err)
	}

	write("sub/spaced.go", "package   p\n")
	write("sub/broken.go", "package\n")
	err := unformatted(dir)
	if err == nil {
		t.Fatal("unformatted files were not found")
	}
	for _, name := range []string{"spaced.go", "broken.go"} {
		if !strings.Contains(err.Error(), name) {
			t.Errorf("%s is not named in: %v", name, err)
		}
	}
}

func TestDatabaseUnreachable(t *testing.T) {
	f := func(output string, want bool) {
		t.Helper()
		if got := databaseUnreachable([]byte(output)); got != want {
			t.Errorf("databaseUnreachable(%q) = %v, want %v", output, got, want)
		}
	}
	f(`govulncheck: fetching vulnerabilities: Get "https://vuln.go.dev/index/modules.json.gz": dial tcp: no such host`, true)
	f("=== Symbol Results ===\n\nVulnerability #1: GO-2025-0001\n", false)
	f("govulncheck: loading packages: x.go:1: syntax error", false)
}
