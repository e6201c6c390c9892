package config

import (
	"strings"
	"testing"
)

func TestAdminAddress(t *testing.T) {
	f := func(members, wantProblem, wantAddress string, wantChosen bool) {
		t.Helper()
		src := `{"servers": [{"url": "https://a.example", "token": "t"}]` + members + `}`
		cfg, problems := Decode("config.json", []byte(src), func(string) (string, bool) { return "", false })
		var said []string
		for _, p := range problems {
			said = append(said, p.String())
		}
		text := strings.Join(said, "\n")
		if wantProblem == "" && text != "" || !strings.Contains(text, wantProblem) {
			t.Errorf("%s: %q, want %q", members, text, wantProblem)
		}
		if problems.Failed() {
			return
		}
		if address, chosen := cfg.AdminAddress(); address != wantAddress || chosen != wantChosen {
			t.Errorf("%s: %q %t, want %q %t", members, address, chosen, wantAddress, wantChosen)
		}
		if shown := string(cfg.Redacted()); strings.Contains(shown, "k3y") {
			t.Errorf("%s: a key is shown:\n%s", members, shown)
		}
	}
	f(``, "", "127.0.0.1:3001", false)
	f(`, "admin": ""`, "", "127.0.0.1:3001", false)
	f(`, "admin": "off"`, "", "", true)
	f(`, "admin": "127.0.0.1:9"`, "", "127.0.0.1:9", true)
	f(`, "admin": "[::1]:9"`, "", "[::1]:9", true)
	f(`, "admin": "localhost:9"`, "", "localhost:9", true)
	f(`, "admin": "0.0.0.0:9", "admin_key": "k3y"`, "", "0.0.0.0:9", true)
	f(`, "admin": "0.0.0.0:9"`, `config.json:1:68: admin: error: can be reached from other machines: write an "admin_key"`, "", false)
	f(`, "admin": ":9"`, "can be reached from other machines", "", false)
	f(`, "admin": "10.0.0.1:9", "admin_key": ""`, "admin_key: error: is empty", "", false)
	f(`, "admin": "lb.example:9"`, "can be reached from other machines", "", false)
	f(`, "admin": "9"`, `write ":9" for every interface or "127.0.0.1:9" for this machine alone`, "", false)
	f(`, "admin": "on"`, `is not an address and port: write "on:3001"`, "", false)
	f(`, "listen": "127.0.0.1:9", "admin": "127.0.0.1:9"`, "is the address that clients use", "", false)
	f(`, "admin": "off", "admin_key": "k3y"`, `admin_key: warning: is ignored, because "admin" is "off"`, "", true)
}
