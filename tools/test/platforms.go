package main

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/tools/go/packages"
)

// otherPlatforms are the systems that builds are released for, besides Linux. No file of the
// project depends on the processor alone.
func otherPlatforms() []string { return []string{"darwin/arm64", "windows/amd64"} }

// typesOn type-checks the packages and their tests for another platform. That takes a tenth of
// the time of a build. It does not compile or link; the workflow that builds releases does.
func typesOn(ctx context.Context, platform string, patterns []string) error {
	system, processor, _ := strings.Cut(platform, "/")
	root, err := os.Getwd()
	if err != nil {
		return err
	}
	loaded, err := packages.Load(&packages.Config{
		Context: ctx,
		Mode: packages.NeedName | packages.NeedFiles | packages.NeedCompiledGoFiles | packages.NeedImports | packages.NeedDeps |
			packages.NeedTypes | packages.NeedTypesSizes | packages.NeedSyntax | packages.NeedTypesInfo,
		Env:   append(os.Environ(), "CGO_ENABLED=0", "GOOS="+system, "GOARCH="+processor),
		Tests: true,
		ParseFile: func(fset *token.FileSet, name string, src []byte) (*ast.File, error) {
			ours := strings.HasPrefix(name, root+string(filepath.Separator))
			generated := filepath.Ext(name) != ".go" // the main function of a test binary
			return parseFile(fset, name, src, ours || generated)
		},
	}, patterns...)
	if err != nil {
		return err
	}
	var problems []error
	for _, p := range loaded {
		for _, e := range p.Errors {
			problems = append(problems, e)
		}
	}
	if len(loaded) == 0 {
		problems = append(problems, fmt.Errorf("%v matches no package", patterns))
	}
	return errors.Join(problems...)
}

// parseFile parses a file. Only the declarations of dependencies matter, so whole is false for
// them and their function bodies are dropped.
func parseFile(fset *token.FileSet, name string, src []byte, whole bool) (*ast.File, error) {
	if whole {
		return parser.ParseFile(fset, name, src, parser.AllErrors|parser.SkipObjectResolution)
	}
	file, err := parser.ParseFile(fset, name, src, parser.SkipObjectResolution)
	if file != nil {
		for _, d := range file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok {
				f.Body = nil
			}
		}
	}
	return file, err
}
