package cli

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/9bingyin/claude-code-lb/internal/config"
	"github.com/9bingyin/claude-code-lb/internal/event"
	"github.com/9bingyin/claude-code-lb/internal/fakeclaude"
	"github.com/9bingyin/claude-code-lb/internal/fakeclaude/fault"
	"github.com/9bingyin/claude-code-lb/internal/service"
)

// exampleCase is an example directory, with the requests to send through its configuration.
type exampleCase struct {
	name     string
	warnings []string // of check
	send     func(t *testing.T, e *example)
}

func exampleCases() []exampleCase {
	return []exampleCase{
		{"laptop", nil, func(t *testing.T, e *example) {
			e.wants(t, "any-text", exampleModel, http.StatusOK)
			e.anthropic.SetFaults(fault.Rule{Fault: fault.Fault{Kind: fault.Status, Status: 529}, Count: 1})
			e.wants(t, "any-text", exampleModel, http.StatusOK)
		}},
		{"team", nil, func(t *testing.T, e *example) {
			e.wants(t, "value-of-ANN_KEY-0", exampleModel, http.StatusOK)
			e.wants(t, "someone-else", exampleModel, http.StatusUnauthorized)
			e.wants(t, "value-of-CI_KEY-0", exampleModel, http.StatusForbidden)
		}},
		{"relay", nil, func(t *testing.T, e *example) {
			e.wants(t, "any-text", exampleModel, http.StatusOK)
			if n := len(e.relay.Requests()); n != 0 {
				t.Errorf("the relay had %d requests while Anthropic answered", n)
			}
			e.anthropic.SetFaults(fault.Rule{Fault: fault.Fault{Kind: fault.Status, Status: 500}})
			e.wants(t, "any-text", exampleModel, http.StatusOK)
			if len(e.relay.Requests()) == 0 {
				t.Error("the relay did not get the request that Anthropic failed")
			}
		}},
		{"compose-postgres", nil, func(t *testing.T, e *example) {
			e.wants(t, "value-of-TEAM_KEY-0", exampleModel, http.StatusOK)
			e.wants(t, "someone-else", exampleModel, http.StatusUnauthorized)
		}},
		{"proxy", nil, func(t *testing.T, e *example) {
			e.wants(t, "value-of-TEAM_KEY-0", exampleModel, http.StatusOK)
			e.wants(t, "someone-else", exampleModel, http.StatusUnauthorized)
		}},
	}
}

// example is a running balancer with an example's configuration and simulated upstreams.
type example struct {
	front            *httptest.Server
	anthropic, relay *fakeclaude.Server
}

// TestExamples checks every example and sends requests through it.
func TestExamples(t *testing.T) {
	var names []string
	for _, c := range exampleCases() {
		names = append(names, c.name)
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join("..", "..", "examples", c.name, "config.json")
			env := exampleEnv(t, path)
			status, _, errOut := runCommand(t, "check", "", env, "-c", path)
			if status != service.ExitOK || strings.Count(errOut, "\n") != len(c.warnings)+1 {
				t.Fatalf("check: status %d\n%s", status, errOut)
			}
			c.send(t, startExample(t, path, env))
		})
	}
	dirs, err := filepath.Glob("../../examples/*/config.json")
	if err != nil || len(dirs) != len(names) {
		t.Errorf("%d examples are tested, of %v (%v)", len(names), dirs, err)
	}
}

var exampleVariable = regexp.MustCompile(`\$\{([A-Z_]+)\}`)

// exampleEnv gives a value to every variable that an example needs, and a certificate.
func exampleEnv(t *testing.T, path string) map[string]string {
	t.Helper()
	src, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	env := map[string]string{}
	for _, m := range exampleVariable.FindAllStringSubmatch(string(src), -1) {
		env[m[1]] = "value-of-" + m[1] + "-0"
	}
	if bytes.Contains(src, []byte("TLS_DIR")) {
		env["TLS_DIR"] = t.TempDir()
		writeCertificate(t, filepath.Join(env["TLS_DIR"], "lb.example.com"))
	}
	return env
}

// startExample serves an example's configuration with simulated upstreams instead of the real
// ones.
func startExample(t *testing.T, path string, env map[string]string) *example {
	t.Helper()
	src, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var tokens []string
	for _, value := range env {
		tokens = append(tokens, value)
	}
	e := new(example)
	text := string(src)
	for _, upstream := range []struct {
		url  string
		fake **fakeclaude.Server
	}{{"https://api.anthropic.com", &e.anthropic}, {"https://relay.example.com/claude", &e.relay}} {
		fake := fakeclaude.New(fakeclaude.Options{Name: upstream.url, Seed: 1, Keys: tokens})
		server := httptest.NewServer(fake)
		t.Cleanup(func() { fake.Close(); server.CloseClientConnections(); server.Close() })
		*upstream.fake, text = fake, strings.ReplaceAll(text, upstream.url, server.URL)
	}
	if strings.Contains(text, "https://") {
		t.Fatalf("%s names an upstream that this test does not simulate", path)
	}
	text = strings.Replace(text, `"balance_check"`, `// "balance_check"`, 1)
	text = strings.Replace(text, `"balance_threshold"`, `// "balance_threshold"`, 1)
	cfg, problems := config.Decode(path, []byte(text), func(name string) (string, bool) { v, ok := env[name]; return v, ok })
	if problems.Failed() {
		t.Fatal(problems)
	}
	ctx, cancel := context.WithCancel(context.Background())
	b := service.NewBalancer(ctx, cfg, event.NewBus(slog.New(slog.DiscardHandler)), new(slog.LevelVar), service.Sinks{})
	e.front = httptest.NewServer(b.Handler)
	t.Cleanup(func() { e.front.Close(); cancel(); b.Pool.Wait() })
	return e
}

// wants sends one message, as Claude Code does, and checks the status of the response.
func (e *example) wants(t *testing.T, key, model string, status int) {
	t.Helper()
	body := strings.Replace(exampleBody, exampleModel, model, 1)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, e.front.URL+"/v1/messages?beta=true", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+key)
	r.Header.Set("Anthropic-Version", "2023-06-01")
	r.Header.Set("X-Forwarded-For", "192.0.2.7")
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != status || status == http.StatusOK && !bytes.Contains(got, []byte("message_stop")) {
		t.Errorf("with key %s: status %d, want %d, %v\n%s", key, resp.StatusCode, status, err, got)
	}
}

// TestFrontPageConfiguration checks the configuration that both READMEs show.
func TestFrontPageConfiguration(t *testing.T) {
	for _, name := range []string{"README.md", "README.zh-CN.md"} {
		text, err := os.ReadFile(filepath.Join("..", "..", name))
		if err != nil {
			t.Fatal(err)
		}
		_, block, _ := strings.Cut(string(text), "```jsonc\n")
		block, _, ok := strings.Cut(block, "```")
		path := writeConfig(t, block)
		if status, _, errOut := runCommand(t, "check", "", exampleEnv(t, path), "-c", path); !ok || status != service.ExitOK || strings.Count(errOut, "\n") != 1 {
			t.Errorf("%s: status %d\n%s", name, status, errOut)
		}
	}
}

// TestExampleCompose checks that the containers get every variable that the configuration names,
// from .env.
func TestExampleCompose(t *testing.T) {
	dir := filepath.Join("..", "..", "examples", "compose-postgres")
	read := func(name string) string {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	compose, values := read("docker-compose.yml"), read(".env.example")
	for _, m := range exampleVariable.FindAllStringSubmatch(read("config.json"), -1) {
		if !strings.Contains(compose, "      "+m[1]+": ${"+m[1]+":?}\n") {
			t.Errorf("docker-compose.yml does not pass %s", m[1])
		}
		if !slices.Contains(strings.Split(values, "\n"), m[1]+"=") {
			t.Errorf(".env.example does not name %s", m[1])
		}
	}
}

// TestExampleProxies checks that the proxies forward to the balancer's address and do not buffer
// responses.
func TestExampleProxies(t *testing.T) {
	for name, wants := range map[string][]string{
		"nginx.conf": {"proxy_pass http://127.0.0.1:3000;", "proxy_buffering off;", "proxy_request_buffering off;", "proxy_read_timeout 15m;", "proxy_next_upstream off;", "proxy_set_header X-Forwarded-For"},
		"Caddyfile":  {"reverse_proxy 127.0.0.1:3000 {", "flush_interval -1", "read_timeout 15m", "response_header_timeout 15m"},
	} {
		text, err := os.ReadFile(filepath.Join("..", "..", "examples", "proxy", name))
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range wants {
			if !strings.Contains(string(text), want) {
				t.Errorf("%s does not contain %q", name, want)
			}
		}
		if strings.Count(string(text), "{") != strings.Count(string(text), "}") {
			t.Errorf("%s: braces do not match", name)
		}
	}
}

// writeCertificate writes base.pem and base.key.
func writeCertificate(t *testing.T, base string) {
	t.Helper()
	server := httptest.NewTLSServer(http.NotFoundHandler())
	defer server.Close()
	pair := server.TLS.Certificates[0]
	key, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{
		base + ".pem": {Type: "CERTIFICATE", Bytes: pair.Certificate[0]},
		base + ".key": {Type: "PRIVATE KEY", Bytes: key},
	} {
		if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

const (
	exampleModel = "claude-sonnet-4-5"
	exampleBody  = `{"model":"` + exampleModel + `","max_tokens":200,"stream":true,"messages":[{"role":"user","content":"hello there"}]}`
)
