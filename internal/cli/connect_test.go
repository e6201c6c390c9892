package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/9bingyin/claude-code-lb/internal/service"
)

func TestConnectUsage(t *testing.T) {
	env := map[string]string{"HOME": t.TempDir(), "USERPROFILE": t.TempDir(), "LOCALAPPDATA": t.TempDir()}
	key := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(key, []byte("sk-1 sk-2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		args   string
		status int
		want   string
	}{
		{"-key sk-lb-hush", service.ExitUsage, "-key takes - alone"},
		{"-key - -keep-login", service.ExitUsage, "exclude each other"},
		{"-scope project", service.ExitUsage, "want user or local"},
		{"-undo -check", service.ExitUsage, "-check takes a URL at most"},
		{"-undo -vscode", service.ExitUsage, "-check takes a URL at most"},
		{"-vscode -keep-login", service.ExitUsage, "not necessary"},
		{"127.0.0.1:3000", service.ExitUsage, "begin with http"},
		{"http://a http://b", service.ExitUsage, "is not an option"},
		{"http://me:hush@a", service.ExitUsage, "user name or password"},
		{"-undo", service.ExitError, "nothing to undo"},
		{"", service.ExitError, "no URL is given"},
		{"http://127.0.0.1:1 -key-file " + key, service.ExitError, "one line with the key alone"},
		{"http://127.0.0.1:1 -key -", service.ExitError, "the key is empty"},
		{"-check", service.ExitError, "does not use a balancer here"},
	} {
		status, out, errOut := runCommand(t, "connect", "", env, strings.Fields(test.args)...)
		if status != test.status || !strings.Contains(out+errOut, test.want) || strings.Contains(out+errOut, "hush") || strings.Contains(out+errOut, "sk-1") {
			t.Errorf("%q: status %d\n%s%s\nwant %d and %q", test.args, status, out, errOut, test.status, test.want)
		}
	}
}

// TestConnectFindsTheBalancer checks that the address comes from the configuration.
func TestConnectFindsTheBalancer(t *testing.T) {
	for _, test := range []struct{ fields, want string }{
		{`"listen": "127.0.0.1:1"`, "http://127.0.0.1:1 cannot be reached"},
		{`"listen": ":1"`, "http://127.0.0.1:1 cannot be reached"},
		{`"listen": "[::1]:1"`, "http://[::1]:1 cannot be reached"},
		{`"listen": "127.0.0.1:0"`, "a port that is chosen at its start"},
		{`"listen": "127.0.0.1:3000", "tls_cert": "c.pem", "tls_key": "k.pem"`, "such as https://lb.example:3000"},
	} {
		path := writeConfig(t, `{"servers": [{"url": "https://a.example", "token": "${NOT_SET_HERE}"}], `+test.fields+`}`)
		env := map[string]string{"HOME": t.TempDir(), "USERPROFILE": t.TempDir(), "LOCALAPPDATA": t.TempDir()}
		status, _, errOut := runCommand(t, "connect", "", env, "-c", path)
		if status != service.ExitError || !strings.Contains(errOut, test.want) {
			t.Errorf("%s: status %d\n%s\nwant %q", test.fields, status, errOut, test.want)
		}
	}
}

func TestQuoteWord(t *testing.T) {
	for _, test := range []struct{ word, system, want string }{
		{"/usr/bin/claude-code-lb", "linux", "/usr/bin/claude-code-lb"},
		{"/a b/c'd", "linux", `'/a b/c'\''d'`},
		{"C:/Program Files/lb.exe", "windows", `'C:/Program Files/lb.exe'`},
		{"", "linux", "''"},
		{"echo $HOME; ls", "linux", "'echo $HOME; ls'"},
	} {
		if got := quoteWord(test.word, test.system); got != test.want {
			t.Errorf("%s: %s, want %s", test.word, got, test.want)
		}
	}
}
