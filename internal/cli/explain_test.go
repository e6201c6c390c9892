package cli

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/9bingyin/claude-code-lb/internal/service"
)

func explain(t *testing.T, paste string, args ...string) (out, errs string, status int) {
	t.Helper()
	status, out, errs = runCommand(t, "explain-error", paste, nil, args...)
	return out, errs, status
}

const creditError = `{"type":"error","error":{"type":"invalid_request_error","message":"Your credit balance is too low to access the Anthropic API."}}`

// explains returns a check that explain-error accepts a paste and prints some texts.
func explains(t *testing.T) func(paste string, args []string, want ...string) {
	return func(paste string, args []string, want ...string) {
		t.Helper()
		out, errs, status := explain(t, paste, args...)
		if status != service.ExitOK || errs != "" {
			t.Errorf("%q: status %d, %s", paste, status, errs)
		}
		for _, w := range want {
			if !strings.Contains(out, w) {
				t.Errorf("%q %q: no %q in\n%s", paste, args, w, out)
			}
		}
	}
}

func TestExplainError(t *testing.T) {
	f := explains(t)
	f("HTTP/1.1 429 Too Many Requests\r\nRetry-After: 12\r\n\r\n{}", nil, "read as     status 429, no error of the API", "scope       rate_limit", "for 12s", "costs nothing")
	f("HTTP/2 400\ncontent-type: application/json\n\n"+creditError, nil, "status 400, type invalid_request_error", "scope       account", "every server with this account, for 1m0s, doubled")
	f(creditError, []string{"-own-credential"}, "scope       request: the request, or a peculiarity", "cooldown    none")
	f("HTTP/1.1 100 Continue\n\nHTTP/1.1 529\n\n", nil, "scope       capacity", "for a second or two")
	f("*   Trying 1.2.3.4:443...\n> POST /v1/messages HTTP/2\n> x-api-key: sk-ant-api03-secret\n>\n< HTTP/2 404\n< content-type: application/json\n<\n{ [90 bytes data]\n"+
		`{"type":"error","error":{"type":"not_found_error","message":"model: claude-x"}}`, []string{"-model", "claude-x"}, "scope       model")
	f("event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}", nil, "with an error inside", "scope       capacity", "may be billed")
	f("<html>busy</html>", []string{"-status", "503", "-path", "/v1/messages/count_tokens?beta=true"}, "cooldown    only count_tokens on this server (messages continue)")
	f("<html>none</html>", []string{"-status", "404", "-path", "/v1/models"}, "scope       endpoint", "cooldown    only models on")
	f("<html>busy</html>", []string{"-status", "503", "-path", "/v1/messages"}, "cooldown    this server")
	f("<html>busy</html>", []string{"-status", "503"}, "scope       endpoint: the server itself")
	f("<html>no</html>", []string{"-status", "418"}, "another server is asked; two equal refusals")
	f(`{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long"}}`, nil, "gets the response unchanged", "cooldown    none")
	f("HTTP/1.1 200 OK\n\n{\"type\":\"message\",\"content\":[],\"usage\":{\"output_tokens\":3}}", nil, "scope       none: nothing is wrong")
	f("HTTP/1.1 200 OK\n\n{\"input_tokens\":3}", nil, "scope       none: nothing is wrong")
	f("$ curl -i https://a.example/v1/messages\nHTTP/1.1 503 Busy\n\n", nil, "status 503", "scope       endpoint")
}

func TestExplainUnusableResponses(t *testing.T) {
	f := explains(t)
	f("HTTP/1.1 200 OK\ncontent-type: text/html\n\n<html>Log in</html>", nil, "status 200, unusable response: a web page, not a message of the API", "scope       endpoint", "may be billed")
	f("<!DOCTYPE html><p>Log in</p>", []string{"-status", "200"}, "unusable response: a web page", "does not notice while another server can respond")
	f("HTTP/1.1 200 OK\ncontent-type: text/html\n\n<script>e = {\"error\":{\"type\":\"overloaded_error\"}}</script>", nil, "unusable response: a web page", "scope       endpoint")
	f("HTTP/1.1 200 OK\n\n{\"code\":500,\"msg\":\"404 NOT_FOUND\"}", nil, "unusable response: not a message of the API", "scope       endpoint")
	f("HTTP/1.1 200 OK\ncontent-length: 0\n\n", nil, "unusable response: it is empty", "scope       endpoint")
	f("HTTP/1.1 302 Found\nlocation: https://a.example/login\n\n", nil, "status 302, unusable response: neither a 200 nor an error", "scope       endpoint")
	f("event: message_start\ndata: {}\n\n", []string{"-status", "200"}, "not a message of the API")
	f("event: message_start\ndata: {}\n\nevent: content_block_start\ndata: {}\n\nevent: error\ndata: "+creditError, nil, "has content already")
}

func TestExplainErrorsAsClientsShowThem(t *testing.T) {
	f := explains(t)
	overloaded := `{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"},"request_id":"req_1"}`
	f("API Error: 529 "+overloaded, nil, "status 529, type overloaded_error", "scope       capacity")
	f("  ⎿  API Error (529 "+overloaded+") · Retrying in 1 seconds… (attempt 1/10)", nil, "status 529, type overloaded_error", "scope       capacity")
	f("the relay said "+creditError, nil, "scope       account")
	f("529 "+overloaded, nil, "status 529, type overloaded_error")
	f("HTTP/1.1 529 "+overloaded, nil, "status 529, type overloaded_error")
	f("HTTP/1.1 529 Overloaded\nretry-after: 9\n"+overloaded, nil, "status 529, type overloaded_error", "for 9s")
	f("HTTP/2 529 …", nil, "status 529, no error of the API")
	f("  ⎿  API Error (529 {...}) · Retrying in 1 seconds…", nil, "status 529, no error of the API", "scope       capacity")
	f("upstream {a} b:443 at 10:00:00.503: "+overloaded+" 529", nil, "status 529, type overloaded_error")
	f("dial b:443: status:503", nil, "status 503")
	f("it was 503", []string{"-status", "529"}, "status 529")
	f("API Error: Repeated 529 Overloaded errors", nil, "status 529, no error of the API", "scope       capacity")
}

func TestExplainErrorsOfOtherVendors(t *testing.T) {
	f := explains(t)
	f(`{"error":{"code":"model_not_found","message":"No available channel for model x"}}`, []string{"-status", "503", "-model", "x"}, "scope       model")
	f("HTTP/1.1 403 Forbidden\nContent-Type: application/json\n\n"+`{"code":403,"msg":"余额不足"}`, nil, "scope       account")
	f("HTTP/1.1 404 Not Found\nContent-Type: text/plain\n\n404 page not found", nil, "scope       endpoint")
	f("event: error\ndata: {\"error\":{\"code\":\"insufficient_user_quota\",\"message\":\"x\"}}", nil, "scope       account")
	f(`{"type":"error","error":{"type":"policy_blocked","message":"x"}}`, []string{"-status", "403"}, "scope       request", "gets the response unchanged")
}

func TestExplainCooldowns(t *testing.T) {
	f := explains(t)
	f("HTTP/1.1 429 Too Many\nRetry-After-Ms: 1500\n\n{}", nil, "for 1.5s\n")
	f("HTTP/1.1 503 Busy\nRetry-After: 86400\n\n", nil, "for 1h0m0s at a time: the response asks for 24h0m0s, until 2")
	f("HTTP/1.1 429 Later\nRetry-After: 259200\n\n", nil, "for 1h0m0s at a time: the response asks for 3 days, until 2")
	f("HTTP/1.1 429 Later\nRetry-After: 1e99\n\n", nil, "for 1h0m0s at a time: the response asks for 366 days, until 2")
	f("HTTP/1.1 529\nRetry-After: 90\n\n", nil, "for 1m0s at a time: the response asks for 1m30s\n")
	f(`{"type":"error","error":{"type":"rate_limit_error","message":"x","details":{"error_code":"enforced_spend_limit_reached"}}}`, nil,
		"code enforced_spend_limit_reached", "scope       account", "-01 00:00 UTC")
}

// TestExplainErrorShowsNoSecret checks that no pasted text is shown, because it may contain a
// credential.
func TestExplainErrorShowsNoSecret(t *testing.T) {
	const secret = "sk-ant-api03-s3cr3t"
	for _, paste := range []string{
		"> x-api-key: " + secret + "\n< HTTP/1.1 401 No\n< x-key: " + secret + "\n<\n" + `{"error":{"type":"` + secret + `","message":"` + secret + `","details":{"error_code":"` + secret + `"}}}`,
		"HTTP/1.1 401 " + secret + "\n" + secret + "\n\n",
		"HTTP/1.1 200 OK\nx: " + secret + "\n\n" + secret,
		secret,
	} {
		out, errs, _ := explain(t, paste)
		if strings.Contains(out+errs, "s3cr3t") || strings.Contains(out+errs, "sk-") {
			t.Errorf("%q: %s%s", paste, out, errs)
		}
	}
}

func TestExplainErrorThroughMain(t *testing.T) {
	file := writeConfig(t, `{"servers": [{"url": "https://a.example", "token": "t"}], "error_rules": [{"status": 400, "scope": "capacity"}]}`)
	var out, errs strings.Builder
	std := service.Std{In: strings.NewReader(creditError), Out: &out, Err: &errs, Env: func(string) (string, bool) { return "", false }}
	if status := Main([]string{"-c", file, "explain-error"}, std); status != service.ExitOK || errs.String() != "" || !strings.Contains(out.String(), "error_rules[0]") {
		t.Errorf("status %d\n%s%s", status, &out, &errs)
	}
}

func TestExplainErrorByRules(t *testing.T) {
	file := writeConfig(t, `{"servers": [{"url": "https://a.example", "name": "relay", "token": "t"}], "cooldown": 7, "breaker": {"consecutive": 3},
		"error_rules": [{"server": "relay", "status": 400, "message": "quota", "scope": "account", "duration": "20h"}, {"status": 418, "scope": "endpoint"}]}`)
	out, errs, _ := explain(t, "the quota is used up", "-c", file, "-server", "relay", "-status", "400")
	if !strings.Contains(out, "decided by  error_rules[0], "+file+":2\n") || !strings.Contains(out, "for 20h0m0s, until ") || strings.Contains(out, "at a time") {
		t.Errorf("by the first rule:\n%s%s", out, errs)
	}
	out, _, _ = explain(t, "short and stout", "-c", file, "-status", "418")
	if !strings.Contains(out, "decided by  error_rules[1]") || !strings.Contains(out, "after 3 failures in a row or 50 % of its attempts, for 7s, doubled") {
		t.Errorf("by the second rule:\n%s", out)
	}
}

func TestExplainErrorRefuses(t *testing.T) {
	f := func(paste, want string, args ...string) {
		t.Helper()
		if out, errs, status := explain(t, paste, args...); status != service.ExitUsage || out != "" || !strings.Contains(errs, want) {
			t.Errorf("%q %q: status %d, %q, %q", paste, args, status, out, errs)
		}
	}
	f("", "there is no response")
	f("hello", "no status, no error of the API")
	f("request 42429 at b:443", "no status, no error of the API")
	f("HTTP/1.1 500 Oops\nno colon here\n\n", "the response header cannot be read")
	f("x", "-status 42: want a status", "-status", "42")
	f("x", "no such file", "-f", filepath.Join(t.TempDir(), "none"))
	f("x", "no such file", "-c", filepath.Join(t.TempDir(), "none"))
	f("x", "has errors", "-c", writeConfig(t, "{}"))
	f("x", `has no server named "other"`, "-server", "other", "-c", writeConfig(t, `{"servers": [{"url": "https://a.example", "token": "t"}]}`))
}

func FuzzParsePaste(f *testing.F) {
	f.Add([]byte("HTTP/1.1 429 Slow\nRetry-After: 1\n\n{}"))
	f.Add([]byte("* x\n> y\n< HTTP/2 500\n< a: b\n<\nbody"))
	f.Add([]byte("API Error (529 {} {\"error\":\"x\"}) 500"))
	f.Add([]byte("event: error\ndata: {\"error\":\"x\"}"))
	f.Fuzz(func(t *testing.T, text []byte) {
		a, err := parsePaste(text)
		if err == nil && a.status != 0 && (a.status < 0 || a.status > 999) {
			t.Errorf("status %d", a.status)
		}
		if a.event && a.err == nil {
			t.Error("an event without an error")
		}
	})
}
