package config

import (
	"bytes"
	"flag"
	"os"
	"reflect"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the reference into docs/configuration.md")

// TestReference compares the table in the documentation with Reference. After a change: go test
// ./internal/config -run TestReference -update
func TestReference(t *testing.T) {
	const page, begin, end = "../../docs/configuration.md", "<!-- reference:begin -->\n", "<!-- reference:end -->"
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), begin)
	current, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s does not hold %s … %s", page, begin, end)
	}
	if current == string(Reference()) {
		return
	}
	if !*update {
		t.Fatalf("%s is not current: run\n\tgo test ./internal/config -run TestReference -update", page)
	}
	if err := os.WriteFile(page, []byte(before+begin+string(Reference())+end+after), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestEveryFieldIsDescribed(t *testing.T) {
	for _, l := range listings("", reflect.TypeFor[Config]()) {
		if l.doc == "" || !strings.HasSuffix(l.doc, ".") {
			t.Errorf("%s: doc %q is not a sentence", l.path, l.doc)
		}
		if strings.Count(l.doc, "'")%2 != 0 {
			t.Errorf("%s: doc has an odd number of quotes: %s", l.path, l.doc)
		}
		if !bytes.Contains(Reference(), []byte("| `"+l.path+"` |")) {
			t.Errorf("%s: not in the reference", l.path)
		}
	}
}
