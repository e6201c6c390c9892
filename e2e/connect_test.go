package e2e

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// desk is a user's home and working directory with settings of Claude Code.
type desk struct {
	t         *testing.T
	home, dir string
	user      string // the user's settings
	key       string // file with the client key
}

func newDesk(t *testing.T, settings string) *desk {
	t.Helper()
	d := &desk{t: t, home: t.TempDir(), dir: t.TempDir()}
	d.user = filepath.Join(d.home, ".claude", "settings.json")
	d.key = filepath.Join(d.dir, "key")
	d.put(d.user, settings)
	d.put(d.key, clientKey+"\n")
	return d
}

func (d *desk) put(file, content string) {
	d.t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		d.t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		d.t.Fatal(err)
	}
}

// connect runs the command, which never prints the key.
func (d *desk) connect(args ...string) result {
	d.t.Helper()
	return d.run(invocation{args: append([]string{"connect"}, args...)})
}

func (d *desk) run(in invocation) result {
	d.t.Helper()
	in.dir = d.dir
	in.env = append(in.env, "HOME="+d.home, "USERPROFILE="+d.home, "LOCALAPPDATA="+d.home, "APPDATA="+d.home)
	r := run(d.t, in)
	if strings.Contains(r.stdout+r.stderr, clientKey) {
		d.t.Errorf("%v printed the key:\n%s%s", in.args, r.stdout, r.stderr)
	}
	return r
}

// must checks the exit status and a part of the output.
func (d *desk) must(r result, status int, parts ...string) {
	d.t.Helper()
	if r.status != status {
		d.t.Errorf("exit status %d, want %d:\n%s%s", r.status, status, r.stdout, r.stderr)
	}
	for _, part := range parts {
		if !strings.Contains(r.stdout+r.stderr, part) {
			d.t.Errorf("no %q in:\n%s%s", part, r.stdout, r.stderr)
		}
	}
}

const settingsBefore = "{\n    \"model\": \"sonnet\",\n    \"env\": { \"DISABLE_BUG_COMMAND\": \"1\" }\n}\n"

func TestConnect(t *testing.T) {
	t.Parallel()
	lb := start(t, fallback(newFake(t, "a").entry()).with("auth", true).with("auth_keys", []string{clientKey}))
	d := newDesk(t, settingsBefore)
	d.must(d.connect("-check"), 1, "does not use a balancer here")
	d.must(d.connect(lb.url), 1, "requires a client key")
	d.must(d.connect(lb.url, "-keep-login"), 1, "a login is not one")
	d.must(d.run(invocation{args: []string{"connect", lb.url, "-key", "-"}, stdin: "sk-wrong-0123456789abcdef\n"}), 1, "does not know this key")
	d.must(d.connect(lb.url, "-key-file", d.key, "-dry-run"), 0, "+++ ", `"ANTHROPIC_AUTH_TOKEN": "…"`)
	if got := readFile(t, d.user); got != settingsBefore {
		t.Errorf("the settings have changed:\n%s", got)
	}
	d.must(d.connect(lb.url+"/v1/", "-key-file", d.key), 0, "The balancer accepts the key", "from now on")
	want := strings.Replace(settingsBefore, `"1" }`, `"1", "ANTHROPIC_BASE_URL": "`+lb.url+`", "ANTHROPIC_AUTH_TOKEN": "`+clientKey+`" }`, 1)
	if got := readFile(t, d.user); got != want {
		t.Errorf("settings:\n%s\nwant:\n%s", got, want)
	}
	d.must(d.connect("-check"), 0, "yes: Claude Code uses "+lb.url, "used: settings files override the shell")
	d.must(d.connect("-check", "http://127.0.0.1:1"), 1, "not http://127.0.0.1:1")
	d.must(d.connect(lb.url), 0, "stays", "as it should be")
	d.must(d.connect("-undo"), 0, "Restored")
	if got := readFile(t, d.user); got != settingsBefore {
		t.Errorf("the settings are not restored:\n%s", got)
	}
	if left, _ := filepath.Glob(d.user + "*"); len(left) != 1 {
		t.Errorf("files are left: %q", left)
	}
	d.must(d.connect("-undo"), 1, "nothing to undo")
}

// TestConnectTouchesNothing checks files that Claude Code would not read, and an unreachable
// balancer.
func TestConnectTouchesNothing(t *testing.T) {
	t.Parallel()
	lb := start(t, fallback(newFake(t, "a").entry()))
	const commented = "{\n  // mine\n  \"model\": \"sonnet\"\n}\n"
	d := newDesk(t, commented)
	d.must(d.connect(lb.url), 1, d.user+":2:3: Claude Code reads strict JSON")
	d.must(d.connect("-check"), 1, "ignores this file: "+d.user+":2:3")
	if got := readFile(t, d.user); got != commented {
		t.Errorf("the settings have changed:\n%s", got)
	}
	d = newDesk(t, settingsBefore)
	d.must(d.connect("http://"+freeAddress(t)), 1, "cannot be reached")
	d.must(d.connect(newFake(t, "b").url), 1, "is not claude-code-lb")
	if got := readFile(t, d.user); got != settingsBefore {
		t.Errorf("the settings have changed:\n%s", got)
	}
}

// TestConnectWithoutKey finds out whether a key is necessary.
func TestConnectWithoutKey(t *testing.T) {
	t.Parallel()
	lb := start(t, fallback(newFake(t, "a").entry()))
	d := newDesk(t, "{}")
	d.must(d.connect(lb.url), 0, "needs no key: the token is a placeholder")
	if got := readFile(t, d.user); !strings.Contains(got, `"ANTHROPIC_AUTH_TOKEN": "claude-code-lb"`) {
		t.Errorf("settings:\n%s", got)
	}
	d.must(d.connect(lb.url, "-keep-login"), 0)
	if got := readFile(t, d.user); strings.Contains(got, "ANTHROPIC_AUTH_TOKEN") || !strings.Contains(got, lb.url) {
		t.Errorf("settings:\n%s", got)
	}
	d.must(d.connect("-undo"), 0)
	if got := readFile(t, d.user); got != "{}" {
		t.Errorf("settings:\n%s", got)
	}

	own := newFake(t, "b")
	entry := own.entry()
	delete(entry, "token")
	lb = start(t, fallback(entry))
	d.must(d.connect(lb.url), 1, "forwards the client's own credential: use -keep-login")
	d.must(d.connect(lb.url, "-keep-login"), 0, "from now on")
}

// TestConnectLocally checks that the project gets only what Git does not commit.
func TestConnectLocally(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("SKIPPED: git is not installed")
	}
	lb := start(t, fallback(newFake(t, "a").entry()))
	d := newDesk(t, "{}")
	if out, err := exec.Command("git", "init", "-q", d.dir).CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	file := filepath.Join(d.dir, ".claude", "settings.local.json")
	d.must(d.connect(lb.url, "-scope", "local"), 1, "git does not ignore")
	d.put(filepath.Join(d.dir, ".gitignore"), ".claude/settings.local.json\n")
	d.must(d.connect(lb.url, "-scope", "local"), 0, "from now on")
	if other := filepath.Join(d.home, "other.json"); os.Symlink(other, file+".link") == nil {
		d.put(other, "{}")
		d.must(d.connect("-undo", "-scope", "local"), 0)
		if err := os.Rename(file+".link", file); err != nil {
			t.Fatal(err)
		}
		d.must(d.connect(lb.url, "-scope", "local"), 1, "outside the project")
		if got := readFile(t, other); got != "{}" {
			t.Errorf("a file outside the project has changed:\n%s", got)
		}
		os.Remove(file)
		d.must(d.connect(lb.url, "-scope", "local"), 0, "from now on")
	}
	if got := readFile(t, file); !strings.Contains(got, lb.url) || readFile(t, d.user) != "{}" {
		t.Errorf("settings:\n%s", got)
	}
	d.must(d.connect(lb.url, "-keep-login"), 0) // the user's settings: the token of the project comes first
	d.must(d.connect("-undo"), 0)
	d.must(d.connect("-undo", "-scope", "local"), 0)
	if _, err := os.Stat(file); err == nil {
		t.Errorf("the file is left:\n%s", readFile(t, file))
	}
}

// TestConnectVSCode checks that comments in the settings of VS Code stay.
func TestConnectVSCode(t *testing.T) {
	t.Parallel()
	unixOnly(t, "the directory of VS Code is another one")
	lb := start(t, fallback(newFake(t, "a").entry()))
	d := newDesk(t, settingsBefore)
	d.must(d.connect(lb.url, "-vscode"), 1, "VS Code has no settings here")
	const before = "{\n    // font\n    \"editor.fontSize\": 14, // large\n}\n"
	file := filepath.Join(d.home, ".config", "Cursor", "User", "settings.json")
	if runtime.GOOS == "darwin" {
		file = filepath.Join(d.home, "Library", "Application Support", "Cursor", "User", "settings.json")
	}
	d.put(file, before)
	d.must(d.connect(lb.url, "-vscode"), 0, file)
	if got := readFile(t, file); got != strings.Replace(before, "// large", "// large\n    \"claudeCode.disableLoginPrompt\": true,", 1) {
		t.Errorf("settings:\n%s", got)
	}
	d.must(d.connect("-undo"), 0)
	if got := readFile(t, file); got != before || readFile(t, d.user) != settingsBefore {
		t.Errorf("settings:\n%s", got)
	}
}

// TestClaudeCodeIsConnected compares the results of connect and -check with the real client.
func TestClaudeCodeIsConnected(t *testing.T) {
	t.Parallel()
	a := newScripted(t, "a", nil)
	a.behave(func(w http.ResponseWriter, r arrival) bool {
		if !r.isMessage() {
			return false
		}
		respondMessage(w, r, "msg_connected", contentBlock{text: "served through the settings"})
		return true
	})
	lb := start(t, fallback(a.entry()).with("auth", true).with("auth_keys", []string{clientKey}))
	s := claudeAt(t, "http://"+freeAddress(t), "sk-of-the-shell-0123456789")
	d := &desk{t: t, home: s.home, dir: s.dir, user: filepath.Join(s.home, ".claude", "settings.json"), key: filepath.Join(s.home, "key")}
	d.put(d.key, clientKey)
	d.put(d.user, "{\n  \"env\": {\"CLAUDE_CODE_MAX_RETRIES\": \"0\"}\n}\n")
	d.must(d.connect(lb.url, "-key-file", d.key), 0)
	s.say(patience, "hi").mustSay(t, "served through the settings")

	// A project's file comes first, as -check reports.
	project := filepath.Join(d.dir, ".claude", "settings.json")
	d.put(project, `{"env": {"ANTHROPIC_AUTH_TOKEN": "sk-of-the-project-0123456789"}}`)
	d.must(d.connect("-check"), 1, "does not know the key that is set", "usually committed")
	s.say(patience, "hi").mustSay(t, "/login")
	if err := os.Remove(project); err != nil {
		t.Fatal(err)
	}
	s.say(patience, "hi").mustSay(t, "served through the settings")
	d.must(d.connect("-undo"), 0)
	if o := s.say(patience, "hi"); strings.Contains(o.text, "served through the settings") {
		t.Errorf("still served through the balancer: %s", o.text)
	}
}

// TestConnectOverHTTPS checks that connect finds the URL that fits the certificate, and trusts what
// Claude Code trusts.
func TestConnectOverHTTPS(t *testing.T) {
	t.Parallel()
	c := newCertificate(t, "lb.example", valid())
	lb := startSecure(t, c, fallback(newFake(t, "a").entry()).with("listen", freeAddress(t)))
	authority := filepath.Join(filepath.Dir(lb.file), "cert.pem")
	d := newDesk(t, "{}")
	d.must(d.connect("-c", lb.file), 1, lb.url+" is signed by an unknown authority")
	d.must(d.connect("http://"+lb.address()), 1, "answers HTTPS alone")
	d.must(d.run(invocation{args: []string{"connect", "-c", lb.file}, env: []string{"NODE_EXTRA_CA_CERTS=" + authority}}), 0, "uses "+lb.url)
	if got := readFile(t, d.user); !strings.Contains(got, `"ANTHROPIC_BASE_URL": "`+lb.url+`"`) {
		t.Errorf("settings:\n%s", got)
	}
}
