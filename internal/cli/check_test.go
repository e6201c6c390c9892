package cli

import (
	"encoding/json"
	"encoding/pem"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/9bingyin/claude-code-lb/internal/service"
)

// runCommand runs a command with the given standard input and environment.
func runCommand(t *testing.T, command string, in string, env map[string]string, args ...string) (status int, out, errOut string) {
	t.Helper()
	var stdout, stderr strings.Builder
	std := service.Std{In: strings.NewReader(in), Out: &stdout, Err: &stderr, Env: func(name string) (string, bool) {
		value, ok := env[name]
		return value, ok
	}}
	for _, c := range commands() {
		if c.name == command {
			status = c.run(t.Context(), std, args)
			return status, stdout.String(), stderr.String()
		}
	}
	t.Fatalf("no command %s", command)
	return 0, "", ""
}

// writeConfig writes a configuration file and returns its path.
func writeConfig(t *testing.T, src string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.json")
	if err := os.WriteFile(path, []byte(src), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestCheckPrintsProblems(t *testing.T) {
	path := writeConfig(t, `{
  "port": 3000,
  "servers": [{"url": "https://a.example", "wieght": 2, "token": "${TOKEN}", "priority": 1}]
}`)
	status, out, errOut := runCommand(t, "check", "", nil, "-c", path)
	want := path + `:2:11: port: error: must be a string, not a number: write "3000"
` + path + `:3:44: servers[0].wieght: error: unknown field "wieght", did you mean "weight"?
` + path + `:3:66: servers[0].token: error: the variable TOKEN is not set: export it, or write ${TOKEN:-default}
` + path + `:3:90: servers[0].priority: warning: is ignored in load_balance mode: it ranks servers in fallback mode
` + path + `: 3 errors, 1 warning
`
	if status != service.ExitError || out != "" || errOut != want {
		t.Errorf("status %d\n%s%s\nwant:\n%s", status, out, errOut, want)
	}
}

func TestCheckPrintsTheConfigurationInEffect(t *testing.T) {
	path := writeConfig(t, `{"listen": "127.0.0.1:3000", "servers": [{"url": "http://a.example", "token": "${TOKEN}"}]}`)
	status, out, errOut := runCommand(t, "check", "", map[string]string{"TOKEN": "s3cr3t", "CONFIG_FILE": path})
	if status != service.ExitOK || !strings.HasSuffix(errOut, path+": ok, 1 warning\n") {
		t.Errorf("status %d, %s", status, errOut)
	}
	if !json.Valid([]byte(out)) || !strings.Contains(out, `"token": "[redacted]"`) || strings.Contains(out+errOut, "s3cr3t") {
		t.Errorf("out: %s", out)
	}
}

func TestCheckAcceptsTheExamples(t *testing.T) {
	// The files are examples of 9bingyin/claude-code-lb: open to every client, and with well-known
	// keys.
	for name, warnings := range map[string][]string{
		"config.example.json":          {"auth: warning: is off, and other machines can reach :3000"},
		"config.fallback.example.json": {"auth_keys[0]: warning: is a sample key", "auth_keys[1]: warning: is a sample key"},
	} {
		src, err := os.ReadFile(filepath.Join("..", "..", name))
		if err != nil {
			t.Fatal(err)
		}
		path := writeConfig(t, string(src))
		status, _, errOut := runCommand(t, "check", "", nil, "-c", path)
		if status != service.ExitOK || strings.Count(errOut, "\n") != len(warnings)+1 || !strings.Contains(errOut, path+": ok") {
			t.Errorf("status %d, %s", status, errOut)
		}
		for _, want := range warnings {
			if !strings.Contains(errOut, want) {
				t.Errorf("%s, want %s", errOut, want)
			}
		}
	}
}

func TestCheckWithoutFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "none.json")
	status, out, errOut := runCommand(t, "check", "", nil, "-c", path)
	if status != service.ExitError || out != "" || !strings.Contains(errOut, path) || !strings.Contains(errOut, "claude-code-lb init") {
		t.Errorf("status %d\n%s%s", status, out, errOut)
	}
}

func TestCommandUsage(t *testing.T) {
	for _, name := range []string{"check", "init", "schema", "explain-error"} {
		if status, out, errOut := runCommand(t, name, "", nil, "-h"); status != service.ExitOK || !strings.Contains(out, "Usage:") || errOut != "" {
			t.Errorf("%s -h: status %d, out %q, err %q", name, status, out, errOut)
		}
		if status, out, errOut := runCommand(t, name, "", nil, "-nonsense"); status != service.ExitUsage || out != "" || strings.Count(errOut, "\n") != 1 {
			t.Errorf("%s -nonsense: status %d, out %q, err %q", name, status, out, errOut)
		}
		if status, out, errOut := runCommand(t, name, "", nil, "config.json"); status != service.ExitUsage || out != "" || !strings.Contains(errOut, `"config.json" is not an option`) {
			t.Errorf("%s config.json: status %d, out %q, err %q", name, status, out, errOut)
		}
	}
}

func TestSchemaCommand(t *testing.T) {
	status, out, errOut := runCommand(t, "schema", "", nil)
	var schema struct {
		Dialect    string         `json:"$schema"`
		Properties map[string]any `json:"properties"`
	}
	if err := json.Unmarshal([]byte(out), &schema); err != nil || status != service.ExitOK || errOut != "" {
		t.Fatalf("status %d, %s, %v", status, errOut, err)
	}
	if schema.Dialect != "https://json-schema.org/draft/2020-12/schema" || schema.Properties["servers"] == nil {
		t.Errorf("schema: %s", out)
	}
}

// TestMain makes the process trust the certificate of test servers.
func TestMain(m *testing.M) {
	s := httptest.NewTLSServer(nil)
	dir, err := os.MkdirTemp("", "authority")
	if err != nil {
		panic(err)
	}
	file := filepath.Join(dir, "authority.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600); err != nil {
		panic(err)
	}
	os.Setenv("SSL_CERT_FILE", file)
	status := m.Run()
	s.Close()
	os.RemoveAll(dir)
	os.Exit(status)
}
