package e2e

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/9bingyin/claude-code-lb/internal/fakeclaude/fault"
)

// runDesk is a desk with a configuration, and a program named claude that reports how it was started.
func runDesk(t *testing.T, cfg object) *desk {
	t.Helper()
	unixOnly(t, "the scripts are written for a POSIX shell")
	d := newDesk(t, "{}")
	writeConfig(t, filepath.Join(d.dir, "config.json"), cfg)
	d.put(filepath.Join(d.dir, "bin", "claude"), `#!/bin/sh
printf '%s\n' "args: $*"
env | grep -E '^(ANTHROPIC|CLAUDE|NO_PROXY)' | sed 's/=sk-lb-.*/=KEY/' | sort
while [ $# -gt 0 ]; do
  if [ "$1" = --settings ]; then ls -l "$2" | cut -c1-10; cp "$2" settings.copy; echo "$2" > settings.path; fi
  shift
done
exit 3
`)
	if err := os.Chmod(filepath.Join(d.dir, "bin", "claude"), 0o755); err != nil {
		t.Fatal(err)
	}
	return d
}

// withPath finds the program of the desk before others.
func (d *desk) withPath(env ...string) []string {
	return append(env, "PATH="+filepath.Join(d.dir, "bin")+string(filepath.ListSeparator)+os.Getenv("PATH"))
}

// copied returns the settings that the program got.
func (d *desk) copied() map[string]any {
	d.t.Helper()
	var settings map[string]any
	if err := json.Unmarshal([]byte(readFile(d.t, filepath.Join(d.dir, "settings.copy"))), &settings); err != nil {
		d.t.Fatal(err)
	}
	return settings
}

func TestRun(t *testing.T) {
	t.Parallel()
	d := runDesk(t, fallback(newFake(t, "a").entry()))
	d.put(d.user, `{"env": {"ANTHROPIC_API_KEY": "sk-of-the-user", "CLAUDE_CODE_USE_VERTEX": "1", "OTHER": "x"}}`)
	env := d.withPath("ANTHROPIC_BASE_URL=http://elsewhere", "ANTHROPIC_API_KEY=k", "CLAUDE_CODE_USE_BEDROCK=1", "ANTHROPIC_MODEL=opus", "HTTP_PROXY=http://127.0.0.1:1", "no_proxy=example.com")
	r := d.run(invocation{args: []string{"run", "--", "claude", "-p", "two words"}, env: env})
	d.must(r, 3, "claude-code-lb: no requests\n", "args: --settings "+strings.TrimSpace(readFile(t, filepath.Join(d.dir, "settings.path")))+" -p two words\n",
		"ANTHROPIC_AUTH_TOKEN=KEY\nANTHROPIC_BASE_URL=http://127.0.0.1:", "ANTHROPIC_MODEL=opus\nNO_PROXY=example.com,127.0.0.1\n-rw-------\n")
	if strings.Contains(r.stdout, "elsewhere") || strings.Contains(r.stdout, "BEDROCK") || strings.Contains(r.stdout, "API_KEY") {
		t.Errorf("conflicting variables are left:\n%s", r.stdout)
	}
	variables, _ := d.copied()["env"].(map[string]any)
	if len(variables) != 4 || variables["ANTHROPIC_API_KEY"] != "" || variables["CLAUDE_CODE_USE_VERTEX"] != "" || !strings.HasPrefix(variables["ANTHROPIC_AUTH_TOKEN"].(string), "sk-lb-") {
		t.Errorf("settings: %v", variables)
	}
	if _, err := os.Stat(strings.TrimSpace(readFile(t, filepath.Join(d.dir, "settings.path")))); err == nil {
		t.Error("the settings file is left")
	}
	if _, err := os.Stat(filepath.Join(d.dir, "config.state")); err == nil {
		t.Error("a private balancer has written state")
	}
}

func TestRunJoinsSettings(t *testing.T) {
	t.Parallel()
	d := runDesk(t, fallback(newFake(t, "a").entry()))
	d.put(filepath.Join(d.dir, "mine.json"), `{"model": "opus", "env": {"X": "1"}}`)
	for _, args := range [][]string{
		{"run", "--", "claude", "--settings", "mine.json", "-p", "hi"},
		{"run", "--", "claude", "--settings", "{}", "-p", "hi", "--settings=mine.json"},
		{"run", "--", "npx", "claude", "-p", "hi", "--settings", `{"model": "opus", "env": {"X": "1"}}`},
	} {
		if args[2] == "npx" {
			d.put(filepath.Join(d.dir, "bin", "npx"), "#!/bin/sh\nexec \"$@\"\n")
			os.Chmod(filepath.Join(d.dir, "bin", "npx"), 0o755)
		}
		r := d.run(invocation{args: args, env: d.withPath()})
		d.must(r, 3)
		settings := d.copied()
		if variables, _ := settings["env"].(map[string]any); settings["model"] != "opus" || variables["X"] != "1" || variables["ANTHROPIC_BASE_URL"] == nil || !regexp.MustCompile(`(?m)^args: --settings \S+ -p hi$`).MatchString(r.stdout) {
			t.Errorf("%v: settings %v\n%s", args, settings, r.stdout)
		}
	}
	for settings, want := range map[string]string{
		`{"env": {"ANTHROPIC_BASE_URL": "http://x"}}`: "sets ANTHROPIC_BASE_URL, which run would have to override",
		`{"a": 1,}`:    "--settings:1:8: Claude Code reads strict JSON",
		"nowhere.json": "no such file",
	} {
		d.must(d.run(invocation{args: []string{"run", "--", "claude", "--settings", settings}, env: d.withPath()}), 1, want)
	}
}

func TestRunRefuses(t *testing.T) {
	t.Parallel()
	d := runDesk(t, fallback(newFake(t, "a").entry()))
	tokenless := newFake(t, "own").entry()
	delete(tokenless, "token")
	writeConfig(t, filepath.Join(d.dir, "own.json"), fallback(tokenless))
	for _, test := range []struct {
		args   string
		status int
		want   string
	}{
		{"run", 2, "the command is missing"},
		{"run -env -- claude", 2, "-env takes no command"},
		{"run -- no-such-program", 1, "cannot be run"},
		{"run -c nowhere.json -- claude", 1, "claude-code-lb init"},
		{"run -c own.json -- claude", 1, "servers without a token: own"},
		{"run -env -c own.json", 1, "servers without a token: own"},
		{"run -env -c nowhere.json", 1, "claude-code-lb init"},
		{"run -log /no/such/directory/log -- claude", 1, "-log: "},
	} {
		d.must(d.run(invocation{args: strings.Fields(test.args), env: d.withPath()}), test.status, test.want)
	}
}

// TestRunBill checks the cost and the number of hidden failures.
func TestRunBill(t *testing.T) {
	t.Parallel()
	a, b := newFake(t, "a"), newFake(t, "b")
	a.fails(fault.Fault{Kind: fault.Status, Status: 529})
	d := runDesk(t, fallback(a.entry(), b.entry()))
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("SKIPPED: curl is not installed")
	}
	d.put(filepath.Join(d.dir, "ask"), `#!/bin/sh
curl -sS -o /dev/null -w '%{http_code}\n' "$ANTHROPIC_BASE_URL/v1/messages" -H "x-api-key: $ANTHROPIC_AUTH_TOKEN" -H 'anthropic-version: 2023-06-01' -H 'content-type: application/json' \
  -d '{"model":"claude-sonnet-4-5","max_tokens":20,"messages":[{"role":"user","content":"hi"}]}'
curl -sS -o /dev/null -w '%{http_code}\n' "$ANTHROPIC_BASE_URL/v1/models" -H 'anthropic-version: 2023-06-01'
`)
	r := d.run(invocation{args: []string{"run", "-log", "lb.log", "--", "sh", "ask"}})
	d.must(r, 0)
	if r.stdout != "200\n401\n" || !regexp.MustCompile(`^claude-code-lb: \$0\.\d{4}, 1 failover hidden, cache 0 %\n$`).MatchString(r.stderr) {
		t.Errorf("%s\n%s", r.stdout, r.stderr)
	}
	if log := readFile(t, filepath.Join(d.dir, "lb.log")); !strings.Contains(log, `"listening"`) || strings.Contains(log, "sk-lb-") {
		t.Errorf("log:\n%s", log)
	}
}

// running starts run with a script, and waits until the script is ready.
func (d *desk) running(script string) (*exec.Cmd, *bytes.Buffer) {
	d.t.Helper()
	cmd := exec.Command(binary, "run", "--", "sh", "-c", script)
	cmd.Dir, cmd.Env = d.dir, environment("HOME="+d.home)
	var out logbook
	var stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	if err := cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { cmd.Process.Kill() })
	eventually(d.t, "the program is ready", func() bool { return strings.Contains(out.String(), "ready") })
	return cmd, &stderr
}

func TestRunForwardsSignals(t *testing.T) {
	t.Parallel()
	d := runDesk(t, fallback(newFake(t, "a").entry()))
	for _, test := range []struct {
		script string
		signal syscall.Signal
		status int
	}{
		{"trap 'exit 5' TERM; echo ready; while :; do sleep 0.01; done", syscall.SIGTERM, 5},
		{"trap 'exit 6' INT; echo ready; while :; do sleep 0.01; done", syscall.SIGINT, 6},
		{"trap 'exit 7' HUP; echo ready; while :; do sleep 0.01; done", syscall.SIGHUP, 7},
		{"echo ready; while :; do sleep 0.01; done", syscall.SIGTERM, 128 + 15},
	} {
		cmd, stderr := d.running(test.script)
		if err := cmd.Process.Signal(test.signal); err != nil {
			t.Fatal(err)
		}
		cmd.Wait()
		if got := cmd.ProcessState.ExitCode(); got != test.status || stderr.String() != "claude-code-lb: no requests\n" {
			t.Errorf("%v: exit status %d, want %d: %s", test.signal, got, test.status, stderr)
		}
	}
}

// TestRunEnv checks that a shell gets the variables of a balancer in the background.
func TestRunEnv(t *testing.T) {
	t.Parallel()
	d := runDesk(t, fallback(newFake(t, "a").entry()))
	d.put(d.user, `{"env": {"ANTHROPIC_BASE_URL": "http://x"}}`)
	r := d.run(invocation{args: []string{"run", "-env"}, env: []string{"ANTHROPIC_API_KEY=k"}})
	d.must(r, 0, d.user+" sets ANTHROPIC_BASE_URL, which Claude Code prefers")
	m := regexp.MustCompile(`^export ANTHROPIC_BASE_URL='(http://127\.0\.0\.1:\d+)';\nexport ANTHROPIC_AUTH_TOKEN='(sk-lb-\w+)';\nexport CLAUDE_CODE_LB_PID='(\d+)';\nunset ANTHROPIC_API_KEY;\n$`).FindStringSubmatch(r.stdout)
	if m == nil {
		t.Fatalf("printed:\n%s", r.stdout)
	}
	pid, err := strconv.Atoi(m[3])
	if err != nil {
		t.Fatal(err)
	}
	process, err := os.FindProcess(pid)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { process.Kill() })
	ask := func() (int, error) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, m[1]+"/v1/models", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Api-Key", m[2])
		req.Header.Set("Anthropic-Version", "2023-06-01")
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			return 0, err
		}
		defer res.Body.Close()
		return res.StatusCode, nil
	}
	if status, err := ask(); status != http.StatusOK {
		t.Errorf("status %d, %v", status, err)
	}
	if err := process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the balancer ends", func() bool { _, err := ask(); return err != nil })
}

// TestClaudeCodeRuns runs it with a private balancer, regardless of its settings.
func TestClaudeCodeRuns(t *testing.T) {
	t.Parallel()
	a := newScripted(t, "a", always(http.StatusServiceUnavailable, apiError("api_error", "Down.")))
	b := newScripted(t, "b", func(w http.ResponseWriter, r arrival) bool {
		if !r.isMessage() {
			return false
		}
		respondMessage(w, r, "msg_run", contentBlock{text: "served by the private balancer"})
		return true
	})
	s := claudeAt(t, "http://"+freeAddress(t), "sk-of-the-shell-0123456789")
	config := filepath.Join(s.home, "config.json")
	writeConfig(t, config, fallback(a.entry(), b.entry()))
	elsewhere := []byte(`{"env": {"ANTHROPIC_BASE_URL": "http://` + freeAddress(t) + `", "ANTHROPIC_AUTH_TOKEN": "sk-of-a-file", "ANTHROPIC_API_KEY": "sk-of-a-file", "CLAUDE_CODE_USE_BEDROCK": "1"}}`)
	for _, dir := range []string{s.home, s.dir} {
		if err := os.MkdirAll(filepath.Join(dir, ".claude"), 0o755); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"settings.json", "settings.local.json"} {
			if err := os.WriteFile(filepath.Join(dir, ".claude", name), elsewhere, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	mine := filepath.Join(s.home, "mine.json")
	if err := os.WriteFile(mine, []byte(`{"env": {"ANTHROPIC_CUSTOM_HEADERS": "x-mine: joined"}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	through := *s
	through.program = binary
	for range 2 {
		o := through.runs(config, s.program, "--settings", mine, "-p", "hi")
		o.mustSay(t, "served by the private balancer")
		if o.err != nil || !regexp.MustCompile(`claude-code-lb: \$0\.\d+, \d+ failovers? hidden, cache \d+ %\n$`).MatchString(o.text) {
			t.Errorf("%v\n%s", o.err, o.text)
		}
	}
	for _, r := range b.messages() {
		if r.Header.Get("X-Mine") != "joined" {
			t.Errorf("the settings of --settings are lost: %v", r.Header)
		}
	}
	if len(b.messages()) == 0 {
		t.Error("no message arrived")
	}
}

// runs starts the client through run.
func (s *claudeSession) runs(config string, args ...string) outcome {
	s.t.Helper()
	cmd := exec.CommandContext(s.t.Context(), s.program, append([]string{"run", "-c", config, "--"}, args...)...)
	cmd.Dir, cmd.Env = s.dir, append(s.env, "GORACE=atexit_sleep_ms=0")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return outcome{text: out.String(), err: err}
}
