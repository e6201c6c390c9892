package connect

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func lookup(env map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		value, ok := env[name]
		return value, ok
	}
}

func TestPaths(t *testing.T) {
	for _, test := range []struct {
		machine              Machine
		user, managed, state string
		editor               string
	}{
		{
			Machine{"linux", "/p", lookup(map[string]string{"HOME": "/home/ann"})},
			"/home/ann/.claude/settings.json", "/etc/claude-code", "/home/ann/.local/state/claude-code-lb/connect.json", "/home/ann/.config/Code/User/settings.json",
		},
		{
			Machine{"linux", "/p", lookup(map[string]string{"HOME": "/home/ann", "CLAUDE_CONFIG_DIR": "cc", "XDG_STATE_HOME": "/s", "XDG_CONFIG_HOME": "/c"})},
			"/p/cc/settings.json", "/etc/claude-code", "/s/claude-code-lb/connect.json", "/c/Code/User/settings.json",
		},
		{
			Machine{"darwin", "/p", lookup(map[string]string{"HOME": "/Users/ann"})},
			"/Users/ann/.claude/settings.json", "/Library/Application Support/ClaudeCode", "/Users/ann/.local/state/claude-code-lb/connect.json", "/Users/ann/Library/Application Support/Code/User/settings.json",
		},
		{
			Machine{"windows", `D:\p`, lookup(map[string]string{"USERPROFILE": `C:\Users\Ann B`, "HOME": "/c/other", "APPDATA": `C:\Users\Ann B\AppData\Roaming`, "LOCALAPPDATA": `C:\Users\Ann B\AppData\Local`, "ProgramFiles": `C:\Program Files`})},
			`C:\Users\Ann B\.claude\settings.json`, `C:\Program Files\ClaudeCode`, `C:\Users\Ann B\AppData\Local\claude-code-lb\connect.json`, `C:\Users\Ann B\AppData\Roaming\Code\User\settings.json`,
		},
		{
			Machine{"windows", `D:\p`, lookup(map[string]string{"USERPROFILE": `C:\Users\ann`, "CLAUDE_CONFIG_DIR": `E:\claude\`, "LOCALAPPDATA": `C:\l`})},
			`E:\claude\settings.json`, `C:\Program Files\ClaudeCode`, `C:\l\claude-code-lb\connect.json`, `C:\Users\ann\AppData\Roaming\Code\User\settings.json`,
		},
	} {
		if runtime.GOOS == "windows" && test.machine.OS != "windows" {
			continue
		}
		paths, err := test.machine.Paths()
		state, stateErr := test.machine.StateFile()
		if err != nil || stateErr != nil || paths.User != test.user || paths.Managed != test.managed || state != test.state || paths.VSCode[0] != test.editor {
			t.Errorf("%s: %+v, %s, %v, %v", test.machine.OS, paths, state, err, stateErr)
		}
	}
	for _, env := range []map[string]string{{}, {"HOME": "/h", "CLAUDE_CONFIG_DIR": ""}} {
		if _, err := (Machine{"linux", "/p", lookup(env)}).Paths(); err == nil {
			t.Errorf("%v: no error", env)
		}
	}
}

// TestLocalFile follows Claude Code: the root of the repository first, otherwise the directory.
func TestLocalFile(t *testing.T) {
	root := t.TempDir()
	sub := filepath.Join(root, "sub")
	put := func(file string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte("{}"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put(filepath.Join(sub, "file"))
	local := func() string {
		rel, err := filepath.Rel(root, Machine{OS: runtime.GOOS, Directory: sub}.local())
		if err != nil {
			t.Fatal(err)
		}
		return filepath.ToSlash(rel)
	}
	if got := local(); got != "sub/.claude/settings.local.json" {
		t.Error(got)
	}
	put(filepath.Join(root, ".git", "HEAD"))
	if got := local(); got != ".claude/settings.local.json" {
		t.Error(got)
	}
	put(filepath.Join(sub, ".claude", "settings.local.json"))
	if got := local(); got != "sub/.claude/settings.local.json" {
		t.Error(got)
	}
	put(filepath.Join(root, ".claude", "settings.local.json"))
	if got := local(); got != ".claude/settings.local.json" {
		t.Error(got)
	}
}

// TestResolve compares which setting wins with what the real client does.
func TestResolve(t *testing.T) {
	source := func(place Place, text string) *Source {
		s := &Source{Place: place, File: string(place) + ".json"}
		if place == Editor {
			s.Document, s.Err = ParseVSCode(s.File, []byte(text))
			if s.Document != nil {
				s.env = s.Document.editorVariable
			}
			return s
		}
		s.Document, s.Err = Parse(s.File, []byte(text))
		return s
	}
	shell := func(env ...string) *Source {
		set := map[string]string{}
		for _, each := range env {
			name, value, _ := strings.Cut(each, "=")
			set[name] = value
		}
		return &Source{Place: Shell, env: lookup(set)}
	}
	for _, test := range []struct {
		name       string
		sources    []*Source
		url, token string
		rows       string
		notes      []string
	}{
		{"nothing", []*Source{shell()}, "", "", "", nil},
		{"shell", []*Source{shell(BaseURL+"=http://s", AuthToken+"=t")}, "http://s", "t", BaseURL + " shell wins\n" + AuthToken + " shell wins\n", nil},
		{
			"all", []*Source{
				source(Managed, `{"env":{"ANTHROPIC_BASE_URL":"http://m"}}`), source(Local, `{"env":{"ANTHROPIC_BASE_URL":"http://l","ANTHROPIC_AUTH_TOKEN":"l"}}`),
				source(Project, `{"env":{"ANTHROPIC_AUTH_TOKEN":"p"}}`), source(User, `{"env":{"ANTHROPIC_BASE_URL":"http://u"},"statusLine":{}}`), shell(BaseURL + "=http://s"),
			},
			"http://m", "l",
			BaseURL + " managed wins\n" + BaseURL + " local\n" + BaseURL + " user\n" + BaseURL + " shell\n" + AuthToken + " local wins\n" + AuthToken + " project\nstatusLine user wins\n",
			[]string{"project.json has a token, and this file is usually committed"},
		},
		{"empty overrides", []*Source{source(User, `{"env":{"ANTHROPIC_AUTH_TOKEN":""}}`), shell(AuthToken+"=s", APIKey+"=k")}, "", "k", AuthToken + " user wins\n" + AuthToken + " shell\n" + APIKey + " shell wins\n", nil},
		{"number", []*Source{source(User, `{"env":{"ANTHROPIC_AUTH_TOKEN":12,"ANTHROPIC_BASE_URL":null}}`), shell()}, "", "12", AuthToken + " user wins\n", nil},
		{"broken file", []*Source{source(User, `{"env":{"ANTHROPIC_BASE_URL":"http://u",}}`), shell(BaseURL + "=http://s")}, "http://s", "", BaseURL + " shell wins\n", []string{"ignores this file: user.json:1:40"}},
		{"cloud", []*Source{source(User, `{"env":{"CLAUDE_CODE_USE_BEDROCK":"1"}}`), shell()}, "", "", "CLAUDE_CODE_USE_BEDROCK user wins\n", []string{"does not use ANTHROPIC_BASE_URL"}},
		{"cloud off", []*Source{source(User, `{"env":{"CLAUDE_CODE_USE_BEDROCK":"0"}}`), shell()}, "", "", "CLAUDE_CODE_USE_BEDROCK user wins\n", nil},
		{"proxy", []*Source{shell(BaseURL+"=http://127.0.0.1:1", "HTTP_PROXY=http://p")}, "http://127.0.0.1:1", "", BaseURL + " shell wins\n", []string{"NO_PROXY does not have 127.0.0.1"}},
		{"no proxy", []*Source{shell(BaseURL+"=http://127.0.0.1:1", "HTTP_PROXY=http://p", "NO_PROXY=localhost,127.0.0.1")}, "http://127.0.0.1:1", "", BaseURL + " shell wins\n", nil},
		{
			"VS Code", []*Source{source(User, `{"env":{"ANTHROPIC_BASE_URL":"http://u","ANTHROPIC_AUTH_TOKEN":"t"}}`), source(Editor, "{ // c\n\"claudeCode.environmentVariables\": [{\"name\":\"ANTHROPIC_BASE_URL\",\"value\":\"http://v\"}],\n}"), shell()},
			"http://u", "t", BaseURL + " user wins\n" + BaseURL + " VS Code\n" + AuthToken + " user wins\n", []string{"connect -vscode sets it"},
		},
		{"forced login", []*Source{source(Managed, `{"forceLoginMethod":"console"}`), shell()}, "", "", "", []string{"demands a login"}},
	} {
		e := Resolve(test.sources)
		var rows strings.Builder
		for _, r := range e.Rows {
			rows.WriteString(r.Setting + " " + string(r.Place))
			if r.Wins {
				rows.WriteString(" wins")
			}
			rows.WriteString("\n")
		}
		if e.URL != test.url || e.Token != test.token {
			t.Errorf("%s: URL %q, token %q", test.name, e.URL, e.Token)
		}
		if diff := cmp.Diff(test.rows, rows.String()); diff != "" {
			t.Errorf("%s: rows (-want +got):\n%s", test.name, diff)
		}
		for i, want := range test.notes {
			if i >= len(e.Notes) || !strings.Contains(e.Notes[i], want) {
				t.Errorf("%s: notes %q, want %q", test.name, e.Notes, want)
			}
		}
		if len(e.Notes) != len(test.notes) {
			t.Errorf("%s: %d notes, want %d: %q", test.name, len(e.Notes), len(test.notes), e.Notes)
		}
	}
}

func TestBaseOf(t *testing.T) {
	for given, want := range map[string]string{
		"http://127.0.0.1:3000": "http://127.0.0.1:3000", "https://lb.example/": "https://lb.example", "https://lb.example/team/v1/": "https://lb.example/team",
		"http://h/v1/messages": "http://h", "http://[::1]:3000": "http://[::1]:3000",
		"127.0.0.1:3000": "", "ftp://h": "", "http://": "", "http://me:pw@h": "", "http://h?key=x": "", "http://h:port": "", "http://h/%zz": "",
	} {
		got, err := BaseOf(given)
		if got != want || (err != nil) != (want == "") {
			t.Errorf("%s: %q, %v", given, got, err)
		}
		if err != nil && (strings.Contains(err.Error(), "pw") || strings.Contains(err.Error(), "key=x")) {
			t.Errorf("a secret of the URL is in the error: %v", err)
		}
	}
}

func TestProbe(t *testing.T) {
	health, models := `{"status":"ok","total":2,"available":1}`, http.StatusOK
	modelsBody := "{}"
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/health" && strings.HasPrefix(health, "/"):
			http.Redirect(w, r, health, http.StatusFound)
		case r.URL.Path == "/health":
			io.WriteString(w, health)
		case r.Header.Get("Authorization") == "Bearer k":
			w.WriteHeader(models)
			io.WriteString(w, modelsBody)
		}
	}))
	defer server.Close()
	p, err := NewProbe(server.URL, "")
	if err != nil {
		t.Fatal(err)
	}
	if h, err := p.Health(t.Context()); err != nil || *h.Total != 2 || h.Available != 1 {
		t.Errorf("%+v, %v", h, err)
	}
	for _, test := range []struct{ body, want string }{{`{"status":"ok"}`, "is not claude-code-lb"}, {"hello", "is not claude-code-lb"}, {"/other", "redirects to " + server.URL + "/other"}} {
		health = test.body
		if _, err := p.Health(t.Context()); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", test.body, err)
		}
	}
	for _, test := range []struct {
		status int
		body   string
		want   Verdict
	}{
		{200, "{}", Accepted},
		{401, "claude-code-lb does not know this client key: send one", KeyNeeded},
		{401, "invalid x-api-key", Rejected},
		{403, "", Rejected},
		{429, "Many wrong client keys came from this address", TooManyTry},
		{429, "rate limit", Uncertain},
		{404, "", Uncertain},
		{503, "", Uncertain},
	} {
		models, modelsBody = test.status, test.body
		if got, status, err := p.Key(t.Context(), "k"); got != test.want || status != test.status || err != nil {
			t.Errorf("%d %s: %v, %d, %v", test.status, test.body, got, status, err)
		}
	}
	server.Close()
	if _, err := p.Health(t.Context()); err == nil || !strings.Contains(err.Error(), "cannot be reached") {
		t.Errorf("%v", err)
	}
	secure := httptest.NewTLSServer(http.NotFoundHandler())
	defer secure.Close()
	p, _ = NewProbe(secure.URL, "")
	if _, err := p.Health(t.Context()); err == nil || !strings.Contains(err.Error(), "unknown authority") {
		t.Errorf("%v", err)
	}
}
