package routing

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/claude"
	"github.com/9bingyin/claude-code-lb/internal/config"
	"github.com/9bingyin/claude-code-lb/internal/upstream"
	"github.com/9bingyin/claude-code-lb/internal/verdict"
)

// talk is a conversation that grows by two turns with every request.
type talk struct {
	name    string
	turns   []string
	scanner claude.PromptScanner
}

// ask adds two turns and returns the prompt, valid until the next call.
func (c *talk) ask(t *testing.T) *claude.Prompt {
	t.Helper()
	n := len(c.turns)
	if n > 0 {
		c.turns = append(c.turns, fmt.Sprintf(`{"role":"assistant","content":"answer %d of %s %s"}`, n, c.name, strings.Repeat("x", 500)))
	}
	c.turns = append(c.turns, fmt.Sprintf(`{"role":"user","content":"question %d of %s %s"}`, n, c.name, strings.Repeat("y", 500)))
	body := `{"model":"m","system":[{"type":"text","text":"` + strings.Repeat("system ", 2000) + `","cache_control":{"type":"ephemeral"}}],"messages":[` + strings.Join(c.turns, ",") + `]}`
	_, p, err := c.scanner.Scan([]byte(body))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// serve places a request, records its response and returns the server's name.
func serve(t *testing.T, tb *Table, p *claude.Prompt, now time.Time) string {
	t.Helper()
	return ask(t, tb, &Query{Prompt: p}, now)
}

// ask does what serve does for a whole query. The response reports a quarter of a token per byte,
// and as cached what the router expects.
func ask(t *testing.T, tb *Table, q *Query, now time.Time) string {
	t.Helper()
	choice, err := tb.Next(q, &Tried{}, now)
	lease, warm := choice.Lease, choice.Warmth
	if err != nil {
		t.Fatal(err)
	}
	lease.Settle(t.Context(), verdict.Outcome{}, now)
	u := claude.Usage{CacheReadTokens: warm.Cached}
	if q.Prompt != nil {
		u.CacheCreation5mTokens = int64(q.Prompt.Last().Bytes)/4 - warm.Cached
	}
	tb.RecordCached(q, lease.Endpoint, warm, u, now)
	lease.Release()
	return lease.Name()
}

func TestConversationsStayAndNewOnesTakeTurns(t *testing.T) {
	tb := three(t)
	first := map[string]int{}
	now := t0
	for i := range 30 {
		c := &talk{name: fmt.Sprint("talk ", i)}
		home := serve(t, tb, c.ask(t), now)
		first[home]++
		for range 6 {
			now = now.Add(time.Minute)
			if got := serve(t, tb, c.ask(t), now); got != home {
				t.Fatalf("%s moved from %s to %s", c.name, home, got)
			}
		}
	}
	if first["a"] != 10 || first["b"] != 10 || first["c"] != 10 {
		t.Errorf("30 conversations began at %v", first)
	}
}

func TestAnExpiredConversationIsPlacedAnew(t *testing.T) {
	tb := three(t)
	c := &talk{name: "slow"}
	home := serve(t, tb, c.ask(t), t0)
	serve(t, tb, (&talk{name: "other"}).ask(t), t0)
	if got := serve(t, tb, c.ask(t), t0.Add(shortTTL-time.Second)); got != home {
		t.Errorf("moved to %s while it was cached at %s", got, home)
	}
	if got := serve(t, tb, c.ask(t), t0.Add(2*shortTTL)); got == home {
		t.Errorf("still at %s although round robin had others in turn", got)
	}
}

func TestAHomeThatReturnsSoonIsWaitedFor(t *testing.T) {
	tb := three(t)
	c := &talk{name: "patient"}
	home := serve(t, tb, c.ask(t), t0)
	settle(t, tb, home, limited, t0) // for 10 seconds
	next := c.ask(t)
	_, err := acquire(tb, &Query{Prompt: next, Patience: 30 * time.Second}, &Tried{}, t0)
	if wait, ok := errors.AsType[*Wait](err); !ok || wait.Until.Sub(t0) != 10*time.Second {
		t.Errorf("got %v", err)
	}
	for _, q := range []Query{{Prompt: next}, {Prompt: next, Patience: 9 * time.Second}, {Prompt: next, Patience: time.Minute, FitOnly: true}} {
		lease, err := acquire(tb, &q, &Tried{}, t0)
		if err != nil || lease.Name() == home {
			t.Errorf("patience %v: %v, %v", q.Patience, lease, err)
			continue
		}
		lease.Release()
	}
}

func TestAConversationMovesOnceWhenItsHomeDies(t *testing.T) {
	tb := three(t)
	c := &talk{name: "refugee"}
	home := serve(t, tb, c.ask(t), t0)
	settle(t, tb, home, failed, t0)
	second := serve(t, tb, c.ask(t), t0.Add(time.Second))
	if second == home {
		t.Fatal("served by a server in cooldown")
	}
	for i := range 5 { // the first home is back after a minute and has an older part cached
		if got := serve(t, tb, c.ask(t), t0.Add(time.Duration(i+1)*70*time.Second)); got != second {
			t.Errorf("moved again, from %s to %s", second, got)
		}
	}
}

func TestWhatConversationsShareMakesNoHome(t *testing.T) {
	tb := three(t)
	seen := map[string]bool{}
	for i := range 3 {
		seen[serve(t, tb, (&talk{name: fmt.Sprint(i)}).ask(t), t0)] = true
	}
	if len(seen) != 3 {
		t.Errorf("one system prompt, and all conversations at %v", seen)
	}
}

func TestOnlyWhatIsCachedHasAHome(t *testing.T) {
	f := func(body string, want bool) {
		t.Helper()
		tb := three(t)
		var s claude.PromptScanner
		_, p, err := s.Scan([]byte(body))
		if err != nil {
			t.Fatal(err)
		}
		first := serve(t, tb, p, t0)
		choice, err := tb.Next(&Query{Prompt: p}, &Tried{}, t0)
		lease, warm := choice.Lease, choice.Warmth
		if err != nil {
			t.Fatal(err)
		}
		if (lease.Name() == first) != want || want && (warm.Cached != warm.Total || !warm.Expires.Equal(t0.Add(shortTTL))) {
			t.Errorf("%.60s…: first %s, then %s, %+v", body, first, lease.Name(), warm)
		}
	}
	long := strings.Repeat("z", 5000)
	marked := `{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"%s","cache_control":{"type":"ephemeral"}}]}]}`
	f(fmt.Sprintf(marked, long), true)
	f(fmt.Sprintf(marked, "short"), false)
	f(`{"model":"m","messages":[{"role":"user","content":"`+long+`"}]}`, false)
	f(`{"model":"m","messages":[]}`, false)
}

func TestAffinityOff(t *testing.T) {
	cfg := &config.Config{Mode: config.ModeLoadBalance, Affinity: config.AffinityOff}
	if tb := NewTable(cfg, nil, NewIndex(1<<20, 1), Random); tb.index != nil {
		t.Error("the index is used")
	}
}

// acquire calls Next and returns only the lease.
func acquire(t *Table, q *Query, tried *Tried, now time.Time) (*upstream.Lease, error) {
	choice, err := t.Next(q, tried, now)
	return choice.Lease, err
}
