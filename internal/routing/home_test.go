package routing

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/claude"
	"github.com/9bingyin/claude-code-lb/internal/config"
	"github.com/9bingyin/claude-code-lb/internal/verdict"
)

// long returns a prompt whose turns have the given number of tokens; it begins like every shorter
// one of the conversation.
func long(conversation uint64, turns, tokens int) *claude.Prompt {
	p := &claude.Prompt{
		HasBreakpoint: true,
		Tools:         claude.Boundary{Fingerprint: 1, Bytes: 2 << 10},
		System:        claude.Boundary{Fingerprint: 2, Bytes: sharedTokens * 4},
	}
	for i := range turns {
		p.Turns = append(p.Turns, claude.Boundary{Fingerprint: mix(conversation<<20 + uint64(i) + 1), Bytes: 4 * (sharedTokens + tokens*(i+1))})
	}
	return p
}

// sharedTokens is the size of tools and system.
const sharedTokens = 2500

func named(t *testing.T, servers ...string) []config.Server {
	t.Helper()
	var list []config.Server
	for i, name := range servers {
		list = append(list, config.Server{Name: name, Weight: 1, Priority: i + 1, PriceMultiplier: 1})
	}
	return list
}

// claimed acquires an endpoint, without a response, and returns its name.
func claimed(t *testing.T, tb *Table, q *Query, tried *Tried, now time.Time) string {
	t.Helper()
	lease, err := acquire(tb, q, tried, now)
	if err != nil {
		return err.Error()
	}
	tried.Add(lease.ID())
	lease.Release()
	return lease.Name()
}

// TestAHomeThatRefusedIsAskedOnceMore checks that a long conversation gets a second attempt at its
// home, and that a short one moves at once.
func TestAHomeThatRefusedIsAskedOnceMore(t *testing.T) {
	overloaded := verdict.Outcome{Scope: verdict.ScopeCapacity, Unbilled: true, RetryAfter: time.Second, Reason: "overloaded_error"}
	f := func(tokens int, stays bool) {
		t.Helper()
		tb := table(t, config.ModeLoadBalance, named(t, "a", "b", "c")...)
		home := serve(t, tb, long(1, 10, tokens/10), t0)
		q := &Query{Prompt: long(1, 12, tokens/10), Patience: 30 * time.Second}
		var tried Tried
		refuse := func(now time.Time) string {
			lease, err := acquire(tb, q, &tried, now)
			if err != nil {
				t.Fatal(err)
			}
			tried.Add(lease.ID())
			lease.Settle(t.Context(), overloaded, now)
			lease.Release()
			tried.Refused(lease.ID(), now)
			return lease.Name()
		}
		if got := refuse(t0); got != home {
			t.Fatalf("went to %s first", got)
		}
		_, err := acquire(tb, q, &tried, t0)
		wait, waits := errors.AsType[*Wait](err)
		if waits != stays {
			t.Fatalf("%d tokens: %v", tokens, err)
		}
		if !waits {
			return
		}
		if d := wait.Until.Sub(t0); d <= 0 || d > maxPauseWait {
			t.Errorf("waits %s", d)
		}
		if got := refuse(wait.Until); got != home {
			t.Errorf("then to %s", got)
		}
		if got := claimed(t, tb, q, &tried, wait.Until); got == home || strings.Contains(got, "returns") {
			t.Errorf("after two refusals: %s", got)
		}
	}
	f(100_000, true)
	f(4_000, false)
}

// TestHeadroomSteers checks that new conversations avoid an account before it refuses, and that a
// warm one waits for it.
func TestHeadroomSteers(t *testing.T) {
	for _, a := range []config.Algorithm{config.RoundRobin, config.Random, config.LeastInFlight, config.PowerOfTwo, config.CostAware, config.WeightedRoundRobin} {
		tb := tableBy(t, config.ModeLoadBalance, a, named(t, "a", "b")...)
		q := &Query{Prompt: long(1, 10, 10_000)}
		choice, err := tb.Next(q, &Tried{}, t0)
		lease, warm := choice.Lease, choice.Warmth
		if err != nil {
			t.Fatal(err)
		}
		lease.UpdateFromHeader(http.StatusOK, left(450_000, 10_000), t0)
		lease.Settle(t.Context(), verdict.Outcome{}, t0)
		tb.RecordCached(q, lease.Endpoint, warm, claude.Usage{CacheCreation5mTokens: 102_500}, t0)
		lease.Release()
		for i := range 20 {
			if got := serve(t, tb, long(uint64(i)+2, 10, 5_000), t0); got == lease.Name() {
				t.Fatalf("%s: a new conversation was sent without headroom for it", a)
			}
		}
		if got := claimed(t, tb, &Query{Prompt: shorter(long(1, 11, 10_000), 2000)}, &Tried{}, t0); got != lease.Name() {
			t.Errorf("%s: 8,000 new tokens fit, but %s", a, got)
		}
		_, err = acquire(tb, &Query{Prompt: long(1, 15, 10_000), Patience: time.Minute}, &Tried{}, t0)
		if wait, ok := errors.AsType[*Wait](err); !ok || wait.Until.Sub(t0) > 10*time.Second {
			t.Errorf("%s: 50,000 new tokens: %v", a, err)
		}
	}
}

// shorter removes tokens from the last turn.
func shorter(p *claude.Prompt, tokens int) *claude.Prompt {
	p.Turns[len(p.Turns)-1].Bytes -= 4 * tokens
	return p
}

func left(limit, remaining int) http.Header {
	return http.Header{
		"Anthropic-Ratelimit-Input-Tokens-Limit":     {strconv.Itoa(limit)},
		"Anthropic-Ratelimit-Input-Tokens-Remaining": {strconv.Itoa(remaining)},
		"Anthropic-Ratelimit-Input-Tokens-Reset":     {t0.Add(time.Minute).Format(time.RFC3339)},
	}
}

// TestNobodyHasRoom checks that a request without headroom anywhere waits instead of being refused,
// and is sent in the end.
func TestNobodyHasRoom(t *testing.T) {
	tb := table(t, config.ModeLoadBalance, named(t, "a")...)
	lease, err := acquire(tb, &Query{}, &Tried{}, t0)
	if err != nil {
		t.Fatal(err)
	}
	lease.UpdateFromHeader(http.StatusOK, left(450_000, 0), t0)
	lease.Release()
	q := &Query{Prompt: long(1, 10, 30_000), Queue: time.Minute}
	_, err = acquire(tb, q, &Tried{}, t0)
	if wait, ok := errors.AsType[*Wait](err); !ok || wait.Until.Sub(t0).Round(time.Second) != 40*time.Second {
		t.Errorf("%v", err)
	}
	q.Queue = 39 * time.Second
	if got := claimed(t, tb, q, &Tried{}, t0); got != "a" {
		t.Errorf("without the patience: %s", got)
	}
}

// TestFailback checks the return to a better tier if a move costs nothing: cache expired,
// conversation compacted, or never cached.
func TestFailback(t *testing.T) {
	f := func(name string, q Query, after time.Duration, want string) {
		t.Helper()
		tb := table(t, config.ModeFallback, named(t, "first", "second")...)
		settle(t, tb, "first", failed, t0)
		begin := q
		if begin.Prompt != nil {
			begin.Prompt = long(1, 10, 5_000)
		}
		begin.Compacted = false
		if got := ask(t, tb, &begin, t0); got != "second" {
			t.Fatalf("%s: began at %s", name, got)
		}
		back := t0.Add(time.Minute) // the first server is available again
		if got := ask(t, tb, &Query{}, back); got != "first" {
			t.Fatalf("%s: %s", name, got)
		}
		if got := ask(t, tb, &q, back.Add(after)); got != want {
			t.Errorf("%s: at %s, want %s", name, got, want)
		}
	}
	f("cached", Query{Prompt: long(1, 12, 5_000), Conversation: 5}, time.Minute, "second")
	f("expired", Query{Prompt: long(1, 12, 5_000), Conversation: 5}, 5*time.Minute, "first")
	f("compacted", Query{Prompt: long(1, 12, 5_000), Conversation: 5, Compacted: true}, time.Minute, "first")
	f("too short to be cached", Query{Prompt: &claude.Prompt{}, Conversation: 5}, time.Minute, "first")
	f("without a prompt", Query{Conversation: 5}, time.Minute, "first")
}

// TestACheaperServerIsWorthTheMove checks that a move to a cheaper server needs many expected
// requests.
func TestACheaperServerIsWorthTheMove(t *testing.T) {
	by := func(price, discount float64, turns int, want string) {
		t.Helper()
		servers := named(t, "cheap", "dear")
		servers[0].PriceMultiplier, servers[0].DiscountPercent = price, discount
		tb := table(t, config.ModeFallback, servers...)
		settle(t, tb, "cheap", failed, t0)
		serve(t, tb, long(1, turns, 50_000/turns), t0)
		back := t0.Add(time.Minute)
		serve(t, tb, &claude.Prompt{}, back)
		if got := serve(t, tb, long(1, turns+1, 50_000/turns), back.Add(time.Second)); got != want {
			t.Errorf("price %v less %v %% after %d turns: %s, want %s", price, discount, turns, got, want)
		}
	}
	f := func(price float64, turns int, want string) {
		t.Helper()
		by(price, 0, turns, want)
	}
	f(0.5, 100, "cheap")
	f(0.5, 4, "dear") // the rewrite would cost more than the expected requests save
	f(0.99, 100, "dear")
	f(0.05, 4, "cheap")
	f(2, 100, "dear")
	by(1, 50, 100, "cheap")
	by(2, 75, 100, "cheap")
	by(1, 50, 4, "dear")
	by(2, 50, 100, "dear")
}

// TestABurstIsHeldBack checks that the requests of a burst wait while the first one writes their
// common prefix.
func TestABurstIsHeldBack(t *testing.T) {
	tb := tableBy(t, config.ModeLoadBalance, config.CostAware, named(t, "a", "b", "c")...)
	sibling := func(i uint64) *Query {
		return &Query{Prompt: long(i, 1, 10_000), Hold: 2 * time.Second, Patience: time.Minute}
	}
	first := sibling(1)
	choice, err := tb.Next(first, &Tried{}, t0)
	lease, warm := choice.Lease, choice.Warmth
	if err != nil {
		t.Fatal(err)
	}
	_, err = acquire(tb, sibling(2), &Tried{}, t0.Add(time.Second))
	wait, ok := errors.AsType[*Wait](err)
	if !ok || wait.Until.Sub(t0) != 2*time.Second {
		t.Fatalf("%v", err)
	}
	begun := t0.Add(1500 * time.Millisecond)
	lease.Settle(t.Context(), verdict.Outcome{}, begun)
	tb.RecordCached(first, lease.Endpoint, warm, claude.Usage{CacheCreation5mTokens: 20_000}, t0)
	select {
	case <-wait.Changed:
	default:
		t.Error("no waiter was notified that the first answer has begun")
	}
	q := sibling(2)
	choice, err = tb.Next(q, &Tried{}, begun)
	if err != nil || choice.Lease.Name() != lease.Name() || choice.Warmth.Cached == 0 {
		t.Errorf("%+v, %v", choice, err)
	}
	choice.Lease.Release()
	never := sibling(3)
	never.Prompt.System.Fingerprint, never.Prompt.Tools.Fingerprint = 3, 4
	if got := claimed(t, tb, never, &Tried{}, begun); strings.Contains(got, "returns") {
		t.Errorf("one that shares nothing: %s", got)
	}
}

// TestABurstStaysTogether checks that a burst goes to one account even without waiting.
func TestABurstStaysTogether(t *testing.T) {
	tb := table(t, config.ModeLoadBalance, named(t, "a", "b", "c")...)
	conversation := long(1, 10, 5_000)
	home := claimed(t, tb, &Query{Prompt: conversation}, &Tried{}, t0) // without a response yet
	for i := range 3 {
		sibling := long(1, 11, 5_000)
		sibling.Turns[10].Fingerprint += uint64(i)
		if got := claimed(t, tb, &Query{Prompt: sibling}, &Tried{}, t0); got != home {
			t.Errorf("sibling %d at %s, not at %s", i, got, home)
		}
	}
}

// TestTheSignerIsPreferred checks that a conversation with thinking goes to the account that signed
// it, after the cache expired.
func TestTheSignerIsPreferred(t *testing.T) {
	f := func(thinking bool, same bool) {
		t.Helper()
		tb := table(t, config.ModeLoadBalance, named(t, "a", "b", "c")...)
		q := func(turns int) *Query {
			p := long(1, turns, 50_000/turns)
			p.Thinking = thinking
			return &Query{Prompt: p, Conversation: 5}
		}
		signer := ask(t, tb, q(10), t0)
		if got := ask(t, tb, q(12), t0.Add(time.Hour)); (got == signer) != same {
			t.Errorf("thinking %t: from %s to %s", thinking, signer, got)
		}
	}
	f(true, true)
	f(false, false)
}

// TestAServerThatCachesNothingIsNoHome checks that such a server keeps a conversation only while no
// other account has more of it.
func TestAServerThatCachesNothingIsNoHome(t *testing.T) {
	tb := tableOf(t, 3)
	uncached := func(q *Query, now time.Time) string {
		t.Helper()
		choice, err := tb.Next(q, &Tried{}, now)
		lease, warm := choice.Lease, choice.Warmth
		if err != nil {
			t.Fatal(err)
		}
		if warm.Cached != 0 {
			t.Errorf("expects %d tokens to be cached", warm.Cached)
		}
		lease.Settle(t.Context(), verdict.Outcome{}, now)
		tb.RecordCached(q, lease.Endpoint, warm, claude.Usage{InputTokens: 52_500}, now)
		lease.Release()
		return lease.Name()
	}
	first := uncached(&Query{Prompt: long(1, 10, 5_000), Conversation: 7}, t0)
	for turns := range 20 {
		if got := uncached(&Query{Prompt: long(1, 11+turns, 5_000), Conversation: 7}, t0.Add(time.Second)); got != first {
			t.Fatalf("moved from %s to %s", first, got)
		}
	}
}

// TestTheVeryServerIsPreferred checks that a conversation stays at one server of an account: its
// keys may belong to workspaces with separate caches.
func TestTheVeryServerIsPreferred(t *testing.T) {
	servers := named(t, "a", "b")
	servers[0].Account, servers[1].Account = "team", "team"
	tb := table(t, config.ModeLoadBalance, servers...)
	for i := range uint64(4) {
		home := serve(t, tb, long(i, 10, 5_000), t0)
		for turns := range 3 {
			if got := serve(t, tb, long(i, 11+turns, 5_000), t0); got != home {
				t.Errorf("conversation %d was sent from %s to %s", i, home, got)
			}
		}
	}
	home := serve(t, tb, long(9, 10, 5_000), t0)
	settle(t, tb, home, failed, t0)
	if got := serve(t, tb, long(9, 11, 5_000), t0); got == home {
		t.Errorf("%s is in cooldown", got)
	}
}
