package routing

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/config"
	"github.com/9bingyin/claude-code-lb/internal/event"
	"github.com/9bingyin/claude-code-lb/internal/upstream"
	"github.com/9bingyin/claude-code-lb/internal/verdict"
)

var t0 = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

func table(t testing.TB, mode config.Mode, servers ...config.Server) *Table {
	t.Helper()
	return tableBy(t, mode, config.RoundRobin, servers...)
}

func tableBy(t testing.TB, mode config.Mode, a config.Algorithm, servers ...config.Server) *Table {
	t.Helper()
	cfg := &config.Config{Mode: mode, Algorithm: a, Cooldown: time.Minute, MaxEjectedPercent: 50}
	for _, s := range servers {
		u, err := url.Parse("http://" + s.Name)
		if err != nil {
			t.Fatal(err)
		}
		s.URL = u
		cfg.Servers = append(cfg.Servers, s)
	}
	ctx, cancel := context.WithCancel(t.Context())
	p := upstream.NewPool(ctx, event.NewBus(slog.New(slog.DiscardHandler)))
	t.Cleanup(func() { cancel(); p.Wait() })
	eps, commit := p.Reconcile(cfg)
	commit()
	return NewTable(cfg, eps, NewIndex(1<<20, 1), Random)
}

// tableOf returns a table with servers of weight 1, the default policy, and a large index.
func tableOf(t testing.TB, servers int) *Table {
	t.Helper()
	var specs []config.Server
	for i := range servers {
		specs = append(specs, config.Server{Name: fmt.Sprint("s", i), Weight: 1, PriceMultiplier: 1})
	}
	tb := tableBy(t, config.ModeLoadBalance, config.CostAware, specs...)
	tb.index = NewIndex(64<<20, 1)
	return tb
}

// order tries endpoints until none is left and returns their names.
func order(t *testing.T, table *Table, now time.Time) string {
	t.Helper()
	var names []string
	var tried Tried
	for {
		lease, err := acquire(table, &Query{}, &tried, now)
		if err != nil {
			if _, ok := errors.AsType[*Unavailable](err); !ok {
				t.Fatalf("error %v", err)
			}
			return strings.Join(names, " ")
		}
		names = append(names, lease.Name())
		tried.Add(lease.ID())
		lease.Release()
	}
}

// settle makes a server's next attempt end in an outcome.
func settle(t *testing.T, table *Table, name string, o verdict.Outcome, now time.Time) {
	t.Helper()
	for _, e := range table.Endpoints() {
		if e.Name() == name {
			lease, _ := e.AcquireForced(now, upstream.Subject{})
			lease.Settle(t.Context(), o, now)
			lease.Release()
		}
	}
}

func TestFallbackOrder(t *testing.T) {
	f := func(want string, servers ...config.Server) {
		t.Helper()
		if got := order(t, table(t, config.ModeFallback, servers...), t0); got != want {
			t.Errorf("order %q, want %q", got, want)
		}
	}
	f("a b c", config.Server{Name: "a", Weight: 1}, config.Server{Name: "b", Weight: 1}, config.Server{Name: "c", Weight: 1})
	f("c b a", config.Server{Name: "a", Weight: 1}, config.Server{Name: "b", Weight: 2}, config.Server{Name: "c", Weight: 3})
	f("b c a", config.Server{Name: "a", Weight: 1, Priority: 3}, config.Server{Name: "b", Weight: 1, Priority: 1}, config.Server{Name: "c", Weight: 1, Priority: 2})
	f("b a c", config.Server{Name: "a", Weight: 9}, config.Server{Name: "b", Weight: 1, Priority: 5}, config.Server{Name: "c", Weight: 3})
	f("b", config.Server{Name: "a", Weight: 0, Priority: 1}, config.Server{Name: "b", Weight: 1, Priority: 2})
}

func TestEveryServerIsTriedOnceAndRestingOnesLast(t *testing.T) {
	tb := table(t, config.ModeLoadBalance, config.Server{Name: "a", Weight: 1}, config.Server{Name: "b", Weight: 1}, config.Server{Name: "c", Weight: 1})
	settle(t, tb, "a", verdict.Outcome{Scope: verdict.ScopeRateLimit, RetryAfter: 20 * time.Second}, t0)
	settle(t, tb, "b", verdict.Outcome{Scope: verdict.ScopeRateLimit, RetryAfter: 10 * time.Second}, t0)
	if got := order(t, tb, t0); got != "c b a" {
		t.Errorf("order %q, want the fit one, then the one closest to recovery", got)
	}
	if c := tb.Counts(t0); c != (Counts{Total: 3, Available: 1, Cooling: 2}) {
		t.Errorf("counts %+v", c)
	}
}

func TestExactlyOneProbe(t *testing.T) {
	tb := table(t, config.ModeLoadBalance, config.Server{Name: "a", Weight: 1}, config.Server{Name: "b", Weight: 1})
	settle(t, tb, "a", verdict.Outcome{Scope: verdict.ScopeEndpoint}, t0)
	due := t0.Add(time.Minute)
	count := map[string]int{}
	for range 10 {
		lease, err := acquire(tb, &Query{}, &Tried{}, due)
		if err != nil {
			t.Fatal(err)
		}
		count[lease.Name()]++
	}
	if count["a"] != 1 || count["b"] != 9 {
		t.Errorf("while the probe is under way: %v", count)
	}
}

func TestNothingIsLeft(t *testing.T) {
	tb := table(t, config.ModeLoadBalance, config.Server{Name: "a", Weight: 0})
	if _, err := acquire(tb, &Query{}, &Tried{}, t0); err == nil {
		t.Error("a drained server took new work")
	}
	tb = table(t, config.ModeLoadBalance, config.Server{Name: "a", Weight: 1})
	settle(t, tb, "a", verdict.Outcome{Scope: verdict.ScopeRateLimit, RetryAfter: 42 * time.Second}, t0)
	var tried Tried
	tried.Add(tb.Endpoints()[0].ID())
	_, err := acquire(tb, &Query{}, &tried, t0)
	if u, ok := errors.AsType[*Unavailable](err); !ok || u.RetryAfter != 42*time.Second {
		t.Errorf("error %v", err)
	}
}
