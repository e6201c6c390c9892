package routing

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"claude-code-lb/internal/claude"
	"claude-code-lb/internal/config"
	"claude-code-lb/internal/upstream"
)

// talk is a conversation that grows by two turns with every request.
type talk struct {
	name    string
	turns   []string
	scanner claude.PromptScanner
}

// ask adds what is new and returns the prompt, valid until the next one.
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

// serve places a request and has it answered; it returns the server's name.
func serve(t *testing.T, tb *Table, p *claude.Prompt, now time.Time) string {
	t.Helper()
	lease, err := tb.Next(Query{Prompt: p}, &Tried{}, now)
	if err != nil {
		t.Fatal(err)
	}
	lease.Settle(t.Context(), upstream.Outcome{}, now)
	tb.Remember(lease.Endpoint, p, now)
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
	_, err := tb.Next(Query{Prompt: next, Patience: 30 * time.Second}, &Tried{}, t0)
	if wait, ok := errors.AsType[*Wait](err); !ok || wait.Until.Sub(t0) != 10*time.Second {
		t.Errorf("got %v", err)
	}
	for _, q := range []Query{{Prompt: next}, {Prompt: next, Patience: 9 * time.Second}, {Prompt: next, Patience: time.Minute, FitOnly: true}} {
		lease, err := tb.Next(q, &Tried{}, t0)
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
		t.Fatal("served by a server that rests")
	}
	for i := range 5 { // the first home is back after a minute, and holds an older part
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
		x := NewIndex()
		tb := three(t)
		var s claude.PromptScanner
		_, p, err := s.Scan([]byte(body))
		if err != nil {
			t.Fatal(err)
		}
		x.Remember(tb.Endpoints()[0], p, t0)
		domains, warmth := x.home(p, t0, nil)
		if (len(domains) > 0) != want || want && (warmth.Held != warmth.Total || !warmth.Expires.Equal(t0.Add(shortTTL))) {
			t.Errorf("%.60s…: %v, %+v", body, domains, warmth)
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
	if tb := NewTable(cfg, nil, NewIndex(), Random); tb.index != nil {
		t.Error("the index is used")
	}
}

func TestTheIndexIsBounded(t *testing.T) {
	x, tb := NewIndex(), three(t)
	e := tb.Endpoints()[0]
	for i := range maxFingerprints * 5 / 4 {
		b := claude.Boundary{Fingerprint: rand.Uint64(), Bytes: leastCached}
		x.Remember(e, &claude.Prompt{Marked: true, Turns: []claude.Boundary{b}}, t0.Add(time.Duration(i)*time.Millisecond))
	}
	if n := x.Len(); n > maxFingerprints {
		t.Errorf("%d prefixes remembered", n)
	}
}

// BenchmarkHome is one routing decision among 100,000 live conversations, 16 accounts.
func BenchmarkHome(b *testing.B) {
	x := NewIndex()
	domains := make([]holder, 16)
	for i := range domains {
		domains[i] = holder{domain: rand.Uint64(), expires: t0.Add(time.Hour)}
	}
	prompts := make([]*claude.Prompt, 1000)
	for i := range 100_000 {
		turns := make([]claude.Boundary, 3)
		for n := range turns {
			turns[n] = claude.Boundary{Fingerprint: rand.Uint64(), Bytes: 100_000 + 1000*n}
		}
		x.shard(turns[0].Fingerprint).put(turns[0].Fingerprint, domains[i%16], t0)
		prompts[i%1000] = &claude.Prompt{Marked: true, Turns: turns}
	}
	b.ReportAllocs()
	var room [8]uint64
	i := 0
	for b.Loop() {
		if found, _ := x.home(prompts[i%1000], t0, room[:0]); len(found) != 1 {
			b.Fatal("no home")
		}
		i++
	}
}
