package upstream

import (
	"testing"

	"github.com/9bingyin/claude-code-lb/internal/verdict"
)

func TestSubjectKeys(t *testing.T) {
	f := func(s Subject, model, class, limit string) {
		t.Helper()
		for _, each := range []Subject{s, s.WithKeys()} {
			if each.model() != model || each.class() != class || each.limit() != limit {
				t.Errorf("%+v: %q %q %q, want %q %q %q", s, each.model(), each.class(), each.limit(), model, class, limit)
			}
		}
	}
	f(Subject{}, "", "|", "|")
	f(Subject{Model: opus, Tenant: "x"}, opus, "opus|", "opus|x")
	f(Subject{Model: opus, Variant: verdict.Fast, Tenant: "x"}, opus, "opus+fast|", "opus+fast|x")
	f(Subject{Model: opus, Variant: verdict.LongContext}, opus+"[1m]", "opus|", "opus|")
	f(Subject{Model: opus, Variant: verdict.Fast | verdict.LongContext}, opus+"[1m]", "opus+fast|", "opus+fast|")
}

// TestVariantsHaveSeparateState checks that refusals of fast mode or of the long context do not
// affect other requests for the same model.
func TestVariantsHaveSeparateState(t *testing.T) {
	e := endpoints(t, server(t, "a", "http://a", "t"))[0]
	plain, fast, long := Subject{Model: opus}, Subject{Model: opus, Variant: verdict.Fast}, Subject{Model: opus, Variant: verdict.LongContext}
	settle := func(s Subject, o verdict.Outcome) {
		t.Helper()
		l, ok := e.Acquire(t0, s)
		if !ok {
			t.Fatalf("%+v: not acquired", s)
		}
		l.Settle(t.Context(), o, t0)
		l.Release()
	}
	f := func(s Subject, want Unfit) {
		t.Helper()
		if got := e.View(t0, s).Unfit; got != want {
			t.Errorf("%+v: %s, want %s", s, got, want)
		}
	}
	settle(fast, verdict.Outcome{Scope: verdict.ScopeRateLimit, Reason: "x"})
	settle(long, verdict.Outcome{Scope: verdict.ScopeModel, Reason: "x"})
	f(plain, Fit)
	f(fast, RateLimited)
	f(long, ModelOut)
	settle(plain, verdict.Outcome{Scope: verdict.ScopeRateLimit, Reason: "x"})
	f(plain, RateLimited)
	f(Subject{Model: haiku}, Fit)
}
