// Package docs holds tests of the documentation: no code is built from this directory.
package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"
)

// pages are all Markdown files of the front page, the documentation and the examples.
func pages(t *testing.T) []string {
	t.Helper()
	var found []string
	for _, pattern := range []string{"../*.md", "*.md", "*/*.md", "../examples/*.md", "../examples/*/*.md", "../traces/*.md", "../.github/*.md"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, files...)
	}
	if len(found) < 15 {
		t.Fatalf("only %d pages found", len(found))
	}
	return found
}

var (
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`^#+ (.*)$`)
	anchor  = regexp.MustCompile(`<a id="([^"]+)">`)
	fence   = regexp.MustCompile("(?ms)^\\s*```.*?^\\s*```")
)

// TestLinks follows every link between files, to the heading that it names.
func TestLinks(t *testing.T) {
	for _, page := range pages(t) {
		for _, m := range link.FindAllStringSubmatch(fence.ReplaceAllString(read(t, page), ""), -1) {
			target := m[1]
			if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
				continue
			}
			file, section, _ := strings.Cut(target, "#")
			path := page
			if file != "" {
				path = filepath.Join(filepath.Dir(page), file)
			}
			if _, err := os.Stat(path); err != nil {
				t.Errorf("%s links to %s, which does not exist", page, target)
				continue
			}
			if section != "" && !anchors(read(t, path))[section] {
				t.Errorf("%s links to %s: no such heading", page, target)
			}
		}
	}
}

// TestIndexed checks that the index of the documentation names every page.
func TestIndexed(t *testing.T) {
	index := read(t, "README.md")
	files, err := filepath.Glob("*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if file != "README.md" && !strings.Contains(index, "]("+file+")") {
			t.Errorf("docs/README.md does not name %s", file)
		}
	}
}

// TestFrontPages checks that the front page stays short and that both languages have the same form.
func TestFrontPages(t *testing.T) {
	english, chinese := read(t, "../README.md"), read(t, "../README.zh-CN.md")
	if n := strings.Count(english, "\n"); n > 140 {
		t.Errorf("README.md has %d lines, more than 140", n)
	}
	shape := func(text string) string {
		var out strings.Builder
		for line := range strings.Lines(text) {
			start, _, _ := strings.Cut(strings.TrimSpace(line), " ")
			switch {
			case strings.HasPrefix(start, "#"), start == "-", strings.HasPrefix(start, "```"), strings.HasPrefix(start, "!"):
				out.WriteString(strings.SplitN(start, "[", 2)[0] + "\n")
			case start == "|":
				out.WriteString("|" + strings.Repeat("-", strings.Count(line, "|")) + "\n")
			}
		}
		return out.String()
	}
	if shape(english) != shape(chinese) {
		t.Errorf("the two READMEs differ in headings, lists, blocks or tables:\n%s\n%s", shape(english), shape(chinese))
	}
}

// anchors are the names by which a page's headings are linked to, as GitHub makes them.
func anchors(text string) map[string]bool {
	names := map[string]bool{}
	for _, m := range anchor.FindAllStringSubmatch(text, -1) {
		names[m[1]] = true
	}
	for line := range strings.Lines(fence.ReplaceAllString(text, "")) {
		m := heading.FindStringSubmatch(strings.TrimRight(line, "\n"))
		if m == nil {
			continue
		}
		name := strings.Map(func(r rune) rune {
			switch {
			case unicode.IsLetter(r), unicode.IsDigit(r), r == '-', r == '_':
				return unicode.ToLower(r)
			case r == ' ':
				return '-'
			default:
				return -1
			}
		}, m[1])
		names[name] = true
	}
	return names
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
