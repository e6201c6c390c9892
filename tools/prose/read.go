package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// kind is the role of a passage.
type kind string

const (
	comment  kind = "comment"
	message  kind = "message" // a string literal of several words
	document kind = "document"
)

// passage is a piece of text for readers.
type passage struct {
	kind kind
	file string
	line int
	text string // on one line
}

// read collects the passages of a file, or of all files below a directory.
func read(root string) ([]passage, error) {
	var texts []passage
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() {
			hidden := strings.HasPrefix(name, ".") && name != "." && name != ".." && name != ".github"
			if hidden || name == "node_modules" || name == "testdata" || name == "traces" {
				return fs.SkipDir
			}
			return nil
		}
		found, err := readFile(path)
		texts = append(texts, found...)
		return err
	})
	return texts, err
}

func readFile(path string) ([]passage, error) {
	switch {
	case strings.HasSuffix(path, ".go"):
		return readGo(path)
	case strings.HasSuffix(path, ".zh-CN.md"):
		return nil, nil
	case strings.HasSuffix(path, ".md"), strings.HasSuffix(path, ".yaml"), strings.HasSuffix(path, ".yml"):
		return readLines(path)
	}
	return nil, nil
}

// readGo returns the comments of a Go file and, outside tests, its string literals of at least three words.
func readGo(path string) ([]passage, error) {
	files := token.NewFileSet()
	parsed, err := parser.ParseFile(files, path, nil, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	var texts []passage
	for _, group := range parsed.Comments {
		if text := strings.Join(strings.Fields(group.Text()), " "); text != "" {
			texts = append(texts, passage{comment, path, files.Position(group.Pos()).Line, text})
		}
	}
	if strings.HasSuffix(path, "_test.go") {
		return texts, nil
	}
	ast.Inspect(parsed, func(n ast.Node) bool {
		literal, ok := n.(*ast.BasicLit)
		if !ok || literal.Kind != token.STRING {
			return true
		}
		text, err := strconv.Unquote(literal.Value)
		if err == nil && len(strings.Fields(text)) >= 3 && letters.MatchString(text) {
			texts = append(texts, passage{message, path, files.Position(literal.Pos()).Line, strings.Join(strings.Fields(text), " ")})
		}
		return true
	})
	return texts, nil
}

// letters matches prose, as opposed to data: two words in a row.
var letters = regexp.MustCompile(`[A-Za-z]{2,} [a-z]{2,}`)

// readLines returns the paragraphs of a Markdown or YAML file, without fenced code and inline code.
func readLines(path string) ([]passage, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var texts []passage
	fenced, joined := false, false
	for i, line := range strings.Split(string(text), "\n") {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "```") {
			fenced = !fenced
			joined = false
			continue
		}
		if fenced || line == "" {
			joined = false
			continue
		}
		line = code.ReplaceAllString(line, "`…`")
		if joined && !strings.ContainsAny(line[:1], "-*|#") {
			texts[len(texts)-1].text += " " + line
			continue
		}
		texts = append(texts, passage{document, path, i + 1, line})
		joined = true
	}
	return texts, nil
}

var code = regexp.MustCompile("`[^`]*`")
