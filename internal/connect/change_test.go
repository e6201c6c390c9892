package connect

import (
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// site is a settings file with a manifest.
type site struct {
	t        *testing.T
	file     string
	manifest string
	now      time.Time
}

func newSite(t *testing.T, content string, mode fs.FileMode) *site {
	t.Helper()
	dir := t.TempDir()
	s := &site{t, filepath.Join(dir, "settings.json"), filepath.Join(dir, "state", "connect.json"), time.Unix(1e9, 0)}
	s.put(content)
	if err := os.Chmod(s.file, mode); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *site) put(content string) {
	s.t.Helper()
	if err := os.WriteFile(s.file, []byte(content), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) content() string {
	s.t.Helper()
	text, err := os.ReadFile(s.file)
	if err != nil {
		s.t.Fatal(err)
	}
	return string(text)
}

// edit loads the manifest, edits the file, and writes both.
func (s *site) edit(how func(c *Change) error) (*Change, error) {
	s.t.Helper()
	m, err := LoadManifest(s.manifest)
	if err != nil {
		return nil, err
	}
	c, err := NewChange(s.file, false, m.Earlier(s.file))
	if err != nil {
		return nil, err
	}
	if err := how(c); err != nil {
		return nil, err
	}
	if c.Changes() {
		_, err = c.Write(m, s.now)
	} else if c.undo {
		err = c.Forget(m)
	}
	return c, err
}

func (s *site) connect(url, key string) {
	s.t.Helper()
	_, err := s.edit(func(c *Change) error {
		if err := c.SetString(url, "env", BaseURL); err != nil {
			return err
		}
		return c.SetString(key, "env", AuthToken)
	})
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) undo() []string {
	s.t.Helper()
	c, err := s.edit((*Change).Undo)
	if err != nil {
		s.t.Fatal(err)
	}
	return c.Notes
}

// TestUndoAfterOtherChanges restores the owned keys and keeps what changed since.
func TestUndoAfterOtherChanges(t *testing.T) {
	const before = "{\n  \"env\": {\n    \"ANTHROPIC_BASE_URL\": \"http://old\"\n  },\n  \"model\": \"opus\"\n}\n"
	for _, test := range []struct {
		name        string
		change      func(string) string
		want, notes string
	}{
		{"nothing", func(s string) string { return s }, before, ""},
		{"another value", func(s string) string { return strings.Replace(s, "opus", "haiku", 1) }, strings.Replace(before, "opus", "haiku", 1), ""},
		{"another key at the end", func(s string) string { return strings.Replace(s, `"opus"`, "\"opus\",\n  \"x\": 1", 1) }, strings.Replace(before, `"opus"`, "\"opus\",\n  \"x\": 1", 1), ""},
		{"another variable", func(s string) string { return strings.Replace(s, `"env": {`, "\"env\": {\n    \"A\": \"b\",", 1) }, strings.Replace(before, `"env": {`, "\"env\": {\n    \"A\": \"b\",", 1), ""},
		{"rewritten by Claude Code", rewrite, rewrite(before), ""},
		{"the URL", func(s string) string { return strings.Replace(s, ":3000", ":4000", 1) }, strings.Replace(before, "http://old", "http://127.0.0.1:4000", 1), "env.ANTHROPIC_BASE_URL has been changed since"},
		{"the token removed", func(s string) string {
			return strings.Replace(s, ",\n    \"ANTHROPIC_AUTH_TOKEN\": \""+testKey+"\"", "", 1)
		}, before, "env.ANTHROPIC_AUTH_TOKEN is no longer there"},
		{"everything removed", func(string) string { return "{}" }, "{}", "env.ANTHROPIC_BASE_URL is no longer there"},
	} {
		s := newSite(t, before, 0o600)
		s.connect("http://127.0.0.1:3000", testKey)
		s.put(test.change(s.content()))
		notes := strings.Join(s.undo(), "\n")
		// The backup differs from the restored file if another program changed it, which is noted too.
		unexpected := test.notes == "" && notes != "" && !strings.HasPrefix(notes, "The backup ")
		if got := s.content(); got != test.want || !strings.Contains(notes, test.notes) || unexpected {
			t.Errorf("%s:\n%s\nwant:\n%s\nnotes: %s", test.name, got, test.want, notes)
		}
		if _, err := os.Stat(s.manifest); err == nil {
			t.Errorf("%s: the manifest is left", test.name)
		}
	}
}

// rewrite formats settings as a program does that reads and writes them.
func rewrite(text string) string {
	var all any
	if json.Unmarshal([]byte(text), &all) != nil {
		return text
	}
	out, _ := json.MarshalIndent(all, "", "    ")
	return string(out)
}

// TestConnectTwice undoes to the state before the first time.
func TestConnectTwice(t *testing.T) {
	s := newSite(t, `{"env":{"ANTHROPIC_AUTH_TOKEN":"mine"}}`, 0o644)
	s.connect("http://a", testKey)
	s.connect("http://b", testKey+"2")
	s.connect("http://b", testKey+"2")
	if !strings.Contains(s.content(), `"http://b"`) {
		t.Error(s.content())
	}
	s.undo()
	if got := s.content(); got != `{"env":{"ANTHROPIC_AUTH_TOKEN":"mine"}}` {
		t.Error(got)
	}
	if info, err := os.Stat(s.file); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o644 {
		t.Errorf("mode %v, %v: it was made private for the token only", info.Mode(), err)
	}
}

// TestNewFile is removed again, unless something else is in it.
func TestNewFile(t *testing.T) {
	s := newSite(t, "", 0o600)
	os.Remove(s.file)
	s.connect("http://a", testKey)
	if info, err := os.Stat(s.file); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	s.undo()
	if _, err := os.Stat(s.file); err == nil {
		t.Errorf("the file is left: %s", s.content())
	}
	s.connect("http://a", testKey)
	s.put(strings.Replace(s.content(), "{\n", "{\n  \"model\": \"opus\",\n", 1))
	s.undo()
	if got := s.content(); got != "{\n  \"model\": \"opus\"\n}\n" {
		t.Error(got)
	}
}

func TestModes(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("SKIPPED on Windows: access does not depend on modes")
	}
	for _, test := range []struct{ before, after fs.FileMode }{{0o644, 0o600}, {0o600, 0o600}, {0o660, 0o600}} {
		s := newSite(t, "{}", test.before)
		s.connect("http://a", testKey)
		if info, _ := os.Stat(s.file); info.Mode().Perm() != test.after {
			t.Errorf("mode %v becomes %v, want %v", test.before, info.Mode().Perm(), test.after)
		}
		backups, _ := filepath.Glob(s.file + ".lb-*")
		for _, file := range append(backups, s.manifest) {
			if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("%s: %v, %v", file, info, err)
			}
		}
	}
	s := newSite(t, "{}", 0o644)
	if _, err := s.edit(func(c *Change) error { return c.SetString("http://a", "env", BaseURL) }); err != nil {
		t.Fatal(err)
	}
	if info, _ := os.Stat(s.file); info.Mode().Perm() != 0o644 {
		t.Errorf("without a token the mode becomes %v", info.Mode().Perm())
	}
	s = newSite(t, "{}", 0o400)
	if _, err := s.edit(func(c *Change) error { return c.SetString("http://a", "env", BaseURL) }); err == nil || !strings.Contains(err.Error(), "read-only") || s.content() != "{}" {
		t.Errorf("a read-only file: %v, %s", err, s.content())
	}
}

// TestSymbolicLinks stay in place, and the file behind them is changed.
func TestSymbolicLinks(t *testing.T) {
	for _, content := range []string{"{\"a\": 1}\n", "missing"} {
		s := newSite(t, content, 0o600)
		real := s.file
		s.file = filepath.Join(t.TempDir(), "settings.json")
		if err := os.Symlink(real, s.file); err != nil {
			t.Skip("SKIPPED: no symbolic links here:", err)
		}
		if content == "missing" {
			os.Remove(real)
		}
		s.connect("http://a", testKey)
		if info, err := os.Lstat(s.file); err != nil || info.Mode()&fs.ModeSymlink == 0 {
			t.Errorf("the link is gone: %v, %v", info, err)
		}
		if text, err := os.ReadFile(real); err != nil || !strings.Contains(string(text), testKey) {
			t.Errorf("%v %s", err, text)
		}
		s.undo()
		if text, _ := os.ReadFile(real); content != "missing" && string(text) != content {
			t.Errorf("%s", text)
		}
	}
}

// TestOtherProgramWrites loses no change of another program.
func TestOtherProgramWrites(t *testing.T) {
	s := newSite(t, "{}", 0o600)
	_, err := s.edit(func(c *Change) error {
		s.put(`{"mine": 1}`)
		return c.SetString("http://a", "env", BaseURL)
	})
	if err == nil || !strings.Contains(err.Error(), "try again") || s.content() != `{"mine": 1}` {
		t.Errorf("%v, %s", err, s.content())
	}
	if left, _ := filepath.Glob(s.file + ".*"); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}

// TestFailedWrite leaves the file, the manifest and the directory as they were.
func TestFailedWrite(t *testing.T) {
	s := newSite(t, "{}", 0o600)
	if err := os.WriteFile(filepath.Dir(s.manifest), nil, 0o600); err != nil { // a file instead of the state directory
		t.Fatal(err)
	}
	m := &Manifest{file: s.manifest, Files: map[string]Record{}}
	c, err := NewChange(s.file, false, Record{})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.SetString("http://a", "env", BaseURL); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write(m, s.now); err == nil || s.content() != "{}" || len(m.Files) != 0 {
		t.Errorf("%v, %s", err, s.content())
	}
	if left, _ := filepath.Glob(s.file + ".*"); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}

func TestManifestThatCannotBeUsed(t *testing.T) {
	s := newSite(t, "{}", 0o600)
	os.MkdirAll(filepath.Dir(s.manifest), 0o700)
	for content, want := range map[string]string{"{": "remove this file", `{"version": 2}`: "later version"} {
		os.WriteFile(s.manifest, []byte(content), 0o600)
		if _, err := LoadManifest(s.manifest); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", content, err)
		}
	}
}

// TestDiff shows what changes and no secret.
func TestDiff(t *testing.T) {
	s := newSite(t, "{\n  \"a\": 1,\n  \"b\": 2,\n  \"c\": 3,\n  \"d\": 4,\n  \"mcpServers\": {\"m\": {\"args\": [\"--pw\", \"hush-1\"], \"env\": {\"P\": \"hush-2\"}}},\n  \"url\": \"https://me:hush-3@h/\",\n  \"env\": {\n    \"ANTHROPIC_AUTH_TOKEN\": \"hush-4\"\n  }\n}\n", 0o600)
	c, err := NewChange(s.file, false, Record{})
	if err != nil {
		t.Fatal(err)
	}
	c.SetString("http://127.0.0.1:3000", "env", BaseURL)
	c.SetString("hush-5", "env", AuthToken)
	const want = `--- FILE
+++ FILE
@@ -6,6 +6,7 @@
   "mcpServers": {"m": {"args": ["…", "…"], "env": {"P": "…"}}},
   "url": "…",
   "env": {
-    "ANTHROPIC_AUTH_TOKEN": "…"
+    "ANTHROPIC_AUTH_TOKEN": "…",
+    "ANTHROPIC_BASE_URL": "http://127.0.0.1:3000"
   }
 }
`
	if got := strings.ReplaceAll(c.Diff(), c.File, "FILE"); got != want {
		t.Errorf("%s\nwant:\n%s", got, want)
	}
	empty, err := NewChange(filepath.Join(t.TempDir(), "none.json"), false, Record{})
	if err != nil || empty.Diff() != "" {
		t.Errorf("%v, %s", err, empty.Diff())
	}
	empty.SetString("x", "env", BaseURL)
	if got := empty.Diff(); !strings.Contains(got, "--- /dev/null\n") || !strings.Contains(got, "@@ -0,0 +1,5 @@\n+{\n") {
		t.Error(got)
	}
}
