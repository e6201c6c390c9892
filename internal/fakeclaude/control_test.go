package fakeclaude

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/fakeclaude/fault"
)

func TestControlFaults(t *testing.T) {
	u := serve(t, Options{})
	got := u.do("PUT", "/_fake/faults", `["status=529,count=1", {"fault":{"kind":"status","status":500},"count":1,"stream":false}, {"fault":"html","p":1}]`)
	if got.status != 200 {
		t.Fatalf("%d %s", got.status, got.body)
	}
	for i, want := range []int{529, 500, 200} {
		if got := u.ask(body(false, "")); got.status != want {
			t.Errorf("request %d: status %d, want %d", i, got.status, want)
		}
	}
	var rules []fault.Rule
	if err := json.Unmarshal(u.do("GET", "/_fake/faults", "").body, &rules); err != nil || len(rules) != 3 || rules[2].Fault.Kind != fault.HTML {
		t.Errorf("rules are %+v (%v)", rules, err)
	}
	u.do("POST", "/_fake/script", `["status=503"]`)
	if got := u.do("DELETE", "/_fake/faults", ""); got.status != 200 || string(got.body) != "[]\n" {
		t.Errorf("%d %s", got.status, got.body)
	}
	usageOf(t, u.ask(body(false, "")))
}

func TestControlScript(t *testing.T) {
	u := serve(t, Options{})
	if got := u.do("POST", "/_fake/script", `[null, "", "status=529", {"kind":"status","status":503}]`); got.status != 200 {
		t.Fatalf("%d %s", got.status, got.body)
	}
	for i, want := range []int{200, 200, 529} {
		if got := u.ask(body(false, "")); got.status != want {
			t.Errorf("request %d: status %d, want %d", i, got.status, want)
		}
	}
	if left := u.do("GET", "/_fake/script", ""); !strings.Contains(string(left.body), "503") || strings.Contains(string(left.body), "529") {
		t.Errorf("left is %s", left.body)
	}
}

func TestControlAppliesNothingOfInvalidInput(t *testing.T) {
	u := serve(t, Options{})
	f := func(method, path, body, want string) {
		t.Helper()
		got := u.do(method, "/_fake/"+path, body)
		var e controlError
		if err := json.Unmarshal(got.body, &e); err != nil || got.status != 400 || !strings.Contains(e.Error, want) {
			t.Errorf("%s %s %s: %d %s", method, path, body, got.status, got.body)
		}
	}
	f("PUT", "faults", ``, "empty")
	f("PUT", "faults", `{`, "unexpected EOF")
	f("PUT", "faults", `[] []`, "more than one")
	f("PUT", "faults", `["html", {"fault":"html","chance":0.5}]`, `unknown field "chance"`)
	f("PUT", "faults", `[{"fault":{"kind":"html","sttus":4}}]`, `unknown field "sttus"`)
	f("PUT", "faults", `[{"fault":{"kind":"explode"}}]`, "unknown kind")
	f("PUT", "faults", `[{"p":0.5}]`, "which fault")
	f("PUT", "faults", `[null]`, "which fault")
	f("PUT", "faults", `[{"fault":"html","p":1.5}]`, "p is 1.5")
	f("PUT", "faults", `[{"fault":"html","count":-1}]`, "count is negative")
	f("PUT", "faults", `[{"fault":"html","from":"soon"}]`, `duration "soon"`)
	f("POST", "script", `["html,p=0.5"]`, "belong to rules only")
	f("POST", "script", `[{"status":500}]`, "kind is missing")
	f("PUT", "settings", `{"first_tokn":1}`, `unknown field "first_tokn"`)
	f("PUT", "settings", `{"first_token":-1}`, "negative")
	f("PUT", "settings", `{"min_output":9,"max_output":3}`, "below min_output")
	f("PUT", "settings", `{"limits":{"requests":-1}}`, "negative")
	f("GET", "requests?limit=x", ``, "limit is")
	if len(u.Faults()) != 0 || len(u.ScriptLeft()) != 0 {
		t.Errorf("faults are %+v, script %+v", u.Faults(), u.ScriptLeft())
	}
	if got := u.do("GET", "/_fake/nothing", ""); got.status != 404 {
		t.Errorf("status %d", got.status)
	}
}

func TestControlSettingsKeepTheOthers(t *testing.T) {
	u := serve(t, Options{Settings: Settings{MinOutput: 5, MaxOutput: 6, Limits: Limits{Requests: 100}}})
	got := u.do("PUT", "/_fake/settings", `{"first_token":"5ms","token_interval":0.001,"limits":{"input_tokens":9000}}`)
	if got.status != 200 {
		t.Fatalf("%d %s", got.status, got.body)
	}
	s := u.Settings()
	if s.FirstToken != Duration(5*time.Millisecond) || s.TokenInterval != Duration(time.Millisecond) || s.MaxOutput != 6 ||
		s.Limits != (Limits{Requests: 100, InputTokens: 9000}) {
		t.Errorf("settings are %+v", s)
	}
	if h := u.ask(body(false, "")).header; h.Get("Anthropic-Ratelimit-Input-Tokens-Limit") != "9000" || h.Get("Anthropic-Ratelimit-Requests-Remaining") != "99" {
		t.Errorf("headers are %v", h)
	}
}

func TestControlRequestsAndStats(t *testing.T) {
	u := serve(t, Options{})
	u.ask(body(true, ""))
	u.ask("\xff")
	if err := u.WaitIdle(t.Context()); err != nil {
		t.Fatal(err)
	}
	got := u.do("GET", "/_fake/requests", "")
	var list []requestView
	if err := json.Unmarshal(got.body, &list); err != nil || len(list) != 2 {
		t.Fatalf("%s (%v)", got.body, err)
	}
	if list[0].Body != body(true, "") || string(list[1].BodyBase64) != "\xff" || list[1].Body != "" {
		t.Errorf("bodies are %q and %q", list[0].Body, list[1].BodyBase64)
	}
	if key := list[0].Header.Get("X-Api-Key"); key != "[redacted]-key" {
		t.Errorf("the key is shown as %q", key)
	}
	if err := json.Unmarshal(u.do("GET", "/_fake/requests?limit=1", "").body, &list); err != nil || len(list) != 1 || list[0].Status != 400 {
		t.Errorf("the last request is %+v (%v)", list, err)
	}
	var stats Stats
	if err := json.Unmarshal(u.do("GET", "/_fake/stats", "").body, &stats); err != nil || stats.Requests != 2 || stats.ByStatus[400] != 1 {
		t.Errorf("stats are %+v (%v)", stats, err)
	}
}

func TestControlReset(t *testing.T) {
	u := serve(t, Options{Settings: Settings{CacheMin: 1, Limits: Limits{Requests: 3}}})
	request := body(false, `"system":[`+text("s", 10, "5m")+`]`)
	first := u.ask(request)
	u.ask(request)
	u.SetFaults(fault.Rule{Fault: overloaded()})
	if got := u.do("POST", "/_fake/reset", ""); got.status != 200 {
		t.Fatalf("%d %s", got.status, got.body)
	}
	again := u.ask(request)
	if again.status != 200 || string(again.body) != string(first.body) || again.header.Get("Anthropic-Ratelimit-Requests-Remaining") != "2" {
		t.Errorf("first %s, after the reset %s %v", first.body, again.body, again.header)
	}
	if err := u.WaitIdle(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(u.Requests()) != 1 || u.Stats().Requests != 1 {
		t.Errorf("stats are %+v", u.Stats())
	}
}
