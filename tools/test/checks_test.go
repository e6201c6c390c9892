package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

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
