package main

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestPackagesOf(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, file := range []string{"main.go", "internal/routing/table.go"} {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	files := []string{"main.go", "internal/routing/table.go", "internal/routing/home.go", "internal/gone/gone.go", "e2e/log_test.go", "README.md", "examples/team/config.json", "LICENSE"}
	want := []string{"./.", "./docs", "./internal/cli", "./internal/routing"}
	if got := packagesOf(files); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}
