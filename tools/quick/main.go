// Command quick tests the packages that have changed since the main branch:
//
//	go run ./tools/quick
//
// It is the inner loop of development and takes seconds. It leaves out the end-to-end tests, the
// race detector and the linters, which go run ./tools/test adds. Packages given as arguments are
// tested as well.
package main

import (
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"path"
	"slices"
	"strings"
)

func main() {
	packages, err := changedPackages(cmp.Or(os.Getenv("QUICK_BASE"), "main"))
	if err != nil {
		fmt.Fprintln(os.Stderr, "quick:", err)
		os.Exit(1)
	}
	packages = append(packages, os.Args[1:]...)
	if len(packages) == 0 {
		fmt.Println("nothing has changed since main; name packages to test them, for example ./internal/routing")
		return
	}
	fmt.Println("go test -short", strings.Join(packages, " "))
	test := exec.Command("go", append([]string{"test", "-short"}, packages...)...)
	test.Stdout, test.Stderr = os.Stdout, os.Stderr
	if err := test.Run(); err != nil {
		os.Exit(1)
	}
}

// changedPackages lists the packages with files that differ from base, committed or not.
func changedPackages(base string) ([]string, error) {
	if err := enterRoot(); err != nil {
		return nil, err
	}
	since, err := git("merge-base", base, "HEAD")
	if err != nil {
		since = "HEAD" // base does not exist: compare with the last commit
	}
	changed, err := git("diff", "--name-only", since)
	if err != nil {
		return nil, err
	}
	untracked, err := git("ls-files", "--others", "--exclude-standard")
	if err != nil {
		return nil, err
	}
	return packagesOf(strings.Fields(changed + "\n" + untracked)), nil
}

// packagesOf returns the packages that test the given files, without the end-to-end tests.
func packagesOf(files []string) []string {
	var packages []string
	for _, file := range files {
		dir := path.Dir(file)
		switch {
		case strings.HasPrefix(file, "e2e/"):
		case strings.HasSuffix(file, ".md"):
			packages = append(packages, "./docs")
		case strings.HasSuffix(file, ".go") && holdsGo(dir):
			packages = append(packages, "./"+strings.TrimSuffix(dir, "/"))
		case strings.HasPrefix(file, "examples/"):
			packages = append(packages, "./internal/cli")
		}
	}
	slices.Sort(packages)
	return slices.Compact(packages)
}

// holdsGo reports whether a directory contains Go files. A change may have removed them.
func holdsGo(dir string) bool {
	entries, err := os.ReadDir(dir)
	return err == nil && slices.ContainsFunc(entries, func(e os.DirEntry) bool { return strings.HasSuffix(e.Name(), ".go") })
}

func enterRoot() error {
	root, err := git("rev-parse", "--show-toplevel")
	if err != nil {
		return err
	}
	return os.Chdir(root)
}

func git(args ...string) (string, error) {
	out, err := exec.Command("git", args...).Output()
	if err != nil {
		return "", fmt.Errorf("git %s: %w", args[0], err)
	}
	return strings.TrimSpace(string(out)), nil
}
