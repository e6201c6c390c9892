package fakeclaude

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/claude"
	"github.com/9bingyin/claude-code-lb/internal/fakeclaude/fault"
)

// conversation builds requests block by block. 4 bytes are a token, and the minimum of a prefix is 1.
type conversation struct {
	t     *testing.T
	s     *Server
	clock *ManualClock
	model string
}

func newConversation(t *testing.T, o Options) conversation {
	clock := NewManualClock(midnight())
	o.Clock = clock
	if o.CacheMin == 0 {
		o.CacheMin = 1
	}
	return conversation{t: t, s: New(o), clock: clock, model: testModel}
}

// text returns a block of n tokens; ttl is "", "5m" or "1h".
func text(fill string, n int, ttl string) string {
	control := ""
	if ttl != "" {
		control = `,"cache_control":{"type":"ephemeral","ttl":"` + ttl + `"}`
	}
	return fmt.Sprintf(`{"type":"text","text":%q%s}`, strings.Repeat(fill, 4*n), control)
}

func (c conversation) send(members string) result {
	c.t.Helper()
	return direct(c.t, c.s, fmt.Sprintf(`{"model":%q,"max_tokens":50,%s}`, c.model, members))
}

// says sends user blocks and checks the tokens that are read, written for 5 minutes and for an hour.
func (c conversation) says(want [3]int64, blocks ...string) {
	c.t.Helper()
	c.uses(want, `"messages":[{"role":"user","content":[`+strings.Join(blocks, ",")+`]}]`)
}

func (c conversation) uses(want [3]int64, members string) claude.Usage {
	c.t.Helper()
	u := usageOf(c.t, c.send(members))
	if got := [3]int64{u.CacheReadTokens, u.CacheCreation5mTokens, u.CacheCreation1hTokens}; got != want {
		c.t.Errorf("read, 5m and 1h are %v, want %v", got, want)
	}
	return u
}

func TestBreakpointWritesToTheCache(t *testing.T) {
	c := newConversation(t, Options{})
	c.says([3]int64{0, 10, 0}, text("a", 10, "5m"), text("b", 5, ""))
	c.says([3]int64{10, 0, 0}, text("a", 10, "5m"), text("b", 5, ""))
	c.says([3]int64{10, 7, 0}, text("a", 10, ""), text("c", 7, "5m"))
	c.says([3]int64{0, 0, 0}, text("a", 10, ""), text("b", 5, "")) // without a breakpoint there is no lookup
}

func TestCacheComparesEveryByteOfThePrefix(t *testing.T) {
	c := newConversation(t, Options{})
	c.says([3]int64{0, 10, 0}, text("a", 10, "5m"))
	c.says([3]int64{0, 10, 0}, text("A", 10, "5m"))
	c.says([3]int64{0, 1 + 10, 0}, text("x", 1, ""), text("a", 10, "5m"))
	c.uses([3]int64{0, 10, 0}, `"messages":[{"role":"assistant","content":[`+text("a", 10, "5m")+`]}]`)
}

func TestCacheOrderIsToolsSystemMessages(t *testing.T) {
	c := newConversation(t, Options{})
	const tool = `"tools":[{"name":"bash","cache_control":{"type":"ephemeral"},"input_schema":{"type":"object"}}]`
	bare := int64(len(`{"name":"bash","input_schema":{"type":"object"}}`)+3) / 4
	system := `"system":[` + text("s", 20, "5m") + `]`
	hello := `"messages":[{"role":"user","content":"hi"}]`
	c.uses([3]int64{0, bare + 20, 0}, hello+","+system+","+tool)
	c.uses([3]int64{bare + 20, 0, 0}, tool+","+hello+","+system) // the order of members does not matter
	c.uses([3]int64{bare, 20, 0}, tool+`,"system":[`+text("S", 20, "5m")+`],`+hello)
	c.uses([3]int64{0, 20, 0}, system+","+hello) // without its tools the system prompt is another prefix
	// The system prompt stays readable if a change invalidates only the messages.
	c.uses([3]int64{bare + 20, 0, 0}, tool+","+system+","+hello+`,"tool_choice":{"type":"none"}`)
}

func TestSettingsInvalidateOnlyThePartAfterThem(t *testing.T) {
	c := newConversation(t, Options{})
	all := `"system":[` + text("s", 20, "5m") + `],"messages":[{"role":"user","content":[` + text("m", 10, "5m") + `]}]`
	c.uses([3]int64{0, 30, 0}, all)
	c.uses([3]int64{30, 0, 0}, all+`,"metadata":{"user_id":"x"},"temperature":0.5`)
	c.uses([3]int64{20, 10, 0}, all+`,"thinking":{"type":"adaptive"}`)
	c.uses([3]int64{20, 10, 0}, all+`,"tool_choice":{"type":"none"}`)
	c.uses([3]int64{0, 30, 0}, all+`,"speed":"fast"`)
}

func TestStringEqualsItsTextBlock(t *testing.T) {
	c := newConversation(t, Options{})
	marked := `{"role":"user","content":[` + text("a", 10, "5m") + `]}`
	plain := `{"role":"user","content":"` + strings.Repeat("a", 40) + `"}`
	c.uses([3]int64{0, 10, 0}, `"messages":[`+marked+`]`)
	c.uses([3]int64{10, 5, 0}, `"messages":[`+plain+`,{"role":"user","content":[`+text("b", 5, "5m")+`]}]`)
}

func TestBreakpointsInToolResults(t *testing.T) {
	c := newConversation(t, Options{})
	result := func(control string) string {
		return `"messages":[{"role":"user","content":[{"type":"tool_result","tool_use_id":"t","content":[{"type":"text","text":"` +
			strings.Repeat("r", 400) + `"` + control + `}]}]}]`
	}
	u := usageOf(t, c.send(result(`,"cache_control":{"type":"ephemeral"}`)))
	if u.CacheCreation5mTokens < 100 {
		t.Fatalf("usage is %+v", u)
	}
	c.uses([3]int64{u.CacheCreation5mTokens, 0, 0}, result(`,"cache_control":{"type":"ephemeral","ttl":"1h"}`))
}

func TestLookbackOf20Blocks(t *testing.T) {
	f := func(between int, want [3]int64) {
		t.Helper()
		c := newConversation(t, Options{})
		c.says([3]int64{0, 10, 0}, text("a", 10, "5m"))
		blocks := []string{text("a", 10, "")}
		for range between {
			blocks = append(blocks, text("b", 1, ""))
		}
		c.says(want, append(blocks, text("c", 1, "5m"))...)
	}
	f(18, [3]int64{10, 19, 0}) // the entry is the 20th block of the lookback
	f(19, [3]int64{0, 30, 0})
}

func TestEarlierBreakpointHasItsOwnLookback(t *testing.T) {
	c := newConversation(t, Options{})
	c.says([3]int64{0, 10, 0}, text("a", 10, "5m"))
	blocks := []string{text("a", 10, "5m")}
	for range 30 {
		blocks = append(blocks, text("b", 1, ""))
	}
	c.says([3]int64{10, 31, 0}, append(blocks, text("c", 1, "5m"))...)
}

func TestAtMostFourBreakpoints(t *testing.T) {
	c := newConversation(t, Options{})
	a := text("a", 1, "5m")
	c.says([3]int64{0, 4, 0}, a, a, a, a)
	got := c.send(`"messages":[{"role":"user","content":[` + strings.Join([]string{a, a, a, a, a}, ",") + `]}]`)
	if e := errorOf(t, got); got.status != 400 || !strings.Contains(e.Message, "Found 5") {
		t.Errorf("five breakpoints: %d %+v", got.status, e)
	}
}

func TestInvalidCacheControl(t *testing.T) {
	c := newConversation(t, Options{})
	f := func(wantMessage string, blocks ...string) {
		t.Helper()
		got := c.send(`"messages":[{"role":"user","content":[` + strings.Join(blocks, ",") + `]}]`)
		if e := errorOf(t, got); got.status != 400 || e.Type != claude.ErrInvalidRequest || !strings.Contains(e.Message, wantMessage) {
			t.Errorf("%d %+v", got.status, e)
		}
	}
	f("messages.0.content.1.cache_control.ttl: a ttl='1h'", text("a", 1, "5m"), text("b", 1, "1h"))
	f("cache_control.ttl", text("a", 1, "2h"))
	f("cache_control.type", `{"type":"text","text":"a","cache_control":{"type":"forever"}}`)
}

func TestLifetimesCountFromTheStartOfTheRequest(t *testing.T) {
	f := func(name string, ttl time.Duration, wrote, wroteAgain [3]int64) {
		t.Helper()
		c := newConversation(t, Options{})
		a := text("a", 10, name)
		c.says(wrote, a)
		c.clock.Advance(ttl - time.Second)
		c.says([3]int64{10, 0, 0}, a) // and extends it
		c.clock.Advance(ttl - time.Second)
		c.says([3]int64{10, 0, 0}, a)
		c.clock.Advance(ttl)
		c.says(wroteAgain, a)
	}
	f("5m", 5*time.Minute, [3]int64{0, 10, 0}, [3]int64{0, 10, 0})
	f("1h", time.Hour, [3]int64{0, 0, 10}, [3]int64{0, 0, 10})
}

func TestHitExtendsByThePaidTTL(t *testing.T) {
	c := newConversation(t, Options{})
	c.says([3]int64{0, 10, 0}, text("a", 10, "5m"))
	c.says([3]int64{10, 0, 0}, text("a", 10, "1h"))
	c.clock.Advance(6 * time.Minute)
	c.says([3]int64{0, 0, 10}, text("a", 10, "1h"))
}

func TestHitExtendsEarlierBreakpoints(t *testing.T) {
	c := newConversation(t, Options{})
	both := []string{text("a", 10, "5m"), text("b", 5, "5m")}
	c.says([3]int64{0, 15, 0}, both...)
	c.clock.Advance(4 * time.Minute)
	c.says([3]int64{15, 0, 0}, both...)
	c.clock.Advance(4 * time.Minute)
	c.says([3]int64{10, 0, 0}, text("a", 10, "5m"))
}

func TestLongTTLBeforeShortTTL(t *testing.T) {
	c := newConversation(t, Options{})
	c.says([3]int64{0, 5, 10}, text("a", 10, "1h"), text("b", 5, "5m"))
	c.clock.Advance(10 * time.Minute)
	c.says([3]int64{10, 5, 0}, text("a", 10, "1h"), text("b", 5, "5m"))
}

func TestMinimumPrefixPerModel(t *testing.T) {
	f := func(model string, minimum int) {
		t.Helper()
		c := newConversation(t, Options{})
		c.s.settings.CacheMin = 0
		c.model = model
		c.says([3]int64{}, text("a", minimum-1, "5m"))
		c.says([3]int64{0, int64(minimum), 0}, text("b", minimum, "5m"))
	}
	f("claude-opus-5", 512)
	f("claude-opus-5-5", 512)
	f("claude-fable-5-1", 512)
	f("claude-sonnet-5-5", 512)
	f("claude-sonnet-5", 1024)
	f("claude-sonnet-4-5-20250929", 1024)
	f("claude-opus-4-8", 1024)
	f("claude-opus-4-1", 1024)
	f("claude-opus-4-7", 2048)
	f("claude-3-5-haiku-20241022", 2048)
	f("claude-opus-4-5-20251101", 4096)
	f("claude-haiku-4-5-20251001", 4096)
}

func TestCacheBelongsToModelAndAccount(t *testing.T) {
	shared := NewAccount("shared", Limits{})
	one := newConversation(t, Options{Account: shared})
	two := newConversation(t, Options{Account: shared})
	other := newConversation(t, Options{})
	a := text("a", 10, "5m")
	one.says([3]int64{0, 10, 0}, a)
	two.says([3]int64{10, 0, 0}, a)
	other.says([3]int64{0, 10, 0}, a)
	one.model = "claude-sonnet-4-6"
	one.says([3]int64{0, 10, 0}, a)
}

func TestCacheIsReadableOnceTheResponseHasBegun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{Settings: Settings{
			CacheMin: 1, FirstToken: Duration(2 * time.Second), TokenInterval: Duration(time.Second), MinOutput: 10, MaxOutput: 10,
		}})
		request := body(false, `"system":[`+text("s", 10, "5m")+`]`)
		sendAt := func(delay time.Duration, want int64) <-chan claude.Usage {
			done := make(chan claude.Usage, 1)
			go func() {
				time.Sleep(delay)
				u := usageOf(t, direct(t, s, request))
				if u.CacheReadTokens != want {
					t.Errorf("sent after %s: %d tokens read, want %d", delay, u.CacheReadTokens, want)
				}
				done <- u
			}()
			return done
		}
		early, first, later := sendAt(time.Second, 0), sendAt(0, 0), sendAt(2*time.Second+1, 10)
		<-early
		<-first
		<-later
	})
}

func TestFailedResponseWritesNoCache(t *testing.T) {
	c := newConversation(t, Options{})
	c.s.Script(fault.Fault{Kind: fault.Status, Status: http.StatusInternalServerError})
	a := text("a", 10, "5m")
	if got := c.send(`"messages":[{"role":"user","content":[` + a + `]}]`); got.status != 500 {
		t.Fatalf("status %d", got.status)
	}
	c.says([3]int64{0, 10, 0}, a)
}

func TestExpiredEntriesAreRemoved(t *testing.T) {
	c := newConversation(t, Options{})
	for i := range 100 {
		c.says([3]int64{0, 10, 0}, text(string(rune('A'+i%26)), 9, ""), text(fmt.Sprint(i%10), 1, "5m"), text(fmt.Sprint(i), 1, ""))
		c.clock.Advance(time.Minute)
	}
	if n := len(c.s.account.cache.entries); n > 6 {
		t.Errorf("%d entries are kept, of which 5 can be alive", n)
	}
}
