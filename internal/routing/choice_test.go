package routing

import (
	"strings"
	"testing"

	"github.com/9bingyin/claude-code-lb/internal/claude"
	"github.com/9bingyin/claude-code-lb/internal/config"
	"github.com/9bingyin/claude-code-lb/internal/upstream"
	"github.com/9bingyin/claude-code-lb/internal/verdict"
)

// reasons lists the considered endpoints of a choice.
func reasons(c Choice) string {
	var list []string
	for _, each := range c.Considered {
		list = append(list, each.Endpoint.Name()+" "+each.Reason.String())
	}
	return strings.Join(list, ", ")
}

func TestChoiceExplains(t *testing.T) {
	tb := tableBy(t, config.ModeLoadBalance, config.CostAware, named(t, "a", "b", "c", "d")...)
	all := tb.Endpoints()
	out, ok := all[1].Acquire(t0, upstream.Subject{})
	if !ok {
		t.Fatal("b is not available")
	}
	out.Settle(t.Context(), verdict.Outcome{Scope: verdict.ScopeCredential, Reason: "status 401"}, t0)
	out.Release()
	var tried Tried
	tried.Add(all[2].ID())

	q := &Query{Prompt: long(1, 10, 10_000)}
	plain, err := tb.Next(q, &tried, t0)
	if err != nil || reasons(plain) != "b unfit" || plain.Considered[0].View.Unfit != upstream.CredentialOut {
		t.Fatalf("without explanation: %s, %v", reasons(plain), err)
	}
	tb.RecordCached(q, plain.Lease.Endpoint, plain.Warmth, claude.Usage{CacheCreation5mTokens: 100_000}, t0)
	plain.Lease.Release()

	q.Explain = true
	warm, err := tb.Next(q, &tried, t0)
	if err != nil || !warm.Warmth.Home || warm.Lease.Endpoint != plain.Lease.Endpoint {
		t.Fatalf("%+v, %v", warm, err)
	}
	other := map[string]string{"a": "d not_home", "d": "a not_home"}[warm.Lease.Name()]
	for _, want := range []string{warm.Lease.Name() + " chosen", "b unfit", "c already_tried", other} {
		if !strings.Contains(reasons(warm), want) {
			t.Errorf("%s lacks %q", reasons(warm), want)
		}
	}
	for _, each := range warm.Considered {
		if each.Reason == Chosen && (each.Cached == 0 || each.Score == 0) {
			t.Errorf("%+v", each)
		}
	}
	warm.Lease.Release()

	account := all[3].CacheScope()
	pinned, err := tb.Next(&Query{Account: &account, Explain: true}, &Tried{}, t0)
	if err != nil || reasons(pinned) != "a other_account, b other_account, c other_account, d chosen" {
		t.Errorf("pinned: %s, %v", reasons(pinned), err)
	}
	pinned.Lease.Release()
	cold, err := tb.Next(&Query{Explain: true}, &Tried{}, t0)
	if err != nil || strings.Count(reasons(cold), "chosen") != 1 || strings.Count(reasons(cold), "outscored") != 2 {
		t.Errorf("cold: %s, %v", reasons(cold), err)
	}
	cold.Lease.Release()
}

func TestChoiceAmongTiers(t *testing.T) {
	tb := tableBy(t, config.ModeFallback, config.RoundRobin, named(t, "a", "b")...)
	c, err := tb.Next(&Query{Explain: true}, &Tried{}, t0)
	if err != nil || reasons(c) != "a chosen, b outscored" && reasons(c) != "a chosen, b lower_tier" {
		t.Errorf("%s, %v", reasons(c), err)
	}
	c.Lease.Release()
	if Reason(99).String() != "unknown" {
		t.Error(Reason(99))
	}
}

// TestPlacementIsExplained checks that candidates are listed exactly if the policy placed a
// conversation that can be cached.
func TestPlacementIsExplained(t *testing.T) {
	tb := tableOf(t, 3)
	f := func(q Query, want int) {
		t.Helper()
		q.ExplainPlaced = true
		c, err := tb.Next(&q, &Tried{}, t0)
		if err != nil || len(c.Placement) != want || len(c.Considered) != 0 {
			t.Fatalf("%d candidates, want %d; %v", len(c.Placement), want, err)
		}
		tb.RecordCached(&q, c.Lease.Endpoint, c.Warmth, claude.Usage{CacheCreation5mTokens: 100_000}, t0)
		c.Lease.Release()
	}
	f(Query{}, 0)
	f(Query{Prompt: long(1, 10, 10_000)}, 3)
	f(Query{Prompt: long(1, 10, 10_000)}, 0)
}
