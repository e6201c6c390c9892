package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var namedFile = regexp.MustCompile("`((?:internal|docs|deploy|e2e|tools)/[\\w./-]+\\.\\w+|[A-Z]+\\.md)`")

// TestRecipes checks that the files named in CONTRIBUTING.md exist, and the tests that it runs.
func TestRecipes(t *testing.T) {
	text := read(t, "../CONTRIBUTING.md")
	_, recipes, ok := strings.Cut(text, "<!-- recipes:begin -->")
	recipes, _, ok2 := strings.Cut(recipes, "<!-- recipes:end -->")
	if !ok || !ok2 {
		t.Fatal("CONTRIBUTING.md does not mark its recipes")
	}
	for _, title := range []string{"routing policy", "fault", "configuration field", "metric"} {
		if !strings.Contains(recipes, title) {
			t.Errorf("there is no recipe for a %s", title)
		}
	}
	files := namedFile.FindAllStringSubmatch(recipes, -1)
	if len(files) < 20 {
		t.Errorf("only %d files are named", len(files))
	}
	for _, m := range files {
		if _, err := os.Stat(filepath.Join("..", m[1])); err != nil {
			t.Errorf("CONTRIBUTING.md names %s, which does not exist", m[1])
		}
	}
	for _, m := range regexp.MustCompile(`go test \./(\S+) -run (Test\w+)`).FindAllStringSubmatch(text, -1) {
		tests, err := filepath.Glob(filepath.Join("..", m[1], "*_test.go"))
		if err != nil {
			t.Fatal(err)
		}
		found := false
		for _, file := range tests {
			found = found || strings.Contains(read(t, file), "func "+m[2]+"(")
		}
		if !found {
			t.Errorf("CONTRIBUTING.md runs %s in %s, which does not exist", m[2], m[1])
		}
	}
}

// TestDecisions checks that the index of decisions names every record.
func TestDecisions(t *testing.T) {
	index := read(t, "decisions/README.md")
	records, err := filepath.Glob("decisions/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range records {
		if name := filepath.Base(file); name != "README.md" && !strings.Contains(index, "]("+name+")") {
			t.Errorf("decisions/README.md does not name %s", name)
		}
	}
}
