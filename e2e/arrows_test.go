package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/9bingyin/claude-code-lb"

// arrows says which packages of the project each one may import. It is the plan of the house: a package that is
// not named here, or an import that is not, needs a decision, and then a line.
func arrows() map[string][]string {
	return map[string][]string{
		"":                    {"internal/app"},
		"internal/claude":     nil,
		"internal/config":     nil,
		"internal/socket":     nil,
		"internal/http1":      {"internal/socket"},
		"internal/shared":     nil,
		"internal/telemetry":  nil,
		"internal/ledger":     {"internal/claude"},
		"internal/store":      {"internal/claude", "internal/ledger", "internal/telemetry"},
		"internal/upstream":   {"internal/claude", "internal/config", "internal/http1", "internal/shared", "internal/socket", "internal/telemetry"},
		"internal/routing":    {"internal/claude", "internal/config", "internal/upstream"},
		"internal/quota":      {"internal/claude", "internal/config", "internal/ledger", "internal/telemetry"},
		"internal/proxy":      {"internal/claude", "internal/ledger", "internal/quota", "internal/routing", "internal/upstream", "internal/telemetry"},
		"internal/edge":       {"internal/claude", "internal/config", "internal/http1", "internal/ledger", "internal/proxy", "internal/quota", "internal/routing", "internal/upstream", "internal/shared", "internal/socket", "internal/telemetry"},
		"internal/dashboard":  {"internal/ledger", "internal/upstream", "internal/telemetry"},
		"internal/fakeclaude": {"internal/claude"},
		"internal/replay":     {"internal/claude", "internal/config", "internal/fakeclaude", "internal/ledger", "internal/routing", "internal/upstream"},
		"internal/observe":    {"internal/claude", "internal/config", "internal/ledger", "internal/proxy", "internal/routing", "internal/telemetry", "internal/upstream"},
		"internal/admin":      {"internal/claude", "internal/config", "internal/ledger", "internal/observe", "internal/routing", "internal/telemetry", "internal/upstream"},
		"internal/app": {"internal/admin", "internal/claude", "internal/config", "internal/dashboard", "internal/edge", "internal/fakeclaude", "internal/http1", "internal/ledger",
			"internal/observe", "internal/proxy", "internal/quota", "internal/replay", "internal/routing", "internal/shared", "internal/store", "internal/telemetry", "internal/upstream"},
		"bench":       {"internal/fakeclaude"},
		"bench/soak":  {"internal/fakeclaude"},
		"tools/prose": nil,
		"tools/quick": nil,
		"tools/test":  nil,
	}
}

func TestImportArrows(t *testing.T) {
	t.Parallel()
	list := exec.Command("go", "list", "-json=ImportPath,Imports,GoFiles", "./...", "./bench", "./bench/soak")
	list.Dir = ".."
	var stderr bytes.Buffer
	list.Stderr = &stderr
	out, err := list.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.String())
	}
	seen := map[string]bool{}
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var pkg struct {
			ImportPath       string
			Imports, GoFiles []string
		}
		if err := dec.Decode(&pkg); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if len(pkg.GoFiles) == 0 {
			continue // tests alone
		}
		name := inModule(pkg.ImportPath)
		seen[name] = true
		allowed, planned := arrows()[name]
		if !planned {
			t.Errorf("package %s is not in the plan: add it to arrows with what it may import", pkg.ImportPath)
			continue
		}
		for _, imported := range pkg.Imports {
			if ours(imported) && !slices.Contains(allowed, inModule(imported)) {
				t.Errorf("%s imports %s, which the plan does not allow: it may import %v", pkg.ImportPath, imported, allowed)
			}
		}
	}
	for _, name := range []string{"", "internal/app", "internal/proxy", "internal/upstream"} {
		if !seen[name] {
			t.Errorf("go list did not show %q: this test looks at the wrong place", name)
		}
	}
}

func ours(importPath string) bool {
	return importPath == module || strings.HasPrefix(importPath, module+"/")
}

// inModule is a package's path inside the module.
func inModule(importPath string) string {
	return strings.TrimPrefix(strings.TrimPrefix(importPath, module), "/")
}

// TestFileSize keeps files to one idea each.
func TestFileSize(t *testing.T) {
	t.Parallel()
	const limit = 500
	files := 0
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != ".." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "node_modules"):
			return fs.SkipDir
		case filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		files++
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if lines := bytes.Count(text, []byte("\n")); lines > limit {
			t.Errorf("%s has %d lines, more than %d: find the second idea in it", path, lines, limit)
		}
		return nil
	})
	if err != nil || files < 50 {
		t.Errorf("%d files looked at, %v", files, err)
	}
}
