package config

import (
	"reflect"
	"strings"
	"testing"
)

// problems decodes src and compares the messages, without the file's name.
func problems(t *testing.T, src string, want ...string) {
	t.Helper()
	_, found := Decode("c", []byte(src), env(map[string]string{"SECRET": "s3cr3t", "BAD_URL": "s3cr3t.example"}))
	var got []string
	for _, p := range found {
		got = append(got, strings.TrimPrefix(p.String(), "c:"))
	}
	if g, w := strings.Join(got, "\n"), strings.Join(want, "\n"); g != w {
		t.Errorf("%s\ngot:\n%s\nwant:\n%s", src, g, w)
	}
}

// with puts fields before one valid server.
func with(fields string) string {
	return `{` + fields + `, "servers": [{"url": "https://a.example", "token": "sk-1"}]}`
}

// servers returns a file with servers that have no tokens.
func servers(list string) string { return `{"servers": [` + list + `]}` }

func TestAllProblemsInOnePass(t *testing.T) {
	problems(t, `{
  "port": 3000,
  "mode": "fallbak",
  "algoritm": "random",
  "servers": [
    {
      "url": "api.example.com",
      "wieght": 5,
      "weight": -1,
      "token": "${ÄH}",
      "token": "${UNSET} ${ALSO_UNSET}"
    },
    { "weight": 1.5, "balance_check_interval": "soon" }
  ],
  "cooldown": "60",
  "auth": "true",
  "auth_keys": "sk-s3cr3t",
  "debug": null
} x`,
		`2:11: port: error: must be a string, not a number: write "3000"`,
		`3:11: mode: error: "fallbak" is not one of load_balance, fallback, did you mean "fallback"?`,
		`4:3: algoritm: error: unknown field "algoritm", did you mean "algorithm"?`,
		`7:14: servers[0].url: error: must begin with https:// or http://: write "https://api.example.com"`,
		`8:7: servers[0].wieght: error: unknown field "wieght", did you mean "weight"?`,
		`9:17: servers[0].weight: error: must not be negative`,
		`10:16: servers[0].token: error: has a "${" that is not a variable: write ${NAME}, ${NAME:-default} or ${file:/path}, and "$${" for the two characters themselves`,
		`11:7: servers[0].token: error: is written twice, first on line 10: remove one`,
		`11:16: servers[0].token: error: the variable UNSET is not set: export it, or write ${UNSET:-default}`,
		`11:16: servers[0].token: error: the variable ALSO_UNSET is not set: export it, or write ${ALSO_UNSET:-default}`,
		`13:5: servers[1].url: error: is missing`,
		`13:17: servers[1].weight: error: must be a whole number, not 1.5`,
		`13:48: servers[1].balance_check_interval: error: "soon" is not a duration such as "90s" or "10m"`,
		`15:15: cooldown: error: "60" is not a duration with a unit: write 60 without quotes, or "60s"`,
		`16:11: auth: error: must be true or false, not a string: write true without quotes`,
		`17:16: auth_keys: error: must be a list, [ … ], not a string`,
		`18:12: debug: error: must be true or false, not null: leave the field out for its default`,
		`19:3: error: the configuration ends before this: remove the rest, or a bracket too many`,
	)
}

func TestColumnsCountCharacters(t *testing.T) {
	problems(t, "{\r\n\t\"servers\": [{\"name\": \"größe 🦊\", \"url\": \"https://a.example\", \"token\": \"t\", \"x\": 1}]\r\n}",
		`2:76: servers[0].x: error: unknown field "x"`)
}

func TestUnknownFields(t *testing.T) {
	f := func(name, want string) {
		t.Helper()
		problems(t, `{"servers": [{"url": "https://a.example", "token": "t"}], `+name+`: 1}`, `1:59: `+want)
	}
	f(`"_note"`, `_note: error: unknown field "_note": write a comment as // … or /* … */`)
	f(`"token"`, `token: error: unknown field "token": it belongs in servers[]`)
	f(`"idle"`, `idle: error: unknown field "idle": it belongs in timeouts`)
	f(`"wieght"`, `wieght: error: unknown field "wieght", did you mean "weight"? It belongs in servers[]`)
	f(`"jitter"`, `jitter: error: unknown field "jitter", did you mean "jitter_percent"? It belongs in servers[].health_check`)
	f(`"retry_budget"`, `retry_budget: error: unknown field "retry_budget", did you mean "retry_budget_percent"?`)
	f(`"Cool-Down"`, `Cool-Down: error: unknown field "Cool-Down", did you mean "cooldown"?`)
	f(`"a\nb"`, `["a\nb"]: error: unknown field "a\nb"`)
	problems(t, servers(`{"url": "https://a.example", "token": "t", "cooldown": 1}`), `1:57: servers[0].cooldown: error: unknown field "cooldown": it belongs at the top of the file`)
	problems(t, servers(`{"url": "https://a.example", "token": "t", "health_check": {"path": "/", "jitter": 5}}`),
		`1:87: servers[0].health_check.jitter: error: unknown field "jitter", did you mean "jitter_percent"?`)
}

func TestNumbers(t *testing.T) {
	problems(t, with(`"cooldown": -1`), `1:14: cooldown: error: must not be negative`)
	problems(t, with(`"cooldown": "-5s"`), `1:14: cooldown: error: must not be negative`)
	problems(t, with(`"cooldown": 1e400`), `1:14: cooldown: error: is too large`)
	problems(t, with(`"cooldown": "25h"`), `1:14: cooldown: error: must be at most 24h`)
	problems(t, with(`"cooldown": []`), `1:14: cooldown: error: must be a number of seconds or a string such as "90s", not a list`)
	problems(t, with(`"max_body_mb": 0`), `1:17: max_body_mb: error: must be at least 1`)
	problems(t, with(`"max_body_mb": 2048`), `1:17: max_body_mb: error: must be at most 1024`)
	problems(t, with(`"max_body_mb": "64"`), `1:17: max_body_mb: error: must be a whole number, not a string: write 64 without quotes`)
	problems(t, with(`"max_body_mb": 6.4e1`))
	problems(t, with(`"timeouts": {"idle": true}`), `1:23: timeouts.idle: error: must be a number of seconds or a string such as "90s", not true`)
	problems(t, with(`"timeouts": 30`), `1:14: timeouts: error: must be an object, { … }, not a number`)
	problems(t, servers(`{"url": "https://a.example", "token": "t", "balance_check": "c", "balance_check_interval": "1ms"}`),
		`1:105: servers[0].balance_check_interval: error: must be at least 100ms`)
}

func TestAddressesToListenOn(t *testing.T) {
	f := func(field, value, want string) {
		t.Helper()
		problems(t, with(`"`+field+`": `+value), `1:`+want)
	}
	f("port", `"http"`, `10: port: error: "http" is not a number from 0 to 65535`)
	f("port", `"65536"`, `10: port: error: "65536" is not a number from 0 to 65535`)
	f("port", `":3000"`, `10: port: error: ":3000" is not a number from 0 to 65535: write an address in "listen"`)
	f("port", `"${SECRET}"`, `10: port: error: this value is not a number from 0 to 65535`)
	f("listen", `"3000"`, `12: listen: error: "3000" is not an address and port: write ":3000" for every interface or "127.0.0.1:3000" for this machine alone`)
	f("listen", `"localhost"`, `12: listen: error: "localhost" is not an address and port: write "localhost:3000"`)
	f("listen", `"http://localhost:3000"`, `12: listen: error: "http://localhost:3000" is not an address and port such as "127.0.0.1:3000"`)
	f("listen", `"localhost:99999"`, `12: listen: error: "localhost:99999" is not an address and port such as "127.0.0.1:3000"`)
	f("listen", `"${SECRET}"`, `12: listen: error: this value is not an address and port such as "127.0.0.1:3000"`)
	problems(t, with(`"listen": "[::1]:0"`))
	problems(t, with(`"listen": ":3000", "port": "3000"`), `1:29: port: warning: is ignored, because "listen" is written`)
}

func TestURLs(t *testing.T) {
	f := func(url string, want ...string) {
		t.Helper()
		for i := range want {
			want[i] = `1:22: servers[0].url: ` + want[i]
		}
		problems(t, servers(`{"url": "`+url+`", "token": "t"}`), want...)
	}
	f("https://a.example:8443/prefix/")
	f("http://127.0.0.1:8080")
	f("http://[::1]:8080")
	f("HTTP://LOCALHOST")
	f("", "error: is empty")
	f("a.example:8443", `error: must begin with https:// or http://: write "https://a.example:8443"`)
	f("localhost:8080/x", `error: must begin with https:// or http://: write "https://localhost:8080/x"`)
	f("ftp://a.example", "error: must begin with https:// or http://")
	f("${BAD_URL}", "error: must begin with https:// or http://")
	f("https://", "error: has no host")
	f("https:/a.example", "error: has no host")
	f("https://:443", "error: has no host")
	f("https://user:s3cr3t@a.example", `error: must not hold a user or password: write the credential in "token"`)
	f("user:s3cr3t@a.example", "error: must begin with https:// or http://")
	f("https://a.example?key=s3cr3t", "error: must not have a query: remove everything from the ? on")
	f("https://a.example/#", "error: must not have a fragment: remove everything from the # on")
	f("https://a.example:99999", "error: has a port out of range 0 to 65535")
	f("https://a.example:s3cr3t", "error: is not a URL: its port is not a number")
	f("https://a.example/%zz", "error: is not a URL: a % must be followed by two hexadecimal digits")
	f("https://a<b.example", "error: has a host with a character that no host name has")
	f("https://a^b.example", "error: is not a URL: its host has a character that no host name has")
	f("https://a.example/ ", "error: holds a blank or a line break: remove it")
	f("https://ä.example", "error: has a host with a character that no host name has")
	f("http://a.example", "warning: sends prompts and tokens unencrypted: use https:// if the server offers it")
	f("https://a.example/v1/", `warning: ends in /v1, which clients add themselves: write "https://a.example"`)
	f("https://${SECRET}.example/v1/messages", "warning: ends in /v1/messages, which clients add themselves")
}

func TestRulesAcrossFields(t *testing.T) {
	const a = `{"url": "https://a.example", "token": "t"}`
	problems(t, `{}`, `1:1: servers: error: is missing`)
	problems(t, servers(``), `1:13: servers: error: is empty: at least 1 needed`)
	problems(t, servers(a+`, {"url": "https://a.example/", "token": "t"}`), `1:58: servers[1]: warning: has the url and the token of servers[0]: both are one account with one limit`)
	problems(t, servers(`{"url": "https://A.Example:443/x", "token": "t"}, {"url": "https://a.example/x/", "token": "t"}`),
		`1:64: servers[1]: warning: has the url and the token of servers[0]: both are one account with one limit`)
	problems(t, servers(a+`, {"url": "https://a.example:80", "token": "t"}`))
	problems(t, servers(a+`, {"url": "https://a.example", "token": "u"}`))
	problems(t, servers(`{"name": "x", "url": "https://a.example", "token": "t"}, {"name": "x", "url": "https://b.example", "token": "t"}`),
		`1:80: servers[1].name: error: "x" is already the name of servers[0]`)
	problems(t, servers(`{"url": "https://a.example", "token": "t", "weight": 0}`), `1:13: servers: warning: all have weight 0: no server takes new work`)
	problems(t, servers(`{"url": "https://a.example", "token": "t", "weight": 5, "priority": 1, "balance_threshold": 1}`),
		`1:67: servers[0].weight: warning: is ignored with algorithm round_robin: write "algorithm": "weighted_round_robin"`,
		`1:82: servers[0].priority: warning: is ignored in load_balance mode: it ranks servers in fallback mode`,
		`1:106: servers[0].balance_threshold: warning: is ignored without "balance_check"`)
	for _, weighs := range []string{"weighted_round_robin", "least_inflight", "p2c", "cost_aware"} {
		problems(t, `{"algorithm": "`+weighs+`", "servers": [{"url": "https://a.example", "token": "t", "weight": 5}]}`)
	}
	problems(t, `{"mode": "fallback", "algorithm": "random", "servers": [`+a+`, {"url": "https://b.example", "token": "t", "weight": 0, "priority": 1}]}`,
		`1:35: algorithm: warning: is ignored in fallback mode: servers are taken by priority`,
		`1:169: servers[1].priority: warning: is ignored while weight is 0: the server gets no new work`)
	problems(t, with(`"fallback": true`), `1:14: fallback: warning: is deprecated: write "mode": "fallback" instead`)
	problems(t, with(`"fallback": true, "mode": "load_balance"`), `1:14: fallback: warning: is deprecated and ignored, because "mode" is written: remove one of them`)
}

func TestCredentials(t *testing.T) {
	problems(t, with(`"auth": true`), `1:10: auth: error: is on without keys: list at least one in "auth_keys"`)
	problems(t, with(`"auth_keys": ["k"]`), `1:15: auth_keys: warning: is ignored, because "auth" is off: every client is accepted`)
	problems(t, with(`"auth": true, "auth_keys": ["s3cr3t", "", "${SECRET}", 7, "a\nb"]`),
		`1:40: auth_keys[1]: error: is empty: every client could send it`,
		`1:44: auth_keys[2]: error: is the same key as auth_keys[0]: remove one`,
		`1:57: auth_keys[3]: error: must be a string, not a number: put it in quotes`,
		`1:60: auth_keys[4]: error: holds a line break or another control character, which cannot be sent in a header`)
	problems(t, servers(`{"url": "https://a.example", "auth_header": "x-api-key"}`),
		`1:14: servers[0].token: warning: is missing: the credential of the client is passed on`,
		`1:58: servers[0].auth_header: warning: is ignored without "token"`)
	problems(t, `{"auth": true, "auth_keys": ["k"], "servers": [{"url": "https://a.example", "token": ""}]}`,
		`1:86: servers[0].token: warning: is missing: requests go there without a credential, because with auth on the key of the client is not passed on`)
	problems(t, servers(`{"url": "https://a.example", "token": " s3cr3t"}`), `1:52: servers[0].token: error: begins or ends with a blank`)
	problems(t, servers(`{"url": "https://a.example", "token": "Bearer s3cr3t"}`),
		`1:52: servers[0].token: warning: begins with "Bearer", which is added when it is sent: write the token alone`)
}

func TestSyntax(t *testing.T) {
	problems(t, "", `1:1: error: the file is empty: "claude-code-lb init" writes a first one`)
	problems(t, "\xff\xfe{", `1:1: error: the file is UTF-16: save it as UTF-8`)
	problems(t, "{\n\"a\": \"\xe4\"}", `2:7: error: not valid UTF-8: save the file as UTF-8`)
	problems(t, "[]", `1:1: error: must be an object, { … }, not a list`)
	problems(t, "{\n  \"a\": [1, 2\n", `2:8: error: this "[" is never closed`)
	problems(t, "// {\n{ /* [ */ \"}\": 1", `2:1: error: this "{" is never closed`)
	problems(t, `{"token": "s3cr3t`, `1:11: error: this string is never closed`)
	problems(t, "{} /* s3cr3t", `1:4: error: this comment is never closed`)
	problems(t, "{\"a\": 1\n \"b\": 2}", `2:2: error: a comma is missing before this`)
	problems(t, `{"a": [1 2]}`, `1:10: error: expected "," or "]", found "2"`)
	problems(t, `{"a": 1]`, `1:8: error: expected "," or "}", found "]"`)
	problems(t, `{"a" 1}`, `1:6: error: expected ":" after the name of the field`)
	problems(t, `{"a":,}`, `1:6: error: a value is missing before this ","`)
	problems(t, `{a: 1}`, `1:2: error: names and strings are written in double quotes, "like this"`)
	problems(t, `{'a': 1}`, `1:2: error: names and strings are written in double quotes, "like this"`)
	problems(t, `{"token": sk-s3cr3t}`, `1:11: error: names and strings are written in double quotes, "like this"`)
	problems(t, `{"a": True}`, `1:7: error: write true in lower case, and nothing after it`)
	problems(t, `{"a": 30s}`, `1:7: error: not a JSON number: no unit, no leading zero, no plus sign; anything else is a string in double quotes`)
	problems(t, "{\"token\": \"s3cr3t,\n \"b\": 1}", `1:11: error: a string runs over the end of its line: a closing quote is missing`)
	problems(t, "{\"a\": \"\t\"}", `1:7: error: a string holds a control character: write a tab as \t`)
	problems(t, `{"token": "\s3cr3t"}`, `1:11: error: a string has a backslash that means nothing: write \\ for the character itself`)
	problems(t, "{ // \u2028\n}", `1:6: error: a comment cannot hold this invisible line separator`)
	problems(t, "{\"a\": \x01}", `1:7: error: expected a value, found the character U+0001`)
	problems(t, strings.Repeat(" ", maxSource+1), `1:1: error: the file is larger than 1 MiB`)
}

// TestDeepNestingIsAnError checks nesting that would overflow the parser's stack.
func TestDeepNestingIsAnError(t *testing.T) {
	problems(t, strings.Repeat("[", maxSource), `1:101: error: brackets are nested too deeply`)
	problems(t, "{\n"+strings.Repeat(`{"a":`, maxSource/5-10), `2:496: error: brackets are nested too deeply`)
}

func TestPrices(t *testing.T) {
	cfg := decode(t, `{"servers": [{"url": "https://a.example", "token": "t"}], "prices": [{"model": "claude-opus-*", "input": 4, "output": 20}, {"model": "gpt-[45]", "input": 1, "output": 2, "cache_read": 0}, {"model": "*", "fast": 3, "web_search": 0}]}`)
	unset := Price{Input: -1, Output: -1, CacheRead: -1, CacheWrite5m: -1, CacheWrite1h: -1, Fast: -1, Batch: -1, Priority: -1, Flex: -1, US: -1, EU: -1, WebSearch: -1, CodeExecution: -1}
	want := []Price{unset, unset, unset}
	want[0].Model, want[0].Input, want[0].Output = "claude-opus-*", 4, 20
	want[1].Model, want[1].Input, want[1].Output, want[1].CacheRead = "gpt-[45]", 1, 2, 0
	want[2].Model, want[2].Fast, want[2].WebSearch = "*", 3, 0
	if !reflect.DeepEqual(cfg.Prices, want) {
		t.Errorf("%+v", cfg.Prices)
	}
	for _, bad := range []string{`[{"model": "[", "input": 1, "output": 2}]`, `[{"model": "", "input": 1, "output": 2}]`, `[{"model": "a", "output": 2}]`, `[{"model": "a", "input": -1, "output": 2}]`,
		`[{"model": "a", "fast": -3}]`, `[{"model": "a", "above": 5}]`, `[{"model": "a", "cache_read": 1}]`, `[{"model": "a", "input": 1, "output": 2, "slow": 3}]`,
	} {
		if _, problems := Decode("c.json", []byte(`{"servers": [{"url": "https://a.example", "token": "t"}], "prices": `+bad+`}`), env(nil)); !problems.Failed() {
			t.Errorf("%s is accepted", bad)
		}
	}
}
