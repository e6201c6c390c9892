package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestTypesOnOtherPlatforms(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"go.mod":            "module m\n\ngo 1.26.0\n",
		"m.go":              "package m\n\nimport \"strings\"\n\nvar X = strings.TrimSpace(onlySome)\n",
		"unix.go":           "//go:build !windows\n\npackage m\n\nconst onlySome = \"x\"\n",
		"m_darwin_test.go":  "package m\n\nvar x int = onlySome\n",
		"m_windows_test.go": "package m\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
	for platform, want := range map[string]string{
		"linux/arm64":   "",
		"windows/amd64": "undefined: onlySome",
		"darwin/arm64":  "as int value",
	} {
		err := typesOn(t.Context(), platform, []string{"./..."})
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", platform, err, want)
		}
	}
}
