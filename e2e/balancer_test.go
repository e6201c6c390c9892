package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// object is a configuration or a part of one.
type object map[string]any

// with returns o with one more member.
func (o object) with(name string, value any) object {
	o = maps.Clone(o)
	o[name] = value
	return o
}

// fallback returns a configuration that uses servers in the given order.
func fallback(servers ...object) object {
	for i := range servers {
		servers[i] = servers[i].with("priority", i+1)
	}
	return object{"mode": "fallback", "servers": servers}
}

// balanced returns a configuration that spreads requests over servers.
func balanced(algorithm string, servers ...object) object {
	return object{"algorithm": algorithm, "servers": servers}
}

// balancer is a running process of the program.
type balancer struct {
	t      *testing.T
	cmd    *exec.Cmd
	file   string // its configuration
	url    string
	client *http.Client
	log    *logbook
	ended  chan struct{}
}

// start runs the program with a configuration, on a free port unless cfg sets one.
func start(t *testing.T, cfg object, env ...string) *balancer {
	t.Helper()
	file := filepath.Join(t.TempDir(), "config.json")
	writeConfig(t, file, cfg)
	return startFile(t, file, env...)
}

// engineVariable is the environment variable with the http_engine to test.
const engineVariable = "E2E_HTTP_ENGINE"

func writeConfig(t *testing.T, file string, cfg object) {
	t.Helper()
	cfg = maps.Clone(cfg)
	defaults := object{"listen": "127.0.0.1:0", "admin": "127.0.0.1:0", "drain_timeout": "10s"}
	if engine := os.Getenv(engineVariable); engine != "" {
		defaults["http_engine"] = engine
	}
	for name, value := range defaults {
		if _, ok := cfg[name]; !ok {
			cfg[name] = value
		}
	}
	text, err := json.MarshalIndent(cfg, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	replaceFile(t, file, text)
}

// replaceFile replaces the content of a file in one step.
func replaceFile(t *testing.T, file string, content []byte) {
	t.Helper()
	if err := os.WriteFile(file+".new", content, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		t.Fatal(err)
	}
}

// startFile runs the program with a configuration file and waits until it listens.
func startFile(t *testing.T, file string, env ...string) *balancer {
	t.Helper()
	return startCommand(t, exec.Command(binary, "-c", file), file, env...)
}

// startCommand does what startFile does with a command that runs the program.
func startCommand(t *testing.T, cmd *exec.Cmd, file string, env ...string) *balancer {
	t.Helper()
	os.Getenv("TEST_RUN") // its value differs between runs, because the test cache does not see the sources of the program
	b := &balancer{t: t, cmd: cmd, file: file, log: &logbook{}, ended: make(chan struct{})}
	b.client = &http.Client{Transport: &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 256}}
	b.cmd.Env = environment(env...)
	b.cmd.Stdout, b.cmd.Stderr = b.log, b.log
	if err := b.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		b.cmd.Wait() // its result is in ProcessState
		close(b.ended)
	}()
	t.Cleanup(b.cleanUp)
	b.url = "http://" + b.waitLog("listening", nil).text("address")
	return b
}

// cleanUp ends the program if needed, and checks its log.
func (b *balancer) cleanUp() {
	b.client.CloseIdleConnections()
	if b.running() {
		if runtime.GOOS == "windows" {
			b.cmd.Process.Kill()
		} else {
			b.signal(syscall.SIGTERM)
		}
		select {
		case <-b.ended:
		case <-time.After(15 * time.Second):
			b.cmd.Process.Kill()
			<-b.ended
			b.t.Error("did not end within 15s of SIGTERM")
		}
		if status := b.cmd.ProcessState.ExitCode(); status != 0 && runtime.GOOS != "windows" {
			b.t.Errorf("exit status %d at the end", status)
		}
	}
	if complaint := accident(b.log.String()); complaint != "" {
		b.t.Error(complaint)
	}
	if b.t.Failed() {
		b.t.Logf("log:\n%s", b.log)
	}
}

func (b *balancer) running() bool {
	select {
	case <-b.ended:
		return false
	default:
		return true
	}
}

func (b *balancer) signal(s os.Signal) {
	b.t.Helper()
	if err := b.cmd.Process.Signal(s); err != nil {
		b.t.Fatalf("send %v: %v", s, err)
	}
}

// exitStatus waits for the end of the program.
func (b *balancer) exitStatus() int {
	b.t.Helper()
	eventually(b.t, "the program ends", func() bool { return !b.running() })
	return b.cmd.ProcessState.ExitCode()
}

// reconfigure writes a new configuration and waits until it is in force.
func (b *balancer) reconfigure(cfg object) {
	b.t.Helper()
	before := b.log.count("configuration reloaded")
	writeConfig(b.t, b.file, cfg)
	eventually(b.t, "the new configuration is in force", func() bool { return b.log.count("configuration reloaded") > before })
}

// available returns the number of available servers from /health.
func (b *balancer) available() int { return b.census("available") }

// census returns a number from /health.
func (b *balancer) census(name string) int {
	b.t.Helper()
	a := b.get("/health")
	var numbers map[string]any
	if err := json.Unmarshal(a.body, &numbers); err != nil {
		b.t.Fatalf("/health: %v: %s", err, a.body)
	}
	n, ok := numbers[name].(float64)
	if !ok {
		b.t.Fatalf("/health has no %s: %s", name, a.body)
	}
	return int(n)
}

// waitLog waits for a log line with this message that matches; nil matches all.
func (b *balancer) waitLog(msg string, matches func(line) bool) line {
	b.t.Helper()
	var found line
	eventually(b.t, fmt.Sprintf("the log says %q", msg), func() bool {
		ended := !b.running()
		for _, l := range b.log.lines(msg) {
			if matches == nil || matches(l) {
				found = l
				return true
			}
		}
		if ended {
			b.t.Fatalf("the program ended before it logged %q:\n%s", msg, b.log)
		}
		return false
	})
	return found
}

// about matches lines with an attribute.
func about(name, value string) func(line) bool {
	return func(l line) bool { return l.text(name) == value }
}

// logbook is the output of a program.
type logbook struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logbook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logbook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// line is one line of a JSON log.
type line map[string]any

func (l line) text(name string) string { return fmt.Sprint(l[name]) }

func (l line) number(name string) float64 {
	n, _ := l[name].(float64)
	return n
}

// lines returns the lines with a message.
func (l *logbook) lines(msg string) []line {
	var found []line
	for text := range strings.Lines(l.String()) {
		if parsed, ok := parseLine(text, msg); ok {
			found = append(found, parsed)
		}
	}
	return found
}

// parseLine parses a line if it has the message. In the text format only values without blanks are
// correct.
func parseLine(text, msg string) (line, bool) {
	if !strings.HasPrefix(text, "{") {
		_, attributes, ok := strings.Cut(text, " "+msg+" ")
		parsed := line{}
		for attribute := range strings.FieldsSeq(attributes) {
			name, value, _ := strings.Cut(attribute, "=")
			parsed[name] = value
		}
		return parsed, ok
	}
	if quoted, _ := json.Marshal(msg); !strings.Contains(text, string(quoted)) {
		return nil, false // most lines have other messages, and parsing takes time
	}
	var parsed line
	err := json.Unmarshal([]byte(text), &parsed)
	return parsed, err == nil && parsed["msg"] == msg
}

func (l *logbook) count(msg string) int { return len(l.lines(msg)) }
