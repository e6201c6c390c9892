package config

import (
	"strings"
	"testing"
)

func TestErrorRuleProblems(t *testing.T) {
	f := func(rules string, want ...string) {
		t.Helper()
		problems(t, `{"error_rules": [`+rules+`], "servers": [{"url": "https://a.example", "name": "main", "token": "sk-1"}]}`, want...)
	}
	f(`{"status": 400, "scope": "account"}, {"server": "main", "message": "(?i)quota", "scope": "model"}, {"header": "x-down", "scope": "endpoint", "duration": "2h"}`)
	f(`{"scope": "account"}`, `1:18: error_rules[0]: error: has no condition: write at least one of server, status, type, message, header`)
	f(`{"status": 400}`, `1:18: error_rules[0].scope: error: is missing`)
	f(`{"status": 400, "scope": "acount"}`, `1:43: error_rules[0].scope: error: "acount" is not one of request, credential, account, model, rate_limit, capacity, endpoint, did you mean "account"?`)
	f(`{"status": 200, "scope": "model"}`, `1:29: error_rules[0].status: error: must be at least 400: rules judge errors`)
	f(`{"status": 600, "scope": "model"}`, `1:29: error_rules[0].status: error: must be at most 599`)
	f(`{"message": "(quota", "scope": "model"}`, `1:30: error_rules[0].message: error: "(quota" is not a regular expression: missing closing ) at "(quota"`)
	f(`{"header": "x-a: [", "scope": "model"}`, `1:29: error_rules[0].header: error: "x-a: [" is not a regular expression: missing closing ] at "["`)
	f(`{"header": "x a", "scope": "model"}`, `1:29: error_rules[0].header: error: "x a" does not begin with the name of a header: write "name" or "name: expression"`)
	f(`{"server": "mian", "scope": "model"}`, `1:29: error_rules[0].server: error: "mian" is not the name of a server, did you mean "main"?`)
	f(`{"server": "${SECRET}", "scope": "model"}`, `1:29: error_rules[0].server: error: this value is not the name of a server`)
	f(`{"message": "(${SECRET}", "scope": "model"}`, `1:30: error_rules[0].message: error: this value is not a regular expression: missing closing )`)
	f(`{"header": "${SECRET}: [", "scope": "model"}`, `1:29: error_rules[0].header: error: this value is not a regular expression: missing closing ]`)
	f(`7`, `1:18: error_rules[0]: error: must be an object, { … }, not a number`)
	f(`{"status": 400, "scope": "request", "duration": 5}`, `1:66: error_rules[0].duration: warning: is ignored with scope "request": this scope causes no cooldown`)
	f(`{"status": 400, "scope": "model"}, {"status": 400, "scope": "account"}`, `1:53: error_rules[1]: warning: never fits: error_rules[0] has the same conditions and comes first`)
}

// TestErrorRuleServers checks that a server's name from a variable is not suggested, and that a
// server that could not be decoded may be the one in the rule.
func TestErrorRuleServers(t *testing.T) {
	f := func(servers string, want ...string) {
		t.Helper()
		problems(t, `{"error_rules": [{"server": "s3cr3", "scope": "model"}], "servers": [`+servers+`]}`, want...)
	}
	const unknown = `1:29: error_rules[0].server: error: "s3cr3" is not the name of a server`
	f(`{"url": "https://a.example", "name": "${SECRET}", "token": "t"}`, unknown)
	f(`{"url": "https://${SECRET}", "token": "t"}`, unknown)
	f(`{"url": "https://s3cr4", "token": "t"}`, unknown+`, did you mean "s3cr4"?`)
	f(`{"url": "https://s3cr3", "token": "t"}`)
	f(`{"url": "s3cr3", "token": "t"}`, `1:78: servers[0].url: error: must begin with https:// or http://: write "https://s3cr3"`)
}

func TestNames(t *testing.T) {
	problems(t, servers(`{"url": "https://a.example", "token": "t", "account": "team"}, {"url": "https://b.example", "token": "t", "account": ""}`))
	problems(t, servers(`{"url": "https://a.example", "token": "t", "account": "a\nb"}`), `1:68: servers[0].account: error: must be one line of at most 100 bytes, without control characters`)
	for _, name := range []string{`a\u0007b`, `a\u2028b`, `\u202eevil`, strings.Repeat("x", 101)} {
		problems(t, servers(`{"url": "https://a.example", "token": "t", "name": "`+name+`"}`), `1:65: servers[0].name: error: must be one line of at most 100 bytes, without control characters`)
	}
	problems(t, servers(`{"url": "https://a.example", "token": "t", "name": "主; a: b 👨‍👩‍👧"}`))
}

func TestFailoverWarnings(t *testing.T) {
	two := `, "servers": [{"url": "https://a.example", "token": "sk-1"}, {"url": "https://b.example", "token": "sk-2"}]}`
	problems(t, `{"max_attempts": 1`+two, `1:18: max_attempts: warning: of 1 switches failover off: no request is sent to a second server`)
	problems(t, with(`"max_attempts": 1`))
	problems(t, with(`"hedge": true`), `1:11: hedge: warning: is ignored with a single server`)
	problems(t, `{"hedge": true`+two)
	problems(t, with(`"stream_keepalive": 40, "timeouts": {"total": 30, "response_header": 9}`), `1:22: stream_keepalive: warning: never begins before an answer: timeouts.total ends the request sooner`)
	problems(t, with(`"max_wait": 40, "timeouts": {"total": 30, "response_header": 9}`), `1:14: max_wait: warning: is cut short by timeouts.total`)
	problems(t, with(`"timeouts": {"response_header": "5m"}`), `1:34: timeouts.response_header: warning: is not below timeouts.total (4m40s): a server that hangs leaves no time for another one`)
	problems(t, with(`"timeouts": {"response_header": 0}`), `1:34: timeouts.response_header: warning: is not below timeouts.total (4m40s): a server that hangs leaves no time for another one`)
	problems(t, with(`"timeouts": {"total": 120}`), `1:24: timeouts.total: warning: is not above timeouts.response_header (2m): a server that hangs leaves no time for another one`)
	problems(t, with(`"timeouts": {"total": 121}`))
	problems(t, with(`"timeouts": {"total": 0, "response_header": "1h"}`))
}
