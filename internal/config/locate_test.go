package config

import "testing"

func TestLocate(t *testing.T) {
	src := []byte("\ufeff{ // comment\n  \"servers\": [{\"url\": \"a\"},\n    {\"url\": \"b\",},],\n}")
	f := func(path string, line, col int) {
		t.Helper()
		if l, c := Locate(src, path); l != line || c != col {
			t.Errorf("%s: %d:%d", path, l, c)
		}
	}
	f("servers[0].url", 2, 23)
	f("servers[1].url", 3, 13)
	f("servers[1]", 3, 5)
	f("servers[2].url", 1, 1)
	if l, c := Locate([]byte("{"), "a"); l != 1 || c != 1 {
		t.Error(l, c)
	}
}
