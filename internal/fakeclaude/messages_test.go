package fakeclaude

import (
	"bytes"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/9bingyin/claude-code-lb/internal/claude"
)

func TestEventsOfAStream(t *testing.T) {
	u := serve(t, Options{Seed: 7})
	got := u.ask(body(true, thinking+","+bashTool+","+anyTool))
	if got.err != nil || got.status != http.StatusOK {
		t.Fatalf("status %d, error %v", got.status, got.err)
	}
	if ct := got.header.Get("Content-Type"); !strings.HasPrefix(ct, "text/event-stream") {
		t.Errorf("Content-Type is %q", ct)
	}
	names, m, datas := replay(got.body)
	if want := []string{
		"message_start", "ping",
		"content_block_start", "content_block_delta", "content_block_stop",
		"content_block_start", "content_block_delta", "content_block_stop",
		"content_block_start", "content_block_delta", "content_block_stop",
		"message_delta", "message_stop",
	}; !slices.Equal(slices.Compact(names), want) {
		t.Errorf("events are %v", names)
	}
	if m.StopReason != "tool_use" || !m.Stopped || m.Usage.OutputTokens == 0 || m.Usage.ServiceTier != "standard" {
		t.Errorf("message is %+v", m)
	}
	checkBlocks(t, datas)
}

// checkBlocks joins the deltas as a client does.
func checkBlocks(t *testing.T, datas [][]byte) {
	t.Helper()
	type block struct{ kind, text, signature, input string }
	var blocks []block
	for _, data := range datas {
		var e struct {
			Type  string `json:"type"`
			Index int    `json:"index"`
			Block struct {
				Type string `json:"type"`
			} `json:"content_block"`
			Delta struct {
				Text      string `json:"text"`
				Thinking  string `json:"thinking"`
				Signature string `json:"signature"`
				Partial   string `json:"partial_json"`
			} `json:"delta"`
		}
		if err := json.Unmarshal(data, &e); err != nil {
			t.Fatalf("data %s: %v", data, err)
		}
		switch e.Type {
		case "content_block_start":
			if e.Index != len(blocks) {
				t.Fatalf("block %d starts as number %d", len(blocks), e.Index)
			}
			blocks = append(blocks, block{kind: e.Block.Type})
		case "content_block_delta":
			b := &blocks[e.Index]
			b.text += e.Delta.Text + e.Delta.Thinking
			b.signature += e.Delta.Signature
			b.input += e.Delta.Partial
		}
	}
	if len(blocks) != 3 {
		t.Fatalf("blocks are %+v", blocks)
	}
	if b := blocks[0]; b.kind != "thinking" || b.text == "" || len(b.signature) < 100 {
		t.Errorf("thinking block is %+v", b)
	}
	if b := blocks[1]; b.kind != "text" || b.text == "" {
		t.Errorf("text block is %+v", b)
	}
	var input struct {
		Command string `json:"command"`
		Mode    string `json:"mode"`
		Depth   int    `json:"depth"`
	}
	if err := json.Unmarshal([]byte(blocks[2].input), &input); err != nil || input.Command == "" || input.Depth == 0 ||
		(input.Mode != "fast" && input.Mode != "café") {
		t.Errorf("tool input is %s (%v)", blocks[2].input, err)
	}
}

func TestPlainResponseEqualsTheStream(t *testing.T) {
	u := serve(t, Options{Seed: 7})
	got := u.ask(body(false, thinking+","+bashTool+","+anyTool))
	m, ok := claude.ParseMessage(got.body)
	if !ok || m.StopReason != "tool_use" || m.Model != testModel || !strings.HasPrefix(m.ID, "msg_01") {
		t.Fatalf("message is %+v of %s", m, got.body)
	}
	if m.Usage.InputTokens == 0 || m.Usage.OutputTokens < 20 || m.Usage.ServiceTier != "standard" {
		t.Errorf("usage is %+v", m.Usage)
	}
	var content struct {
		Content []struct {
			Type string `json:"type"`
		} `json:"content"`
	}
	if err := json.Unmarshal(got.body, &content); err != nil || len(content.Content) != 3 || content.Content[2].Type != "tool_use" {
		t.Errorf("content is %+v (%v)", content, err)
	}
}

func TestToolChoice(t *testing.T) {
	s := New(Options{})
	f := func(members, want string) {
		t.Helper()
		m, _ := claude.ParseMessage(direct(t, s, body(false, members)).body)
		if m.StopReason != want {
			t.Errorf("%s: stop_reason is %q, want %q", members, m.StopReason, want)
		}
	}
	f("", "end_turn")
	f(anyTool, "end_turn")
	f(bashTool+`,"tool_choice":{"type":"none"}`, "end_turn")
	f(bashTool+`,"tool_choice":{"type":"tool","name":"bash"}`, "tool_use")
	f(bashTool+","+anyTool, "tool_use")
}

func TestMaxTokensTruncatesTheReply(t *testing.T) {
	s := New(Options{Settings: Settings{MinOutput: 50, MaxOutput: 50}})
	f := func(maxTokens, wantTokens int64, wantStop string) {
		t.Helper()
		request := strings.Replace(body(false, ""), "4096", string(mustMarshal(maxTokens)), 1)
		m, ok := claude.ParseMessage(direct(t, s, request).body)
		if !ok || m.StopReason != wantStop || m.Usage.OutputTokens != wantTokens {
			t.Errorf("max_tokens %d: %+v", maxTokens, m)
		}
	}
	f(100, 50, "end_turn")
	f(50, 50, "end_turn")
	f(10, 10, "max_tokens")
	f(0, 0, "max_tokens") // only writes to the cache
}

func TestInvalidRequests(t *testing.T) {
	u := serve(t, Options{})
	f := func(body string, status int, wantType claude.ErrorType, wantMessage string) {
		t.Helper()
		got := u.ask(body)
		e := errorOf(t, got)
		if got.status != status || e.Type != wantType || !strings.Contains(e.Message, wantMessage) {
			t.Errorf("%.60s: %d %+v", body, got.status, e)
		}
		if e.RequestID == "" || e.RequestID != got.header.Get("Request-Id") {
			t.Errorf("request id is %q in the body, %q in the header", e.RequestID, got.header.Get("Request-Id"))
		}
	}
	bad := claude.ErrInvalidRequest
	f(`{"model":`, 400, bad, "not valid JSON")
	f(``, 400, bad, "not valid JSON")
	f(`{"max_tokens":1,"messages":[{"role":"user","content":"x"}]}`, 400, bad, "model: Field required")
	f(`{"model":"claude-x","messages":[{"role":"user","content":"x"}]}`, 400, bad, "max_tokens: Field required")
	f(`{"model":"claude-x","max_tokens":-1,"messages":[{"role":"user","content":"x"}]}`, 400, bad, "max_tokens")
	f(`{"model":"claude-x","max_tokens":"1","messages":[]}`, 400, bad, "max_tokens")
	f(`{"model":"claude-x","max_tokens":1}`, 400, bad, "messages: Field required")
	f(`{"model":"claude-x","max_tokens":1,"messages":[]}`, 400, bad, "at least one message")
	f(`{"model":"claude-x","max_tokens":1,"messages":"x"}`, 400, bad, "messages: Input should be")
	f(`{"model":"claude-x","max_tokens":1,"messages":[{"role":"user"}]}`, 400, bad, "messages.0.content: Field required")
	f(`{"model":"claude-x","max_tokens":1,"messages":[{"role":"user","content":[7]}]}`, 400, bad, "messages.0.content.0")
	f(`{"model":"claude-x","max_tokens":1,"messages":[{"role":"user","content":7}]}`, 400, bad, "messages.0.content")
	f(`{"model":"claude-x","max_tokens":1,"tools":7,"messages":[{"role":"user","content":"x"}]}`, 400, bad, "tools")
	f(`{"model":"gpt-4","max_tokens":1,"messages":[{"role":"user","content":"x"}]}`, 404, claude.ErrNotFound, "model: gpt-4")
	f(body(false, `"system":"`+strings.Repeat("x", 4_100_000)+`"`), 400, bad, "prompt is too long: 1025003 tokens > 1000000 maximum")
	f(body(false, `"system":"`+strings.Repeat("x", maxBody)+`"`), 413, claude.ErrTooLarge, "maximum size")
}

func TestRolesAreNotChecked(t *testing.T) {
	got := direct(t, New(Options{}), `{"model":"claude-x","max_tokens":9,"messages":[{"role":"system","content":"x"},{"role":"user","content":[]}]}`)
	usageOf(t, got)
}

func TestPathsAndMethods(t *testing.T) {
	u := serve(t, Options{})
	f := func(method, path string, status int) {
		t.Helper()
		got := u.do(method, path, "{}")
		if e := errorOf(t, got); got.status != status || e.RequestID == "" || got.header.Get("Anthropic-Organization-Id") == "" {
			t.Errorf("%s %s: %d %+v", method, path, got.status, e)
		}
	}
	f("POST", "/v1/nothing", 404)
	f("GET", "/", 404)
	f("GET", "/v1/messages", 405)
	f("GET", "/v1/messages/count_tokens", 405)
	f("POST", "/v1/models", 405)
	f("DELETE", "/v1/models/claude-opus-5", 405)
	f("GET", "/v1/models/gpt-4", 404)
	f("POST", "/v1/messages", 400)
}

func TestCredentials(t *testing.T) {
	big := NewAccount("big", Limits{})
	s := New(Options{Name: "own", Keys: []string{"k1"}, Accounts: map[string]*Account{"k2": big}})
	f := func(set func(http.Header), status int, organization string) {
		t.Helper()
		r := newRequest(t, "POST", "http://fake/v1/messages", body(false, ""))
		r.Header.Del("X-Api-Key")
		set(r.Header)
		w := newRecorder(s, r)
		if w.Code != status || w.Header().Get("Anthropic-Organization-Id") != organization {
			t.Errorf("%v: status %d, organization %q", r.Header, w.Code, w.Header().Get("Anthropic-Organization-Id"))
		}
	}
	own := s.Account().Organization()
	f(func(h http.Header) { h.Set("X-Api-Key", "k1") }, 200, own)
	f(func(h http.Header) { h.Set("Authorization", "Bearer k1") }, 200, own)
	f(func(h http.Header) { h.Set("Authorization", "bearer k2") }, 200, big.Organization())
	f(func(h http.Header) { h.Set("X-Api-Key", "k2"); h.Set("Authorization", "Bearer no") }, 200, big.Organization())
	f(func(h http.Header) { h.Set("X-Api-Key", "k3") }, 401, own)
	f(func(h http.Header) { h.Set("Authorization", "Basic k1") }, 401, own)
	f(func(h http.Header) {}, 401, own)
	f(func(h http.Header) { h.Set("X-Api-Key", "k1"); h.Del("Anthropic-Version") }, 400, own)
	if big.Organization() == own {
		t.Error("two accounts have one organization")
	}
}

func TestAnyCredentialIsAcceptedWithoutKeys(t *testing.T) {
	s := New(Options{})
	r := newRequest(t, "POST", "http://fake/v1/messages", body(false, ""))
	r.Header.Set("X-Api-Key", "whatever")
	if w := newRecorder(s, r); w.Code != 200 {
		t.Errorf("status %d with a credential", w.Code)
	}
	r = newRequest(t, "POST", "http://fake/v1/messages", body(false, ""))
	r.Header.Del("X-Api-Key")
	if w := newRecorder(s, r); w.Code != 401 || !strings.Contains(w.Body.String(), `"authentication_error"`) {
		t.Errorf("status %d without one: %s", w.Code, w.Body)
	}
}

func TestCountTokens(t *testing.T) {
	u := serve(t, Options{})
	f := func(members string, want int64) {
		t.Helper()
		got := u.do("POST", "/v1/messages/count_tokens", `{"model":"claude-opus-5","messages":[{"role":"user","content":"12345678"}]`+members+`}`)
		var count struct {
			InputTokens int64 `json:"input_tokens"`
		}
		if err := json.Unmarshal(got.body, &count); err != nil || count.InputTokens != want {
			t.Errorf("%s: %s, want %d", members, got.body, want)
		}
	}
	f(``, 2)
	f(`,"system":"1234"`, 3)
	f(`,"system":[{"type":"text","text":"1234"},{"type":"text","text":"12345678"}]`, 5)
	if got := u.do("POST", "/v1/messages/count_tokens", `{"model":"claude-opus-5"}`); got.status != 400 {
		t.Errorf("status %d without messages", got.status)
	}
}

func TestTokensOfAnImageDoNotDependOnItsSize(t *testing.T) {
	f := func(data string) {
		t.Helper()
		got := direct(t, New(Options{}), `{"model":"claude-opus-5","max_tokens":5,"messages":[{"role":"user","content":[{"type":"image","source":{"data":"`+data+`"}}]}]}`)
		if u := usageOf(t, got); u.InputTokens != imageTokens {
			t.Errorf("an image of %d bytes counts %d tokens", len(data), u.InputTokens)
		}
	}
	f("x")
	f(strings.Repeat("x", 100_000))
}

func TestModels(t *testing.T) {
	u := serve(t, Options{Models: []string{"claude-opus-4-5-20251101", "m2", "m3"}})
	f := func(query string, hasMore bool, ids ...string) {
		t.Helper()
		var page modelPage
		if err := json.Unmarshal(u.do("GET", "/v1/models"+query, "").body, &page); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, m := range page.Data {
			got = append(got, m.ID)
		}
		if !slices.Equal(got, ids) || page.HasMore != hasMore {
			t.Errorf("%s: %v, more: %t", query, got, page.HasMore)
		}
		if len(ids) > 0 && (*page.FirstID != ids[0] || *page.LastID != ids[len(ids)-1]) {
			t.Errorf("%s: from %s to %s", query, *page.FirstID, *page.LastID)
		}
	}
	f("", false, "claude-opus-4-5-20251101", "m2", "m3")
	f("?limit=1000", false, "claude-opus-4-5-20251101", "m2", "m3")
	f("?limit=2", true, "claude-opus-4-5-20251101", "m2")
	f("?limit=2&after_id=m2", false, "m3")
	f("?limit=1&before_id=m3", true, "m2")
	f("?before_id=unknown", false)
	if got := u.do("GET", "/v1/models?limit=0", ""); got.status != 400 {
		t.Errorf("limit=0: status %d", got.status)
	}
	got := u.do("GET", "/v1/models/claude-opus-4-5-20251101", "")
	if !bytes.Contains(got.body, []byte(`"display_name":"Claude Opus 4.5"`)) {
		t.Errorf("model is %s", got.body)
	}
	if got := u.do("GET", "/v1/models/m4", ""); got.status != 404 {
		t.Errorf("unknown model: status %d", got.status)
	}
}

func TestRequestsAreRecordedUnchanged(t *testing.T) {
	u := serve(t, Options{KeepRequests: 2})
	odd := ` { "messages" : [ {"role":"user","content":"\u00e9 é"} ], "max_tokens":5, "model":"claude-x", "zzz":1.0e3 } `
	for _, b := range []string{body(false, ""), odd, body(true, "")} {
		u.ask(b)
	}
	if err := u.WaitIdle(t.Context()); err != nil {
		t.Fatal(err)
	}
	list := u.Requests()
	if len(list) != 2 {
		t.Fatalf("%d requests recorded", len(list))
	}
	e := list[0]
	if string(e.Body) != odd || e.Method != "POST" || e.RequestURI != "/v1/messages?beta=true" || e.Header.Get("X-Api-Key") == "" {
		t.Errorf("recorded as %+v", e)
	}
	if e.Outcome != OutcomeComplete || e.Status != 200 || e.Usage.OutputTokens == 0 || !strings.HasPrefix(e.ID, "req_01") {
		t.Errorf("ended as %+v", e)
	}
	if e := list[1]; !e.Stream || e.Model != testModel || e.Events < 6 {
		t.Errorf("stream recorded as %+v", e)
	}
	stats := u.Stats()
	if stats.Requests != 3 || stats.ByStatus[200] != 3 || stats.InFlight != 0 || stats.Tokens.Output == 0 || stats.Tokens.Input == 0 {
		t.Errorf("stats are %+v", stats)
	}
}
