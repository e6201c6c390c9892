package fakeclaude

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/claude"
	"github.com/9bingyin/claude-code-lb/internal/fakeclaude/fault"
)

func TestRequestLimitRefillsContinuously(t *testing.T) {
	c := newConversation(t, Options{Settings: Settings{Limits: Limits{Requests: 6}}})
	hello := `"messages":[{"role":"user","content":"hi"}]`
	for i := range 6 {
		if got := c.send(hello); got.status != 200 {
			t.Fatalf("request %d: status %d", i, got.status)
		}
	}
	got := c.send(hello)
	e := errorOf(t, got)
	if got.status != 429 || e.Type != claude.ErrRateLimit || !strings.Contains(e.Message, "6 requests per minute") {
		t.Fatalf("%d %+v", got.status, e)
	}
	if after := got.header.Get("Retry-After"); after != "10" {
		t.Errorf("retry-after is %q, want 10", after)
	}
	c.clock.Advance(4 * time.Second)
	if after := c.send(hello).header.Get("Retry-After"); after != "6" {
		t.Errorf("after 4 s retry-after is %q, want 6", after)
	}
	c.clock.Advance(6 * time.Second)
	if got := c.send(hello); got.status != 200 {
		t.Errorf("after 10 s: status %d", got.status)
	}
	if stats := c.s.Stats(); stats.RateLimited != 2 {
		t.Errorf("%d were rate limited, want 2", stats.RateLimited)
	}
}

func TestLimitHeaders(t *testing.T) {
	c := newConversation(t, Options{Settings: Settings{
		Limits:    Limits{Requests: 60, InputTokens: 60_000, OutputTokens: 6_000},
		MinOutput: 40, MaxOutput: 40,
	}})
	got := c.send(`"messages":[{"role":"user","content":[` + text("a", 10_400, "") + `]}]`)
	f := func(name, want string) {
		t.Helper()
		if have := got.header.Get("anthropic-ratelimit-" + name); have != want {
			t.Errorf("%s is %q, want %q", name, have, want)
		}
	}
	f("requests-limit", "60")
	f("requests-remaining", "59")
	f("requests-reset", "2026-10-01T00:00:01Z")
	f("input-tokens-limit", "60000")
	f("input-tokens-remaining", "50000") // 49600 rounded
	f("input-tokens-reset", "2026-10-01T00:00:11Z")
	f("output-tokens-limit", "6000")
	f("output-tokens-remaining", "6000")
	f("output-tokens-reset", "2026-10-01T00:00:00Z")
	f("tokens-limit", "60000") // the strictest is input
	f("tokens-remaining", "50000")
	f("tokens-reset", "2026-10-01T00:00:11Z")
}

func TestNoHeadersWithoutLimits(t *testing.T) {
	got := direct(t, New(Options{}), body(false, ""))
	for name := range got.header {
		if strings.HasPrefix(name, "Anthropic-Ratelimit-") {
			t.Errorf("header %s without a limit", name)
		}
	}
}

func TestCacheReadsAreFree(t *testing.T) {
	c := newConversation(t, Options{Settings: Settings{Limits: Limits{InputTokens: 1000}}})
	a := text("a", 800, "5m")
	c.says([3]int64{0, 800, 0}, a)
	for range 5 {
		c.says([3]int64{800, 0, 0}, a)
	}
	if got := c.send(`"messages":[{"role":"user","content":[` + text("b", 800, "5m") + `]}]`); got.status != 429 || got.header.Get("Retry-After") != "36" {
		t.Errorf("writing 800 tokens with 200 left: %d after %s", got.status, got.header.Get("Retry-After"))
	}
}

func TestPromptAboveTheLimit(t *testing.T) {
	f := func(debt bool, wantWait string) {
		t.Helper()
		c := newConversation(t, Options{Settings: Settings{Limits: Limits{InputTokens: 600, Debt: debt}}})
		c.says([3]int64{}, text("a", 900, ""))
		got := c.send(`"messages":[{"role":"user","content":[` + text("b", 60, "") + `]}]`)
		if got.status != 429 || got.header.Get("Retry-After") != wantWait {
			t.Errorf("debt %t: %d after %q, want %s", debt, got.status, got.header.Get("Retry-After"), wantWait)
		}
	}
	f(false, "6") // the bucket is empty
	f(true, "36") // and 300 below
}

func TestOutputIsChargedWhenProduced(t *testing.T) {
	c := newConversation(t, Options{Settings: Settings{Limits: Limits{OutputTokens: 60}, MinOutput: 40, MaxOutput: 40}})
	hello := `"messages":[{"role":"user","content":"hi"}]`
	for range 2 {
		if got := c.send(hello); got.status != 200 {
			t.Fatalf("status %d", got.status)
		}
	}
	got := c.send(hello) // 80 of 60 are spent
	if e := errorOf(t, got); got.status != 429 || got.header.Get("Retry-After") != "21" || !strings.Contains(e.Message, "output tokens") {
		t.Errorf("%d after %q: %+v", got.status, got.header.Get("Retry-After"), e)
	}
}

func TestLimitsArePerModelFamily(t *testing.T) {
	c := newConversation(t, Options{Settings: Settings{Limits: Limits{Requests: 1}}})
	f := func(model string, status int) {
		t.Helper()
		c.model = model
		if got := c.send(`"messages":[{"role":"user","content":"hi"}]`); got.status != status {
			t.Errorf("%s: status %d, want %d", model, got.status, status)
		}
	}
	f("claude-sonnet-4-5", 200)
	f("claude-sonnet-5", 429)
	f("claude-opus-5", 200)
}

func TestRefusedRequestsAreNotCharged(t *testing.T) {
	c := newConversation(t, Options{Settings: Settings{Limits: Limits{Requests: 2}}})
	c.s.Script(fault.Fault{Kind: fault.Status, Status: 529}, fault.Fault{Kind: fault.HTML}, fault.Fault{Kind: fault.Empty})
	hello := `"messages":[{"role":"user","content":"hi"}]`
	for range 3 {
		c.send(hello)
	}
	if got := c.send(hello); got.header.Get("Anthropic-Ratelimit-Requests-Remaining") != "1" {
		t.Errorf("%s requests remain after the first response", got.header.Get("Anthropic-Ratelimit-Requests-Remaining"))
	}
}

func TestServersWithOneAccountShareLimits(t *testing.T) {
	account := NewAccount("org", Limits{Requests: 1})
	clock := NewManualClock(midnight())
	one, two := New(Options{Account: account, Clock: clock}), New(Options{Account: account, Clock: clock})
	if got := direct(t, one, body(false, "")); got.status != 200 {
		t.Fatalf("status %d", got.status)
	}
	got := direct(t, two, body(false, ""))
	if got.status != http.StatusTooManyRequests || got.header.Get("Anthropic-Organization-Id") != account.Organization() {
		t.Errorf("status %d", got.status)
	}
}
