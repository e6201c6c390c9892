package upstream

import (
	"context"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/config"
	"github.com/9bingyin/claude-code-lb/internal/event"
	"github.com/9bingyin/claude-code-lb/internal/transport"
	"github.com/9bingyin/claude-code-lb/internal/verdict"
)

func server(t *testing.T, name, base, token string) config.Server {
	t.Helper()
	u, err := url.Parse(base)
	if err != nil {
		t.Fatal(err)
	}
	return config.Server{Name: name, URL: u, Weight: 1, Token: config.NewSecret(token), AuthHeader: config.AuthHeaderAuto, BalanceCheckInterval: time.Hour}
}

func testPool(t *testing.T) *Pool {
	ctx, cancel := context.WithCancel(t.Context())
	p := NewPool(ctx, event.NewBus(slog.New(slog.DiscardHandler)))
	t.Cleanup(func() { cancel(); p.Wait() })
	return p
}

func configOf(servers ...config.Server) *config.Config {
	return &config.Config{Servers: servers, Cooldown: time.Minute, Timeouts: config.Timeouts{Connect: time.Second}}
}

func fail(t *testing.T, e *Endpoint, now time.Time) {
	t.Helper()
	lease, ok := e.Acquire(now, Subject{})
	if !ok {
		t.Fatal("not fit")
	}
	lease.Settle(t.Context(), verdict.Outcome{Scope: verdict.ScopeEndpoint, Reason: "status 500"}, now)
	lease.Release()
}

func TestReconcileKeepsState(t *testing.T) {
	p := testPool(t)
	eps, commit := p.Reconcile(configOf(server(t, "a", "http://a", "t1"), server(t, "b", "http://a", "t2")))
	commit()
	if eps[0].ID() == eps[1].ID() {
		t.Fatal("one URL with two tokens is one identity")
	}
	fail(t, eps[0], t0)

	renamed := server(t, "renamed", "http://a", "t1")
	renamed.Weight = 7
	eps, commit = p.Reconcile(configOf(server(t, "b", "http://a", "t3"), renamed))
	commit()
	if v := eps[0].View(t0, Subject{}); v.Unfit != Fit {
		t.Errorf("a new key inherited %+v", v)
	}
	if v := eps[1].View(t0, Subject{}); v.Unfit != Cooling || v.Reason != "status 500" {
		t.Errorf("a renamed server forgot its cooldown: %+v", v)
	}
}

func TestWeightZeroFinishesRequests(t *testing.T) {
	p := testPool(t)
	eps, commit := p.Reconcile(configOf(server(t, "a", "http://a", "t")))
	commit()
	lease, _ := eps[0].Acquire(t0, Subject{})

	drained := server(t, "a", "http://a", "t")
	drained.Weight = 0
	eps, commit = p.Reconcile(configOf(drained))
	commit()
	if _, ok := eps[0].Acquire(t0, Subject{}); ok {
		t.Error("a drained server took new work")
	}
	if v := eps[0].View(t0, Subject{}); v.Unfit != Draining || v.InFlight != 1 {
		t.Errorf("view %+v", v)
	}
	lease.Settle(t.Context(), verdict.Outcome{}, t0)
	lease.Release()
	if v := eps[0].View(t0, Subject{}); v.InFlight != 0 {
		t.Errorf("%d in flight after the last release", v.InFlight)
	}
}

func TestRecordBreak(t *testing.T) {
	p := testPool(t)
	eps, commit := p.Reconcile(configOf(server(t, "a", "http://a", "t")))
	commit()
	fail(t, eps[0], t0)
	probe, _ := eps[0].Acquire(t0.Add(time.Minute), Subject{})
	probe.Settle(t.Context(), verdict.Outcome{}, t0.Add(time.Minute))
	if v := eps[0].View(t0.Add(time.Minute), Subject{}); v.Unfit != Fit {
		t.Fatalf("after a successful probe: %+v", v)
	}
	probe.RecordBreak(t.Context(), verdict.Outcome{Scope: verdict.ScopeEndpoint, Reason: "cut"}, t0.Add(time.Minute))
	probe.Release()
	if v := eps[0].View(t0.Add(time.Minute), Subject{}); v.Unfit != Cooling || v.Reason != "cut" {
		t.Errorf("after a response broke off: %+v", v)
	}
}

func TestHealthChecksYieldToRequests(t *testing.T) {
	e := endpoints(t, server(t, "a", "http://a", "t"))[0]
	c := checkedBreaker{e.state, e.policy, e.notifier}
	f := func(what string, got, want bool, now time.Time, unfit Unfit) {
		t.Helper()
		if v := e.View(now, Subject{}); got != want || v.Unfit != unfit {
			t.Errorf("%s: changed %v, want %v; %v, want %v", what, got, want, v.Unfit, unfit)
		}
	}
	f("passed while well", c.ProbePassed(t0), false, t0, Fit)
	attempt(t, e, Subject{}, verdict.Outcome{}, t0.Add(time.Second))
	f("failed, but a request succeeded since", c.ProbeFailed(t0, t0.Add(2*time.Second), "x"), false, t0.Add(2*time.Second), Fit)
	f("failed", c.ProbeFailed(t0.Add(3*time.Second), t0.Add(4*time.Second), "x"), true, t0.Add(4*time.Second), Cooling)
	f("failed again", c.ProbeFailed(t0.Add(5*time.Second), t0.Add(6*time.Second), "x"), false, t0.Add(6*time.Second), Cooling)
	f("passed", c.ProbePassed(t0.Add(7*time.Second)), true, t0.Add(7*time.Second), Fit)
	attempt(t, e, Subject{}, serverError, t0.Add(8*time.Second))
	f("passed, but the request that tried failed", c.ProbePassed(t0.Add(9*time.Second)), false, t0.Add(9*time.Second), Cooling)
	attempt(t, e, Subject{}, verdict.Outcome{}, t0.Add(10*time.Minute))
	f("failed after the return", c.ProbeFailed(t0.Add(11*time.Minute), t0.Add(11*time.Minute), "x"), true, t0.Add(11*time.Minute), Cooling)
	f("passed after the return", c.ProbePassed(t0.Add(11*time.Minute+time.Second)), true, t0.Add(11*time.Minute+time.Second), Fit)
}

// TestMarkedRequests checks that every server except Anthropic's own gets a different mark.
func TestMarkedRequests(t *testing.T) {
	cfg := &config.Config{}
	for _, address := range []string{"http://127.0.0.1:1", "http://relay.example", "https://api.anthropic.com"} {
		u, err := url.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		cfg.Servers = append(cfg.Servers, config.Server{Name: u.Host, URL: u, Weight: 1})
	}
	p := NewPool(t.Context(), event.NewBus(slog.New(slog.DiscardHandler)))
	endpoints, _ := p.Reconcile(cfg)
	var seen []string
	for i, e := range endpoints {
		h := http.Header{transport.LoopHeader: {"of a former attempt"}}
		e.Mark(h, nil)
		own := h.Get(transport.LoopHeader)
		if anthropic := i == 2; (own == "") != anthropic || slices.Contains(seen, own) || !anthropic && !p.Loop.HasLooped(h) {
			t.Errorf("%s: %q", e.Name(), own)
		}
		seen = append(seen, own)
		e.Mark(h, []string{"x"})
		if own != "" && h.Get(transport.LoopHeader) != "x, "+own {
			t.Errorf("%s: %q", e.Name(), h.Get(transport.LoopHeader))
		}
	}
}

// TestEngineChange checks that a change of the engine, and only that, creates a new transport in
// the next generation.
func TestEngineChange(t *testing.T) {
	p := NewPool(t.Context(), event.NewBus(slog.New(slog.DiscardHandler)))
	base := &url.URL{Scheme: "http", Host: "192.0.2.1"}
	transportOf := func(engine config.HTTPEngine) transport.Transport {
		endpoints, commit := p.Reconcile(&config.Config{Servers: []config.Server{{Name: "a", URL: base}}, HTTPEngine: engine})
		commit()
		return endpoints[0].transport
	}
	first, same, other := transportOf(config.HTTPEngineFast), transportOf(config.HTTPEngineFast), transportOf(config.HTTPEngineGo)
	if first != same {
		t.Error("a reload without a change creates another transport")
	}
	if other == first {
		t.Error("a reload with another engine keeps the transport")
	}
}
