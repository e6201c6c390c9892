package upstream

import (
	"context"
	"log/slog"
	"net/url"
	"testing"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/config"
)

func server(t *testing.T, name, base, token string) config.Server {
	t.Helper()
	u, err := url.Parse(base)
	if err != nil {
		t.Fatal(err)
	}
	return config.Server{Name: name, URL: u, Weight: 1, Token: config.NewSecret(token), AuthHeader: config.AuthHeaderAuto, BalanceCheckInterval: time.Hour}
}

func pool(t *testing.T) *Pool {
	ctx, cancel := context.WithCancel(t.Context())
	p := NewPool(ctx, slog.New(slog.DiscardHandler))
	t.Cleanup(func() { cancel(); p.Wait() })
	return p
}

func configured(servers ...config.Server) *config.Config {
	return &config.Config{Servers: servers, Cooldown: time.Minute, Timeouts: config.Timeouts{Connect: time.Second}}
}

func fail(t *testing.T, e *Endpoint, now time.Time) {
	t.Helper()
	lease, ok := e.Acquire(now, Subject{})
	if !ok {
		t.Fatal("not fit")
	}
	lease.Settle(t.Context(), Outcome{Scope: ScopeEndpoint, Reason: "status 500"}, now)
	lease.Release()
}

func TestReconcileKeepsWhatWasLearned(t *testing.T) {
	p := pool(t)
	eps, commit := p.Reconcile(configured(server(t, "a", "http://a", "t1"), server(t, "b", "http://a", "t2")))
	commit()
	if eps[0].ID() == eps[1].ID() {
		t.Fatal("one URL with two tokens is one identity")
	}
	fail(t, eps[0], t0)

	renamed := server(t, "renamed", "http://a", "t1")
	renamed.Weight = 7
	eps, commit = p.Reconcile(configured(server(t, "b", "http://a", "t3"), renamed))
	commit()
	if v := eps[0].View(t0, Subject{}); v.Unfit != Fit {
		t.Errorf("a new key inherited %+v", v)
	}
	if v := eps[1].View(t0, Subject{}); v.Unfit != Cooling || v.Reason != "status 500" {
		t.Errorf("a renamed server forgot its cooldown: %+v", v)
	}
}

func TestWeightZeroFinishesWhatIsThere(t *testing.T) {
	p := pool(t)
	eps, commit := p.Reconcile(configured(server(t, "a", "http://a", "t")))
	commit()
	lease, _ := eps[0].Acquire(t0, Subject{})

	drained := server(t, "a", "http://a", "t")
	drained.Weight = 0
	eps, commit = p.Reconcile(configured(drained))
	commit()
	if _, ok := eps[0].Acquire(t0, Subject{}); ok {
		t.Error("a drained server took new work")
	}
	if v := eps[0].View(t0, Subject{}); v.Unfit != Draining || v.InFlight != 1 {
		t.Errorf("view %+v", v)
	}
	lease.Settle(t.Context(), Outcome{}, t0)
	lease.Release()
	if v := eps[0].View(t0, Subject{}); v.InFlight != 0 {
		t.Errorf("%d in flight after the last release", v.InFlight)
	}
}

func TestBreakChargesACommittedAnswer(t *testing.T) {
	p := pool(t)
	eps, commit := p.Reconcile(configured(server(t, "a", "http://a", "t")))
	commit()
	fail(t, eps[0], t0)
	probe, _ := eps[0].Acquire(t0.Add(time.Minute), Subject{})
	probe.Settle(t.Context(), Outcome{}, t0.Add(time.Minute))
	if v := eps[0].View(t0.Add(time.Minute), Subject{}); v.Unfit != Fit {
		t.Fatalf("a good probe left %+v", v)
	}
	probe.Break(t.Context(), Outcome{Scope: ScopeEndpoint, Reason: "cut"}, t0.Add(time.Minute))
	probe.Release()
	if v := eps[0].View(t0.Add(time.Minute), Subject{}); v.Unfit != Cooling || v.Reason != "cut" {
		t.Errorf("a broken answer left %+v", v)
	}
}

func TestChecksNeverOverruleRequests(t *testing.T) {
	e := endpoints(t, server(t, "a", "http://a", "t"))[0]
	c := vouching{e.learned, e.trip, e.bell}
	f := func(what string, got, want bool, now time.Time, unfit Unfit) {
		t.Helper()
		if v := e.View(now, Subject{}); got != want || v.Unfit != unfit {
			t.Errorf("%s: changed %v, want %v; %v, want %v", what, got, want, v.Unfit, unfit)
		}
	}
	f("passed while well", c.probePassed(t0), false, t0, Fit)
	attempt(t, e, Subject{}, Outcome{}, t0.Add(time.Second))
	f("failed, but a request succeeded since", c.probeFailed(t0, t0.Add(2*time.Second), "x"), false, t0.Add(2*time.Second), Fit)
	f("failed", c.probeFailed(t0.Add(3*time.Second), t0.Add(4*time.Second), "x"), true, t0.Add(4*time.Second), Cooling)
	f("failed again", c.probeFailed(t0.Add(5*time.Second), t0.Add(6*time.Second), "x"), false, t0.Add(6*time.Second), Cooling)
	f("passed", c.probePassed(t0.Add(7*time.Second)), true, t0.Add(7*time.Second), Fit)
	attempt(t, e, Subject{}, broken, t0.Add(8*time.Second))
	f("passed, but the request that tried failed", c.probePassed(t0.Add(9*time.Second)), false, t0.Add(9*time.Second), Cooling)
	attempt(t, e, Subject{}, Outcome{}, t0.Add(10*time.Minute))
	f("failed after the return", c.probeFailed(t0.Add(11*time.Minute), t0.Add(11*time.Minute), "x"), true, t0.Add(11*time.Minute), Cooling)
	f("passed after the return", c.probePassed(t0.Add(11*time.Minute+time.Second)), true, t0.Add(11*time.Minute+time.Second), Fit)
}
