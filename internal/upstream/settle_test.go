package upstream

import (
	"context"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/config"
	"github.com/9bingyin/claude-code-lb/internal/verdict"
)

// anthropicURL is a server whose organization ids are trusted.
const anthropicURL = "https://api.anthropic.com"

const opus, haiku = "claude-opus-4-5", "claude-haiku-4-5"

// endpoints returns the first generation of a pool.
func endpoints(t *testing.T, servers ...config.Server) []*Endpoint {
	t.Helper()
	cfg := configOf(servers...)
	cfg.SlowStart = 30 * time.Second
	eps, commit := testPool(t).Reconcile(cfg)
	commit()
	return eps
}

// attempt makes one attempt for a subject and settles it with an outcome.
func attempt(t *testing.T, e *Endpoint, s Subject, o verdict.Outcome, now time.Time) *Lease {
	t.Helper()
	lease, again := e.AcquireForced(now, s)
	if lease == nil {
		t.Fatalf("no attempt before %v", again)
	}
	lease.Settle(t.Context(), o, now)
	lease.Release()
	return lease
}

// TestWorkspacesShareLimitsButNoCache checks endpoints whose responses name workspaces of one
// organization.
func TestWorkspacesShareLimitsButNoCache(t *testing.T) {
	eps := endpoints(t, server(t, "a", anthropicURL, "t1"), server(t, "b", anthropicURL, "t2"), server(t, "c", anthropicURL, "t3"))
	first := eps[0].CacheScope()
	for i, workspace := range []string{"w1", "w2", "w1"} {
		l := attempt(t, eps[i], Subject{Model: opus}, verdict.Outcome{}, t0)
		l.UpdateFromHeader(http.StatusOK, http.Header{"Anthropic-Organization-Id": {"org"}, "Anthropic-Workspace-Id": {workspace}}, t0)
	}
	if eps[0].CacheScope() != first || eps[2].CacheScope() != first || eps[1].CacheScope() == first {
		t.Errorf("caches %d, %d, %d, at first %d", eps[0].CacheScope(), eps[1].CacheScope(), eps[2].CacheScope(), first)
	}
	attempt(t, eps[0], Subject{Model: opus}, verdict.Outcome{Scope: verdict.ScopeRateLimit, RetryAfter: time.Minute, Reason: "limited"}, t0)
	if v := eps[1].View(t0, Subject{Model: opus}); v.Unfit != RateLimited {
		t.Errorf("another workspace of the organization: %s", v.Unfit)
	}
}

func TestEveryScopeHasItsOwnState(t *testing.T) {
	type views struct{ same, otherModel, otherKey Unfit } // of the account
	f := func(o verdict.Outcome, want views) {
		t.Helper()
		a, b := server(t, "a", "http://a", "t1"), server(t, "b", "http://a", "t2")
		a.Account, b.Account = "team", "team"
		eps := endpoints(t, a, b)
		attempt(t, eps[0], Subject{Model: opus}, o, t0)
		got := views{eps[0].View(t0, Subject{Model: opus}).Unfit, eps[0].View(t0, Subject{Model: haiku}).Unfit, eps[1].View(t0, Subject{Model: opus}).Unfit}
		if got != want {
			t.Errorf("%v: %v, want %v", o.Scope, got, want)
		}
		if got.same != Fit && eps[0].ViewAny(t0).Unfit == Fit && o.Scope != verdict.ScopeModel {
			t.Errorf("%v: fit regardless of the subject", o.Scope)
		}
	}
	f(verdict.Outcome{}, views{})
	f(verdict.Outcome{Scope: verdict.ScopeRequest}, views{})
	f(verdict.Outcome{Scope: verdict.ScopeClient}, views{})
	f(verdict.Outcome{Scope: verdict.ScopeCredential}, views{CredentialOut, CredentialOut, Fit})
	f(verdict.Outcome{Scope: verdict.ScopeAccount}, views{AccountOut, AccountOut, AccountOut})
	f(verdict.Outcome{Scope: verdict.ScopeModel}, views{ModelOut, Fit, Fit})
	f(verdict.Outcome{Scope: verdict.ScopeRateLimit}, views{RateLimited, Fit, RateLimited})
	f(verdict.Outcome{Scope: verdict.ScopeCapacity}, views{Paused, Fit, Fit})
	f(verdict.Outcome{Scope: verdict.ScopeEndpoint}, views{Cooling, Cooling, Fit})
}

func TestRefusalClosesBreaker(t *testing.T) {
	e := endpoints(t, server(t, "a", "http://a", "t"))[0]
	attempt(t, e, Subject{}, serverError, t0)
	due := t0.Add(time.Minute)
	attempt(t, e, Subject{Model: opus}, verdict.Outcome{Scope: verdict.ScopeRateLimit, RetryAfter: 5 * time.Second}, due)
	if v := e.View(due, Subject{Model: haiku}); v.Unfit != Fit || v.Ejected {
		t.Errorf("view %+v", v)
	}
}

func TestOverloadPauses(t *testing.T) {
	e := endpoints(t, server(t, "a", "http://a", "t"))[0]
	now, longest := t0, time.Duration(0)
	for range 12 {
		attempt(t, e, Subject{}, verdict.Outcome{Scope: verdict.ScopeCapacity}, now)
		v := e.View(now, Subject{})
		if v.Unfit != Paused || v.Ejected {
			t.Fatalf("view %+v", v)
		}
		longest = max(longest, v.ReadyAt.Sub(now))
		now = v.ReadyAt
	}
	if longest < 15*time.Second || longest > 45*time.Second {
		t.Errorf("the longest pause was %v", longest)
	}
	attempt(t, e, Subject{}, verdict.Outcome{}, now)
	attempt(t, e, Subject{}, verdict.Outcome{Scope: verdict.ScopeCapacity}, now.Add(time.Millisecond))
	if wait := e.View(now, Subject{}).ReadyAt.Sub(now); wait > 2*time.Second {
		t.Errorf("after a success the pause is %v", wait)
	}
	asked := endpoints(t, server(t, "a", "http://a", "t"))[0]
	attempt(t, asked, Subject{}, verdict.Outcome{Scope: verdict.ScopeCapacity, RetryAfter: 7 * time.Second}, t0)
	if at := asked.View(t0, Subject{}).ReadyAt; !at.Equal(t0.Add(7 * time.Second)) {
		t.Errorf("ready at %v", at)
	}
}

func TestOverloadedOrigin(t *testing.T) {
	eps := endpoints(t, server(t, "a", "http://api", "t1"), server(t, "b", "http://api", "t2"), server(t, "c", "http://api", "t3"), server(t, "d", "http://other", "t4"))
	overloaded := verdict.Outcome{Scope: verdict.ScopeCapacity, RetryAfter: 4 * time.Second}
	fit := func(now time.Time) (n int) {
		for _, e := range eps {
			if e.View(now, Subject{}).Unfit == Fit {
				n++
			}
		}
		return n
	}
	attempt(t, eps[0], Subject{}, overloaded, t0)
	if n := fit(t0); n != 3 {
		t.Errorf("after one account: %d fit", n)
	}
	attempt(t, eps[1], Subject{}, overloaded, t0.Add(time.Second))
	now := t0.Add(time.Second)
	if n := fit(now); n != 1 || eps[3].View(now, Subject{}).Unfit != Fit {
		t.Errorf("after two accounts: %d fit, %+v", n, eps[3].View(now, Subject{}))
	}
	if v := eps[2].View(now, Subject{}); v.Unfit != Paused || v.Ejected {
		t.Errorf("the third account: %+v", v)
	}
	if n := fit(t0.Add(6 * time.Second)); n != 4 {
		t.Errorf("after the pause: %d fit", n)
	}
}

func TestOrganizations(t *testing.T) {
	header := http.Header{"Anthropic-Organization-Id": {"org-1"}}
	eps := endpoints(t, server(t, "a", anthropicURL, "t1"), server(t, "b", anthropicURL, "t2"), server(t, "c", "https://relay.anthropic.com", "t3"), server(t, "d", "http://relay", "t4"), server(t, "e", "http://relay", "t5"))
	for _, e := range eps {
		lease, _ := e.Acquire(t0, Subject{Model: opus})
		lease.UpdateFromHeader(200, header, t0)
		lease.Settle(t.Context(), verdict.Outcome{}, t0)
		lease.Release()
	}
	attempt(t, eps[0], Subject{Model: opus}, verdict.Outcome{Scope: verdict.ScopeRateLimit, RetryAfter: 9 * time.Second}, t0)
	if v := eps[1].View(t0, Subject{Model: opus}); v.Unfit != RateLimited {
		t.Errorf("another key of the organization: %+v", v)
	}
	if v := eps[2].View(t0, Subject{Model: opus}); v.Unfit != Fit {
		t.Errorf("the same organization at another origin: %+v", v)
	}
	attempt(t, eps[3], Subject{Model: opus}, verdict.Outcome{Scope: verdict.ScopeAccount}, t0)
	if v := eps[4].View(t0, Subject{Model: opus}); v.Unfit != Fit {
		t.Errorf("another key of a relay that passes on an organization: %+v", v)
	}
}

func TestOrganizationMergesState(t *testing.T) {
	eps := endpoints(t, server(t, "a", anthropicURL, "t1"), server(t, "b", anthropicURL, "t2"))
	attempt(t, eps[1], Subject{}, verdict.Outcome{Scope: verdict.ScopeAccount, RetryAfter: time.Minute}, t0)
	attempt(t, eps[1], Subject{Model: opus}, verdict.Outcome{Scope: verdict.ScopeRateLimit, RetryAfter: time.Minute}, t0.Add(2*time.Second))
	for _, e := range eps {
		lease, _ := e.AcquireForced(t0.Add(10*time.Second), Subject{})
		lease.UpdateFromHeader(200, http.Header{"Anthropic-Organization-Id": {"org-1"}}, t0)
		lease.Release()
	}
	if v := eps[0].View(t0.Add(10*time.Second), Subject{Model: opus}); v.Unfit != AccountOut {
		t.Errorf("view %+v", v)
	}
}

func TestRisenBalance(t *testing.T) {
	e := endpoints(t, server(t, "a", "http://api", "t"))[0]
	e.state.SetBalance(0.5, false, t0)
	attempt(t, e, Subject{}, verdict.Outcome{Scope: verdict.ScopeAccount}, t0)
	e.state.SetBalance(0.4, false, t0)
	if v := e.View(t0, Subject{}); v.Unfit != AccountOut {
		t.Errorf("with a lower balance: %+v", v)
	}
	e.state.SetBalance(50, false, t0)
	if v := e.View(t0, Subject{}); v.Unfit != Fit {
		t.Errorf("with a higher balance: %+v", v)
	}
}

func TestForgive(t *testing.T) {
	e := endpoints(t, server(t, "a", "http://api", "t"))[0]
	first := attempt(t, e, Subject{Body: 1}, serverError, t0)
	if v := e.View(t0, Subject{}); v.Unfit != Cooling {
		t.Fatalf("view %+v", v)
	}
	if !first.Forgive(t0) {
		t.Error("the only body that failed was not forgiven")
	}
	if v := e.View(t0, Subject{}); v.Unfit != Fit || v.Share != 1 {
		t.Errorf("after forgiving: %+v", v)
	}
	other := attempt(t, e, Subject{Body: 2}, serverError, t0.Add(time.Second))
	if other.Forgive(t0.Add(time.Second)) {
		t.Error("a second body that failed was forgiven")
	}
	if v := e.View(t0.Add(time.Second), Subject{}); v.Unfit != Cooling {
		t.Errorf("view %+v", v)
	}
}

func TestSlowStart(t *testing.T) {
	e := endpoints(t, server(t, "a", "http://api", "t"))[0]
	attempt(t, e, Subject{}, serverError, t0)
	back := t0.Add(time.Minute)
	attempt(t, e, Subject{}, verdict.Outcome{}, back)
	f := func(after time.Duration, want float64) {
		t.Helper()
		if got := e.View(back.Add(after), Subject{}).Share; got != want {
			t.Errorf("after %v: share %v, want %v", after, got, want)
		}
	}
	f(0, 0.1)
	f(15*time.Second, 0.5)
	f(30*time.Second, 1)
	f(time.Hour, 1)
}

func TestFirstContentLimit(t *testing.T) {
	e := endpoints(t, server(t, "a", "http://api", "t"))[0]
	f := func(uncached int64, most, want time.Duration) {
		t.Helper()
		if got := e.FirstContentLimit(uncached, most).Round(time.Second); got != want {
			t.Errorf("limit for %d tokens, at most %v: %v, want %v", uncached, most, got, want)
		}
	}
	f(0, 2*time.Minute, 2*time.Minute)
	f(0, 0, 0)
	for range minSamples {
		e.RecordLatency(2*time.Second, 20_000, t0) // one second if fully cached
	}
	f(0, 2*time.Minute, time.Minute)
	f(380_000, 2*time.Minute, 80*time.Second)
	f(0, 5*time.Second, 5*time.Second)
	f(1_000_000, 2*time.Minute, 2*time.Minute)
	if after, ok := e.HedgeDelay(20_000); !ok || after != 2*time.Second {
		t.Errorf("hedge after %v, %v", after, ok)
	}
}

// TestConcurrentLeases checks invariants under many goroutines: a half-open permit is granted once,
// every slot is released, and nothing gets stuck.
func TestConcurrentLeases(t *testing.T) {
	e := endpoints(t, server(t, "a", "http://api", "t"))[0]
	outcomes := []verdict.Outcome{{}, serverError, {Scope: verdict.ScopeCredential}, {Scope: verdict.ScopeAccount}, {Scope: verdict.ScopeModel}, {Scope: verdict.ScopeClient}, {Scope: verdict.ScopeRequest}}
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			now := t0
			for i := range 400 {
				now = now.Add(time.Duration(g+i%40) * time.Second)
				lease, ok := e.Acquire(now, Subject{Model: opus, Body: uint64(i)})
				if !ok {
					continue
				}
				if o := outcomes[(g*7+i)%len(outcomes)]; i%5 > 0 {
					lease.Settle(context.Background(), o, now)
				}
				lease.Release()
			}
		})
	}
	wg.Wait()
	far := t0.Add(24 * time.Hour)
	if v := e.View(far, Subject{Model: opus}); v.Unfit != Fit || v.InFlight != 0 {
		t.Errorf("at the end: %+v", v)
	}
	first, ok := e.Acquire(far, Subject{Model: opus})
	if !ok {
		t.Fatal("stuck")
	}
	if _, again := e.Acquire(far, Subject{Model: opus}); again && first.endpointPermit.probe {
		t.Error("two probes")
	}
	first.Release()
}
