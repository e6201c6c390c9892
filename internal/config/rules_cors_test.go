package config

import (
	"strings"
	"testing"
)

func TestOrigins(t *testing.T) {
	f := func(members, want string) {
		t.Helper()
		_, problems := Decode("config.json", []byte(`{"servers": [{"url": "https://a.example", "token": "t"}]`+members+`}`), func(name string) (string, bool) { return "HTTPS://Hidden.example", name == "V" })
		var said []string
		for _, p := range problems {
			said = append(said, p.String())
		}
		text := strings.Join(said, "\n")
		if want == "" && text != "" || !strings.Contains(text, want) || strings.Contains(text, "idden") {
			t.Errorf("%s: %q, want %q", members, text, want)
		}
	}
	locked := `, "auth": true, "auth_keys": ["sk-5Vv8hJ2mQp9xLw3t"]`
	f(`, "cors_origins": []`, "")
	f(`, "cors_origins": ["https://chat.example", "http://localhost:5173", "app://obsidian.md", "file://", "chrome-extension://abcdef"]`, "")
	f(locked+`, "cors_origins": ["*"]`, "")
	f(`, "cors_origins": ["*"]`, `config.json:1:76: cors_origins[0]: warning: lets every web page`)
	f(`, "cors_origins": ["https://chat.example", "https://chat.example"]`, "cors_origins[1]: warning: is written twice")
	f(`, "cors_origins": ["https://chat.example/"]`, `cors_origins[0]: error: "https://chat.example/" is not as browsers send it: write "https://chat.example"`)
	f(`, "cors_origins": ["https://chat.example/ui?x"]`, `write "https://chat.example"`)
	f(`, "cors_origins": ["HTTPS://Chat.Example"]`, `write "https://chat.example"`)
	f(`, "cors_origins": ["https://chat.example:443"]`, `write "https://chat.example"`)
	f(`, "cors_origins": ["http://chat.example:443"]`, "")
	f(`, "cors_origins": ["chat.example"]`, "is not an origin, scheme://host")
	f(`, "cors_origins": ["localhost:5173"]`, "is not an origin, scheme://host")
	f(`, "cors_origins": [""]`, "is not an origin")
	f(`, "cors_origins": ["null"]`, "cannot be listed")
	f(`, "cors_origins": ["https://*.example"]`, "has a wildcard")
	f(`, "cors_origins": ["https://u:p@chat.example"]`, "is not an origin")
	f(`, "cors_origins": ["${V}"]`, "this value is not as browsers send it: lower case")
	f(`, "cors_origins": "*"`, "must be a list")
	f(`, "cors_origin": []`, `cors_origins`)
}
