package config

import (
	"fmt"
	"strings"
	"testing"
)

func TestSampleKeys(t *testing.T) {
	for _, key := range []string{
		"your-api-key-1", "your_api_key_2", "sk-client-key-1", "sk-client-key-12", "change-me", "changeme", "CHANGE_ME", "sk-xxxxxxxxxxxxxxxxxxxxxxxx", "sk-ant-api03-your-key-here", "my-secret-token",
		"admin", "password123", "sk-primary-token-here", "sk-backup-token-here", "replace-this-with-a-long-random-secret", "1234567890123456", "0000000000000000000000", "test", "sk-test-0123456789", "<your client key>", "client-key",
	} {
		if !isSampleKey(key) {
			t.Errorf("%s is no sample", key)
		}
	}
	for _, key := range []string{"sk-lb-k7r2mvq0t5wd3xnb6yhz8jfpcl", "sk-ann-0123456789abcdef", "48151623427108265531", "sk-4815162342", "correct-horse-battery", "a3f1c09be2d74586", "sk-client-key-8f1"} {
		if isSampleKey(key) {
			t.Errorf("%s is a sample", key)
		}
	}
}

func TestWeakConfigurations(t *testing.T) {
	f := func(rest string, want ...string) {
		t.Helper()
		cfg, problems := Decode("c.json", []byte(`{"servers": [{"url": "https://a.example", "token": "t"}], `+rest+`}`), env(nil))
		if problems.Failed() {
			t.Fatal(problems)
		}
		var got []string
		for _, p := range cfg.Weak {
			got = append(got, p.String())
		}
		if len(got) != len(want) {
			t.Fatalf("%s: %q", rest, got)
		}
		for i := range want {
			if !strings.Contains(got[i], want[i]) || strings.Contains(got[i], "your-api") || strings.Contains(got[i], "sh0rt") {
				t.Errorf("%s: %q, want %q", rest, got[i], want[i])
			}
		}
	}
	const strong = `"sk-lb-k7r2mvq0t5wd3xnb6yhz8jfpcl"`
	f(`"auth": true, "auth_keys": [`+strong+`, "your-api-key-1", {"name": "x", "key": "sh0rt"}]`,
		"auth_keys[1]: warning: is a sample key", "auth_keys[2]: warning: has fewer than 16 characters")
	f(`"auth": true, "auth_keys": [{"name": "x", "key_sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"}]`, "is a sample key")
	f(`"auth": true, "admin_key": "change-me", "auth_keys": [`+strong+`]`, "admin_key: warning: is a sample key")
	f(`"listen": "127.0.0.1:3000"`)
	f(`"listen": "localhost:3000", "auth": false`)
	f(`"port": "3000"`, "auth: warning: is off")
	f(`"auth": false, "listen": "[::]:3000"`, "c.json:1:67: auth: warning: is off, and other machines can reach [::]:3000")
}

func TestTrustedProxies(t *testing.T) {
	cfg, problems := Decode("c.json", []byte(`{"servers": [{"url": "https://a.example", "token": "t"}], "trusted_proxies": ["10.0.0.0/8", "192.0.2.7", "2001:db8::/32", "::ffff:192.0.2.8"]}`), env(nil))
	if len(problems) > 0 || fmt.Sprint(cfg.Proxies()) != "[10.0.0.0/8 192.0.2.7/32 2001:db8::/32 192.0.2.8/32]" {
		t.Errorf("%v %v", cfg.Proxies(), problems)
	}
	for written, want := range map[string]string{`"nginx"`: `"nginx" is not an address or a network`, `"0.0.0.0/0"`: "trusts every sender", `"::/0"`: "trusts every sender", `7`: "must be a string"} {
		_, problems := Decode("c.json", []byte(`{"servers": [{"url": "https://a.example", "token": "t"}], "trusted_proxies": [`+written+`]}`), env(nil))
		if len(problems) != 1 || !strings.Contains(problems[0].String(), want) {
			t.Errorf("%s: %v", written, problems)
		}
	}
}
