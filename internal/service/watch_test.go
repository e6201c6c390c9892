package service

import (
	"os"
	"path/filepath"
	"testing"
)

// TestChangeWhileLoading checks that a change is detected if a file is saved while it is being
// read, or before it is first compared.
func TestChangeWhileLoading(t *testing.T) {
	dir := t.TempDir()
	path, token := filepath.Join(dir, "config.json"), filepath.Join(dir, "token")
	write := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const text = `{"servers": [{"name": "${NAME}", "url": "http://127.0.0.1:9", "token": "${file:token}"}]}`
	// The second load is compared: the other files are known only after the first one.
	f := func(name string, during func(), want bool) {
		t.Helper()
		write(path, text)
		write(token, "one")
		w, loads := &watchedFile{path: path}, 0
		_, problems, err := w.load(Std{Env: func(name string) (string, bool) {
			if name != "NAME" {
				return "", false
			}
			if loads++; loads == 2 {
				during()
			}
			return "a", true
		}})
		if err != nil || problems.Failed() || loads != 2 {
			t.Fatalf("%s: %d loads, %v %v", name, loads, problems, err)
		}
		w.changed() // the first comparison sees the change, the second sees that it is complete
		if got := w.changed(); got != want {
			t.Errorf("%s: changed = %t, want %t", name, got, want)
		}
	}
	f("nothing", func() {}, false)
	f("the file", func() { write(path, text+"\n") }, true)
	f("the token", func() { write(token, "two") }, true)
	f("the file is gone", func() { os.Remove(path) }, true)
}
