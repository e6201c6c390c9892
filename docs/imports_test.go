package docs

import (
	"bytes"
	"cmp"
	"flag"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/9bingyin/claude-code-lb"

// mayImport lists the packages of the project that each package may import. A new package or import needs a
// decision, and then a line here.
func mayImport() map[string][]string {
	return map[string][]string{
		"":                    {"internal/cli", "internal/service"},
		"internal/claude":     nil,
		"internal/config":     nil,
		"internal/connect":    nil,
		"internal/socket":     nil,
		"internal/statusline": nil,
		"internal/http1":      {"internal/socket"},
		"internal/telemetry":  nil,
		"internal/ledger":     {"internal/claude"},
		"internal/report":     {"internal/config", "internal/ledger", "internal/store"},
		"internal/store":      {"internal/claude", "internal/event", "internal/ledger", "internal/telemetry"},
		"internal/verdict":    {"internal/claude", "internal/config", "internal/http1"},
		"internal/transport":  {"internal/config", "internal/http1", "internal/socket"},
		"internal/healthcheck": {"internal/claude", "internal/config", "internal/event", "internal/telemetry",
			"internal/transport", "internal/verdict"},
		"internal/upstream": {"internal/claude", "internal/config", "internal/event", "internal/healthcheck",
			"internal/telemetry", "internal/transport", "internal/verdict"},
		"internal/routing": {"internal/claude", "internal/config", "internal/upstream"},
		"internal/quota": {"internal/claude", "internal/config", "internal/event", "internal/ledger",
			"internal/telemetry"},
		"internal/proxy": {"internal/claude", "internal/ledger", "internal/quota", "internal/routing",
			"internal/telemetry", "internal/transport", "internal/upstream", "internal/verdict"},
		"internal/edge": {"internal/claude", "internal/config", "internal/http1", "internal/ledger",
			"internal/proxy", "internal/quota", "internal/routing", "internal/socket", "internal/telemetry",
			"internal/transport", "internal/verdict"},
		"internal/fakeclaude":       {"internal/claude", "internal/fakeclaude/fault"},
		"internal/fakeclaude/fault": {"internal/claude"},
		"internal/replay": {"internal/claude", "internal/config", "internal/event", "internal/fakeclaude",
			"internal/ledger", "internal/routing", "internal/upstream", "internal/verdict"},
		"internal/observe": {"internal/claude", "internal/config", "internal/event", "internal/ledger",
			"internal/proxy", "internal/telemetry", "internal/upstream", "internal/verdict"},
		"internal/admin": {"internal/claude", "internal/config", "internal/ledger", "internal/report",
			"internal/routing", "internal/store", "internal/telemetry", "internal/upstream"},
		"internal/member": {"internal/claude", "internal/edge", "internal/ledger", "internal/proxy", "internal/quota",
			"internal/report", "internal/store"},
		"internal/cli": {"internal/claude", "internal/config", "internal/connect", "internal/demo", "internal/event",
			"internal/fakeclaude", "internal/fakeclaude/fault", "internal/ledger", "internal/quota", "internal/replay", "internal/report", "internal/service",
			"internal/statusline", "internal/store", "internal/transport", "internal/verdict", "internal/webhook"},
		"internal/demo": {"internal/claude", "internal/config", "internal/event", "internal/fakeclaude", "internal/fakeclaude/fault",
			"internal/ledger", "internal/proxy", "internal/service", "internal/telemetry"},
		"internal/service": {"internal/admin", "internal/config", "internal/edge", "internal/event",
			"internal/http1", "internal/ledger", "internal/member", "internal/observe", "internal/proxy", "internal/quota",
			"internal/routing", "internal/store", "internal/telemetry", "internal/upstream", "internal/verdict",
			"internal/webhook"},
		"bench":            {"internal/fakeclaude"},
		"bench/soak":       {"internal/fakeclaude", "internal/fakeclaude/fault"},
		"tools/prose":      nil,
		"tools/quick":      nil,
		"tools/test":       nil,
		"internal/event":   {"internal/config", "internal/telemetry"},
		"internal/webhook": {"internal/claude", "internal/config", "internal/event", "internal/telemetry"},
	}
}

// TestImports compares the imports of every package with mayImport. Names in the rules that do not exist fail too.
func TestImports(t *testing.T) {
	t.Parallel()
	rules := mayImport()
	imports := projectImports(t)
	for name, imported := range imports {
		allowed, planned := rules[name]
		if !planned {
			t.Errorf("package %q has no rule: add it to mayImport with the packages that it may import", name)
			continue
		}
		for _, other := range imported {
			if !slices.Contains(allowed, other) {
				t.Errorf("%q imports %q, but it may import only %q", name, other, allowed)
			}
		}
		for _, other := range allowed {
			if !slices.Contains(imported, other) {
				t.Errorf("%q may import %q, but does not: remove it from mayImport", name, other)
			}
		}
	}
	for name := range rules {
		if _, exists := imports[name]; !exists {
			t.Errorf("mayImport names %q, which does not exist", name)
		}
	}
}

// projectImports lists which packages of the project each one imports, on any platform. Packages of tests alone are
// left out.
func projectImports(t *testing.T) map[string][]string {
	t.Helper()
	found := map[string][]string{}
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != ".." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "node_modules" || d.Name() == "testdata"):
			return fs.SkipDir
		case filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(strings.TrimPrefix(filepath.ToSlash(filepath.Dir(path)), ".."), "/")
		imports := found[name]
		for _, spec := range file.Imports {
			imported := strings.Trim(spec.Path.Value, `"`)
			if strings.HasPrefix(imported, module+"/") && !slices.Contains(imports, strings.TrimPrefix(imported, module+"/")) {
				imports = append(imports, strings.TrimPrefix(imported, module+"/"))
			}
		}
		found[name] = imports
		return nil
	})
	if err != nil || len(found) < 15 {
		t.Fatalf("found %d packages, %v", len(found), err)
	}
	return found
}

// TestImportTable compares the table of imports in architecture.md with the rules; -update rewrites it.
func TestImportTable(t *testing.T) {
	t.Parallel()
	const begin, end = "<!-- imports:begin -->\n", "<!-- imports:end -->"
	page, err := os.ReadFile("architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(page), begin)
	old, after, closed := strings.Cut(rest, end)
	if !ok || !closed {
		t.Fatalf("architecture.md has no %q and %q", begin, end)
	}
	want := importTable()
	if *update && old != want {
		if err := os.WriteFile("architecture.md", []byte(before+begin+want+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if old != want {
		t.Errorf("the table of imports in architecture.md is out of date: run go test ./docs -update\n%s", want)
	}
}

// importTable is the rules as a Markdown table. Packages with the most dependencies come last.
func importTable() string {
	rules := mayImport()
	names := slices.SortedFunc(maps.Keys(rules), func(a, b string) int {
		return cmp.Or(cmp.Compare(len(rules[a]), len(rules[b])), cmp.Compare(a, b))
	})
	var table strings.Builder
	table.WriteString("| package | may import |\n|---|---|\n")
	short := func(name string) string {
		return "`" + strings.TrimPrefix(cmp.Or(name, "main.go"), "internal/") + "`"
	}
	for _, name := range names {
		imported := "nothing of this project"
		if len(rules[name]) > 0 {
			var list []string
			for _, other := range rules[name] {
				list = append(list, short(other))
			}
			imported = strings.Join(list, " ")
		}
		table.WriteString("| " + short(name) + " | " + imported + " |\n")
	}
	return table.String()
}

var update = flag.Bool("update", false, "write the table of imports into architecture.md")

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
