package e2e

import (
	"bytes"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// patience bounds a run of the client that must not wait. A run takes one to four seconds on an
// idle machine, while the faults of these tests would delay it for minutes.
const patience = 30 * time.Second

// usedUp is Anthropic's response when the five-hour window of a subscription is used up.
func usedUp(reset time.Duration) responder {
	until := time.Now().Add(reset)
	return always(http.StatusTooManyRequests, apiError("rate_limit_error", "This request would exceed your account's rate limit."),
		"Retry-After", seconds(reset), "X-Should-Retry", "false",
		"Anthropic-Ratelimit-Unified-Status", "rejected",
		"Anthropic-Ratelimit-Unified-Reset", unix(until),
		"Anthropic-Ratelimit-Unified-Representative-Claim", "five_hour")
}

func TestClaudeCodeIsServed(t *testing.T) {
	t.Parallel()
	a, b := newScripted(t, "a", nil), newScripted(t, "b", nil)
	lb := start(t, fallback(a.entry(), b.entry()))
	a.behave(func(w http.ResponseWriter, r arrival) bool {
		if !r.isMessage() {
			return false
		}
		respondMessage(w, r, "msg_served", contentBlock{text: "served by the first"})
		return true
	})
	claudeAt(t, lb.url, "sk-any-0123456789abcdef").say(patience, "hi").mustSay(t, "served by the first")
	for _, r := range a.messages() {
		for _, name := range []string{"Anthropic-Beta", "Anthropic-Version", "X-Claude-Code-Session-Id"} {
			if r.Header.Get(name) == "" {
				t.Errorf("no %s reached the upstream: %v", name, r.Header)
			}
		}
	}
}

func TestClaudeCodeSeesAUsedUpPlan(t *testing.T) {
	t.Parallel()
	a, b := newScripted(t, "a", usedUp(2*time.Hour)), newScripted(t, "b", usedUp(time.Hour))
	lb := start(t, fallback(a.entry(), b.entry()))
	s := claudeAt(t, lb.url, "sk-any-0123456789abcdef")
	for range 2 { // at the second run the accounts are in cooldown already
		s.say(patience, "hi").mustSay(t, "would exceed your account's rate limit")
	}
}

func TestClaudeCodeSeesASpendingCap(t *testing.T) {
	t.Parallel()
	limit := always(http.StatusTooManyRequests, apiError("billing_error", "Your team's spend limit is reached. It resets on Aug 8."), "X-Should-Retry", "false")
	a, b := newScripted(t, "a", limit), newScripted(t, "b", limit)
	lb := start(t, fallback(a.entry(), b.entry()))
	claudeAt(t, lb.url, "sk-any-0123456789abcdef").say(patience, "hi").mustSay(t, "spend limit is reached")
}

func TestClaudeCodeSeesABlockedPrompt(t *testing.T) {
	t.Parallel()
	for name, status := range map[string]int{"400": 400, "403": 403, "503": 503} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newScripted(t, "a", always(status, apiError("policy_blocked", "This prompt is blocked by the policy of your organization."), "X-Should-Retry", "false"))
			b := newScripted(t, "b", nil)
			lb := start(t, fallback(a.entry(), b.entry()))
			claudeAt(t, lb.url, "sk-any-0123456789abcdef").say(patience, "hi").mustSay(t, "blocked by the policy")
			if n := len(b.messages()); n != 0 {
				t.Errorf("%d blocked prompts were sent to another upstream", n)
			}
		})
	}
}

func TestClaudeCodeSeesAWrongKey(t *testing.T) {
	t.Parallel()
	lb := start(t, fallback(newScripted(t, "a", nil).entry()).with("auth", true).with("auth_keys", []string{clientKey}))
	// The client has its own text for a 401; without x-should-retry: false it would retry for three
	// minutes.
	claudeAt(t, lb.url, "sk-wrong-0123456789abcdef").say(patience, "hi").mustSay(t, "/login")
}

func TestClaudeCodeFallsBackToAnotherModel(t *testing.T) {
	t.Parallel()
	overloaded := func(w http.ResponseWriter, r arrival) bool {
		if !r.isMessage() || !strings.Contains(r.model(), "opus") {
			return false
		}
		respondWith(w, 529, apiError("overloaded_error", "Overloaded"))
		return true
	}
	a, b := newScripted(t, "a", overloaded), newScripted(t, "b", overloaded)
	lb := start(t, fallback(a.entry(), b.entry()))
	o := claudeAt(t, lb.url, "sk-any-0123456789abcdef").say(time.Minute, "hi", "--model", "claude-opus-4-5", "--fallback-model", "claude-sonnet-4-5")
	if o.err != nil || o.took > 40*time.Second {
		t.Errorf("the fallback model answered after %.1f s (%v); direct it takes 3.4 s, and with every wait sat out 43 s", o.took.Seconds(), o.err)
	}
}

func TestClaudeCodeWithV1InItsBaseURL(t *testing.T) {
	t.Parallel()
	a := newScripted(t, "a", nil)
	lb := start(t, fallback(a.entry()))
	o := claudeAt(t, lb.url+"/v1", "sk-any-0123456789abcdef").say(patience, "hi")
	if o.err != nil && !strings.Contains(o.text, "ANTHROPIC_BASE_URL") {
		t.Errorf("neither served nor informed of the problem: %s", o.text)
	}
	for _, r := range a.arrivals() {
		if strings.HasPrefix(r.URL.Path, "/v1/v1") {
			t.Errorf("%s reached an upstream", r.URL.Path)
		}
	}
}

// conversation responds to the main conversation of a headless client: first with a tool call, then
// with text.
type conversation struct {
	tool  func(r arrival) contentBlock // the first call
	calls atomic.Int32
}

func (c *conversation) respond(w http.ResponseWriter, r arrival) bool {
	switch {
	case !r.isMessage() || !bytes.Contains(r.body, []byte(`"tools":[{`)):
		return false
	case bytes.Contains(r.body, []byte(`"tool_result"`)):
		respondMessage(w, r, "msg_after", contentBlock{text: "the tool has run"})
	default:
		c.calls.Add(1)
		respondMessage(w, r, "msg_before", c.tool(r))
	}
	return true
}

func TestClaudeCodeRunsTools(t *testing.T) {
	t.Parallel()
	c := &conversation{tool: func(arrival) contentBlock {
		return contentBlock{tool: "Bash", input: map[string]any{"command": "echo once >> ran.txt", "description": "note that it ran"}}
	}}
	a, b := newScripted(t, "a", c.respond), newScripted(t, "b", c.respond)
	lb := start(t, balanced("round_robin", a.entry(), b.entry()))
	s := claudeAt(t, lb.url, "sk-any-0123456789abcdef")
	s.say(2*patience, "run the tool", "--allowedTools", "Bash").mustSay(t, "the tool has run")
	if text, err := os.ReadFile(filepath.Join(s.dir, "ran.txt")); strings.TrimSpace(string(text)) != "once" {
		t.Errorf("the tool left %q (%v), want it to have run once", text, err)
	}
	onOneUpstream(t, a, b)
}

// onOneUpstream checks that one of two upstreams got every message of a conversation.
func onOneUpstream(t *testing.T, a, b *scripted) {
	t.Helper()
	talks := func(s *scripted) (n int) {
		for _, r := range s.messages() {
			if bytes.Contains(r.body, []byte(`"tools":[{`)) {
				n++
			}
		}
		return n
	}
	if x, y := talks(a), talks(b); x > 0 && y > 0 || x+y < 2 {
		t.Errorf("the conversation went to a %d times and to b %d times, want all of it at one", x, y)
	}
}

func TestClaudeCodeRunsASubagent(t *testing.T) {
	t.Parallel()
	respond := func(w http.ResponseWriter, r arrival) bool {
		text := string(r.body)
		switch {
		case !r.isMessage() || !strings.Contains(text, `"tools":[{`):
			return false
		case strings.Contains(text, `"tool_result"`):
			respondMessage(w, r, "msg_end", contentBlock{text: "the subagent has reported"})
		case strings.Contains(text, "count the files and report"):
			respondMessage(w, r, "msg_sub", contentBlock{text: "three files"})
		default:
			name := "Task"
			if strings.Contains(text, `"name":"Agent"`) {
				name = "Agent"
			}
			respondMessage(w, r, "msg_main", contentBlock{tool: name, input: map[string]any{
				"description": "count files", "prompt": "count the files and report", "subagent_type": "general-purpose",
			}})
		}
		return true
	}
	a, b := newScripted(t, "a", respond), newScripted(t, "b", respond)
	lb := start(t, fallback(a.entry(), b.entry()))
	claudeAt(t, lb.url, "sk-any-0123456789abcdef").say(2*patience, "use a subagent").mustSay(t, "the subagent has reported")
	subagents := 0
	for _, r := range a.messages() {
		if bytes.Contains(r.body, []byte("count the files and report")) && !bytes.Contains(r.body, []byte(`"tool_result"`)) {
			subagents++
		}
	}
	if subagents == 0 || len(b.messages()) > 0 {
		t.Errorf("%d requests of subagents at a, %d messages at b; want some, and none", subagents, len(b.messages()))
	}
}

func TestClaudeCodeCompacts(t *testing.T) {
	t.Parallel()
	var refused atomic.Bool
	respond := func(w http.ResponseWriter, r arrival) bool {
		if !r.isMessage() || !bytes.Contains(r.body, []byte(`"tools":[{`)) && !bytes.Contains(r.body, []byte("summary")) {
			return false
		}
		switch {
		case bytes.Contains(r.body, []byte("second question")) && refused.CompareAndSwap(false, true):
			respondWith(w, http.StatusBadRequest, apiError("invalid_request_error", "prompt is too long: 210000 tokens > 200000 maximum"))
		case refused.Load():
			respondMessage(w, r, "msg_compacted", contentBlock{text: "<summary>answered after compaction</summary>"})
		default:
			respondMessage(w, r, "msg_first", contentBlock{text: strings.Repeat("a long first answer ", 400)})
		}
		return true
	}
	a, b := newScripted(t, "a", respond), newScripted(t, "b", respond)
	lb := start(t, fallback(a.entry(), b.entry()))
	s := claudeAt(t, lb.url, "sk-any-0123456789abcdef")
	s.say(patience, "first question").mustSay(t, "a long first answer")
	s.say(2*patience, "second question", "--continue").mustSay(t, "after compaction")
	if n := len(b.messages()); n > 0 {
		t.Errorf("%d messages went to the other upstream", n)
	}
}

func TestClaudeCodeThreads(t *testing.T) {
	t.Parallel()
	var known atomic.Int32 // continuations that arrived at the thread's account
	upstream := func(id string) responder {
		return func(w http.ResponseWriter, r arrival) bool {
			var thread struct {
				Type     string `json:"type"`
				Previous string `json:"previous_message_id"`
			}
			if !r.isMessage() || !r.field("thread", &thread) {
				return false
			}
			switch {
			case thread.Type == "continue" && !strings.HasPrefix(thread.Previous, id):
				respondWith(w, http.StatusNotFound, `{"type":"error","error":{"type":"not_found_error","message":"thread not found","details":{"error_code":"thread_not_found"}}}`)
			case thread.Type == "continue":
				known.Add(1)
				respondMessage(w, r, id+"_after", contentBlock{text: "the thread went on"})
			case bytes.Contains(r.body, []byte(`"tool_result"`)):
				respondMessage(w, r, id+"_whole", contentBlock{text: "the thread began once more"})
			default:
				respondMessage(w, r, id+"_before", contentBlock{tool: "Bash", input: map[string]any{"command": "true", "description": "nothing"}})
			}
			return true
		}
	}
	a, b := newScripted(t, "a", upstream("msg_01a")), newScripted(t, "b", upstream("msg_01b"))
	lb := start(t, balanced("round_robin", a.entry(), b.entry()))
	s := claudeAt(t, lb.url, "sk-any-0123456789abcdef", "CLAUDE_CODE_TETHER_LIVE=1")
	s.say(2*patience, "run the tool", "--allowedTools", "Bash").mustSay(t, "the thread went on")
	if known.Load() == 0 {
		t.Error("no continuation arrived where its thread lives")
	}
}
