package connect

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

const testKey = "sk-lb-testkey0123456789"

// connected edits a text as connect does.
func connected(t *testing.T, text string) string {
	t.Helper()
	d, err := Parse("settings.json", []byte(text))
	if err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	for _, set := range [][2]string{{BaseURL, "http://127.0.0.1:3000"}, {AuthToken, testKey}} {
		if d, err = d.Set([]byte(`"`+set[1]+`"`), "env", set[0]); err != nil {
			t.Fatalf("%q: %v", text, err)
		}
	}
	return string(d.Bytes())
}

func TestSetKeepsTheLayout(t *testing.T) {
	const u, k = `"ANTHROPIC_BASE_URL"`, `"ANTHROPIC_AUTH_TOKEN"`
	const url, key = `"http://127.0.0.1:3000"`, `"` + testKey + `"`
	for _, test := range []struct{ name, before, after string }{
		{"no content", "", "{\n  \"env\": {\n    " + u + ": " + url + ",\n    " + k + ": " + key + "\n  }\n}\n"},
		{"empty", "{}\n", "{\n  \"env\": {\n    " + u + ": " + url + ",\n    " + k + ": " + key + "\n  }\n}\n"},
		{"two spaces", "{\n  \"model\": \"opus\"\n}\n", "{\n  \"model\": \"opus\",\n  \"env\": {\n    " + u + ": " + url + ",\n    " + k + ": " + key + "\n  }\n}\n"},
		{"tabs, CRLF", "{\r\n\t\"a\":1\r\n}", "{\r\n\t\"a\":1,\r\n\t\"env\":{\r\n\t\t" + u + ":" + url + ",\r\n\t\t" + k + ":" + key + "\r\n\t}\r\n}"},
		{"one line", `{"a": 1, "b": 2}`, `{"a": 1, "b": 2, "env": {` + u + `: ` + url + `, ` + k + `: ` + key + `}}`},
		{"compact", `{"a":1}`, `{"a":1,"env":{` + u + `:` + url + `,` + k + `:` + key + `}}`},
		{"env with others", "{\n  \"env\": {\n    \"X\": \"1\"\n  },\n  \"b\": [1,2]\n}", "{\n  \"env\": {\n    \"X\": \"1\",\n    " + u + ": " + url + ",\n    " + k + ": " + key + "\n  },\n  \"b\": [1,2]\n}"},
		{"env empty", "{\n    \"env\": {}\n}", "{\n    \"env\": {\n        " + u + ": " + url + ",\n        " + k + ": " + key + "\n    }\n}"},
		{"set already", "{\"env\": {" + k + ": \"old\" , " + u + ":\"x\"}}", "{\"env\": {" + k + ": " + key + " , " + u + ":" + url + "}}"},
		{"byte order mark", "\ufeff{\"a\":1}", "\ufeff{\"a\":1,\"env\":{" + u + ":" + url + "," + k + ":" + key + "}}"},
	} {
		if got := connected(t, test.before); got != test.after {
			t.Errorf("%s:\n%s\nwant:\n%s", test.name, got, test.after)
		}
	}
}

func TestFilesThatAreNotTouched(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		{"{\n  // mine\n  \"a\": 1}", "f:2:3: Claude Code reads strict JSON, without comments"},
		{"{\"a\": 1 /* b */}", "f:1:9: Claude Code reads strict JSON, without comments"},
		{"{\n  \"a\": 1,\n}", "f:2:9: Claude Code reads strict JSON, without a comma before a closing bracket"},
		{"{\"a\": [1,]}", "f:1:9: Claude Code reads strict JSON, without a comma"},
		{"{\"a\": ", "f:1:7: the file ends too early"},
		{"{\"a\" 1}", "f:1:6: not JSON"},
		{"[1]", "f:1:1: the settings are not an object"},
		{"{} {}", "f:1:4: not JSON"},
		{"{'a': 1}", "f:1:2: not JSON"},
		{"{\"env\": null}", "f:1:9: \"env\" is not an object"},
		{"{\"env\": {}, \"env\": {}}", "f:1:13: \"env\" is given twice"},
		{"{\"env\": {\"ANTHROPIC_BASE_URL\": 1,\n \"ANTHROPIC_BASE_URL\": 2}}", "f:2:2: \"ANTHROPIC_BASE_URL\" is given twice"},
		{strings.Repeat("[", 20000), "f:1:10001: not JSON"},
	} {
		d, err := Parse("f", []byte(test.text))
		if err == nil {
			_, err = d.Set([]byte(`"x"`), "env", BaseURL)
		}
		if err == nil || !strings.HasPrefix(err.Error(), test.want) {
			t.Errorf("%.40q: %v, want %s", test.text, err, test.want)
		}
	}
}

func TestVSCodeKeepsComments(t *testing.T) {
	for _, test := range []struct{ before, after string }{
		{"{\n    // font\n    \"a\": 1 // one\n    // end\n}\n", "{\n    // font\n    \"a\": 1, // one\n    // end\n    \"" + LoginPrompt + "\": true\n}\n"},
		{"{\n    \"a\": 1,\n}\n", "{\n    \"a\": 1,\n    \"" + LoginPrompt + "\": true,\n}\n"},
		{"{\"a\": 1 // one\n}", "{\"a\": 1, // one\n\"" + LoginPrompt + "\": true\n}"},
		{"{ // none\n}", "{\n  \"" + LoginPrompt + "\": true // none\n}"},
	} {
		d, err := ParseVSCode("f", []byte(test.before))
		if err != nil {
			t.Fatal(err)
		}
		with, err := d.Set([]byte("true"), LoginPrompt)
		if err != nil || string(with.Bytes()) != test.after {
			t.Errorf("%v\n%s\nwant:\n%s", err, with.Bytes(), test.after)
		}
		if without, err := with.Remove("", LoginPrompt); err != nil || !strings.HasPrefix(test.before, "{ //") && string(without.Bytes()) != test.before {
			t.Errorf("%v\n%s\nwant again:\n%s", err, without.Bytes(), test.before)
		}
	}
}

// without returns the members of settings except those that connect owns.
func without(t *testing.T, text []byte) map[string]any {
	t.Helper()
	var all map[string]any
	if err := json.Unmarshal(bytes.TrimPrefix(text, []byte("\ufeff")), &all); err != nil {
		t.Fatalf("%v: %q", err, text)
	}
	if env, ok := all["env"].(map[string]any); ok {
		delete(env, BaseURL)
		delete(env, AuthToken)
		if len(env) == 0 {
			delete(all, "env")
		}
	}
	return all
}

// isSubsequence reports whether all bytes of a are in b, in order.
func isSubsequence(a, b []byte) bool {
	for _, c := range b {
		if len(a) > 0 && a[0] == c {
			a = a[1:]
		}
	}
	return len(a) == 0
}

func seeds(f *testing.F) {
	for _, s := range []string{
		"", " \n", "{}", "{ }", "{\n}", `{"a":1}`, "{\n  \"a\": [1, {\"b\": null}],\n\n  \"env\": {\"X\": \"y\"}\n}\n",
		"{\r\n\t\"env\" : {\r\n\t}\r\n}", `{"env":{"ANTHROPIC_BASE_URL":"x"}, "z": "\u00e9\\"}`, "\ufeff{\"env\":{}}",
		`{"env":{"ANTHROPIC_AUTH_TOKEN" : "old","B":""} }`, `{"statusLine":{"type":"command","command":"x"}}`, "{\"a\":1\n,\"b\":2\n}", `{"":{}}`,
	} {
		f.Add([]byte(s), uint8(0))
		f.Add([]byte(s), uint8(3))
	}
}

// FuzzConnect checks for any settings file that an edit changes nothing but the owned keys, and that
// undoing it gives the same bytes again, also if another key was added meanwhile.
func FuzzConnect(f *testing.F) {
	seeds(f)
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, text []byte, options uint8) {
		if _, err := Parse("f", text); err != nil {
			return
		}
		file := filepath.Join(dir, "settings.json")
		if err := os.WriteFile(file, text, 0o644); err != nil {
			t.Fatal(err)
		}
		c, err := NewChange(file, false, Record{})
		if err != nil {
			t.Fatal(err)
		}
		if c.SetString("http://127.0.0.1:3000", "env", BaseURL) != nil || options&1 == 0 && c.SetString(testKey, "env", AuthToken) != nil {
			return // env is not an object, or given twice
		}
		if options&2 != 0 && c.Set([]byte(`{"type": "command", "command": "c"}`), StatusLine) != nil {
			return
		}
		after := c.After.Bytes()
		if options&2 == 0 && len(bytes.TrimSpace(text)) > 0 && !c.blank {
			if before, now := without(t, text), without(t, after); !reflect.DeepEqual(before, now) {
				t.Fatalf("other values have changed:\n%q\n%q", text, after)
			}
		}
		m := &Manifest{file: filepath.Join(dir, "connect.json"), Version: 1, Files: map[string]Record{}}
		if !c.Changes() {
			return
		}
		replaced := false
		for _, e := range c.record.Edits {
			replaced = replaced || e.Before != nil
		}
		if !replaced && !isSubsequence(text, after) {
			t.Fatalf("bytes are missing:\n%q\n%q", text, after)
		}
		if _, err := c.Write(m, time.Unix(0, 0)); err != nil {
			t.Fatal(err)
		}
		undone(t, file, m, text)
		if left, _ := filepath.Glob(file + "*"); len(left) != 1 {
			t.Fatalf("files are left: %q", left)
		}
	})
}

// FuzzVSCode does the same for settings with comments: all bytes stay, and the key can be removed.
func FuzzVSCode(f *testing.F) {
	seeds(f)
	for _, s := range []string{"{ // c\n}", "{\n // a\n \"a\": 1, // b\n /* d */ }", "{\"a\": 1 // x\n}", "{\"a\":1,/*c*/}", "// first\n{}\n// last\n"} {
		f.Add([]byte(s), uint8(0))
	}
	f.Fuzz(func(t *testing.T, text []byte, _ uint8) {
		d, err := ParseVSCode("f", text)
		if err != nil || len(bytes.TrimSpace(bytes.TrimPrefix(text, []byte("\ufeff")))) == 0 {
			return
		}
		if _, present, err := d.Raw(LoginPrompt); present || err != nil {
			return
		}
		with, err := d.Set([]byte("true"), LoginPrompt)
		if err != nil {
			t.Fatalf("%v: %q", err, text)
		}
		if value, _ := with.String(LoginPrompt); value != "true" || !isSubsequence(text, with.Bytes()) {
			t.Fatalf("value %q, from\n%q\nto\n%q", value, text, with.Bytes())
		}
		without, err := with.Remove("", LoginPrompt)
		if err != nil {
			t.Fatalf("%v: %q", err, with.Bytes())
		}
		if _, present, _ := without.Raw(LoginPrompt); present {
			t.Fatalf("the key is left: %q", without.Bytes())
		}
		if interior, empty := d.Empty(); !empty && !bytes.Equal(without.Bytes(), text) {
			t.Fatalf("not restored (%q):\n%q\nfrom\n%q\nto\n%q", interior, text, with.Bytes(), without.Bytes())
		}
	})
}

// undone restores the file and checks its content.
func undone(t *testing.T, file string, m *Manifest, want []byte) {
	t.Helper()
	c, err := NewChange(file, false, m.Earlier(file))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Undo(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write(m, time.Unix(0, 0)); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(file); err != nil || !bytes.Equal(got, want) {
		t.Fatalf("%v\n%q\nwant the former text:\n%q\nnotes: %q", err, got, want, c.Notes)
	}
}
