package upstream

import (
	"testing"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/verdict"
)

func TestDrain(t *testing.T) {
	p := testPool(t)
	cfg := configOf(server(t, "a", "http://a", "t"), server(t, "b", "http://b", "t"))
	eps, commit := p.Reconcile(cfg)
	commit()
	changed := eps[0].Changed()
	if !eps[0].Drain() || eps[0].Drain() {
		t.Error("the first call must report a change, and the second must not")
	}
	if lease, _ := eps[0].AcquireForced(t0, Subject{}); lease != nil || eps[0].ViewAny(t0).Unfit != Draining || eps[1].ViewAny(t0).Unfit != Fit {
		t.Errorf("a: %+v, b: %+v", eps[0].ViewAny(t0), eps[1].ViewAny(t0))
	}
	again, commit := p.Reconcile(cfg)
	commit()
	if r := again[0].Report(t0); r.Unfit != Draining || !r.Drained || r.Reason != "drained by the operator" {
		t.Errorf("after a reload: %+v", r)
	}
	if !again[0].Undrain() || again[0].Undrain() || again[0].ViewAny(t0).Unfit != Fit {
		t.Errorf("%+v", again[0].ViewAny(t0))
	}
	select {
	case <-changed:
	default:
		t.Error("waiting requests were not woken")
	}
}

// TestReset checks that Reset clears failures of every scope, but not balance readings and Drain.
func TestReset(t *testing.T) {
	subject := Subject{Model: opus}
	f := func(name string, o verdict.Outcome) {
		t.Helper()
		e := endpoints(t, server(t, "a", "http://a", "t"))[0]
		early, _ := e.Acquire(t0, subject)
		now := t0.Add(time.Second)
		attempt(t, e, subject, o, now)
		if e.View(now, subject).Unfit == Fit {
			t.Errorf("%s: the server is fit", name)
		}
		e.Reset(now)
		if v := e.View(now, subject); v.Unfit != Fit || v.Ejected {
			t.Errorf("%s: %+v", name, v)
		}
		early.Settle(t.Context(), verdict.Outcome{Scope: o.Scope, Reason: "late"}, now) // from before the reset
		if v := e.View(now, subject); (o.Scope == verdict.ScopeEndpoint || o.Scope == verdict.ScopeCredential || o.Scope == verdict.ScopeModel || o.Scope == verdict.ScopeAccount) && v.Unfit != Fit {
			t.Errorf("%s: an outcome from before the reset counts: %+v", name, v)
		}
		early.Release()
	}
	f("endpoint", verdict.Outcome{Scope: verdict.ScopeEndpoint, Reason: "502"})
	f("credential", verdict.Outcome{Scope: verdict.ScopeCredential, Reason: "401"})
	f("model", verdict.Outcome{Scope: verdict.ScopeModel, Reason: "404"})
	f("account", verdict.Outcome{Scope: verdict.ScopeAccount, Reason: "402"})
	f("rate limit", verdict.Outcome{Scope: verdict.ScopeRateLimit, Reason: "429", RetryAfter: time.Minute})
	f("capacity", verdict.Outcome{Scope: verdict.ScopeCapacity, Reason: "529"})

	e := endpoints(t, server(t, "a", "http://a", "t"))[0]
	e.state.SetBalance(1, true, t0)
	e.Drain()
	e.Reset(t0)
	if r := e.Report(t0); !r.Drained || !r.BalanceKnown || r.Balance != 1 {
		t.Errorf("%+v", r)
	}
	e.Undrain()
	if v := e.ViewAny(t0); v.Unfit != LowBalance {
		t.Errorf("%+v", v)
	}
}

func TestReportRemaining(t *testing.T) {
	e := endpoints(t, server(t, "a", "http://a", "t"))[0]
	if r := e.Report(t0); len(r.Remaining) != 0 || r.Headroom != 1 {
		t.Errorf("without limits: %+v", r)
	}
	l := acquire(t, e, 1000, t0)
	l.UpdateFromHeader(200, limitHeader(600_000, 60_000), t0)
	l.Release()
	r := e.Report(t0)
	if len(r.Remaining) != 1 || r.Remaining[0].Class != "opus" || r.Remaining[0].Bucket != "input_tokens" || r.Remaining[0].Fraction < 0.09 || r.Remaining[0].Fraction > 0.11 || r.Headroom != r.Remaining[0].Fraction {
		t.Errorf("%+v", r)
	}
}
