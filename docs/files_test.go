package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

// goFile is the name of a Go file with its directory in a page: below internal, or from the root of the repository.
var goFile = regexp.MustCompile("`((?:[a-z0-9]+/)+[a-z0-9_]+\\.go)`")

// TestNamedFiles checks that every Go file that a page names with its directory exists.
func TestNamedFiles(t *testing.T) {
	for _, page := range pages(t) {
		for _, m := range goFile.FindAllStringSubmatch(read(t, page), -1) {
			if !exists(filepath.Join("../internal", m[1])) && !exists(filepath.Join("..", m[1])) {
				t.Errorf("%s names %s, which does not exist", page, m[1])
			}
		}
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
