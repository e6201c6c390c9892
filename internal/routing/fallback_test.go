package routing

import (
	"errors"
	"testing"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/config"
	"github.com/9bingyin/claude-code-lb/internal/upstream"
	"github.com/9bingyin/claude-code-lb/internal/verdict"
)

var (
	failed  = verdict.Outcome{Scope: verdict.ScopeEndpoint, Reason: "status 500"}
	badKey  = verdict.Outcome{Scope: verdict.ScopeCredential, Reason: "status 401"}
	limited = verdict.Outcome{Scope: verdict.ScopeRateLimit, Reason: "status 429", RetryAfter: 10 * time.Second}
)

func three(t *testing.T) *Table {
	return table(t, config.ModeLoadBalance, config.Server{Name: "a", Weight: 1}, config.Server{Name: "b", Weight: 1}, config.Server{Name: "c", Weight: 1})
}

// nextName returns the result for a query: a server's name, "wait" with the time, or "none" with
// the time.
func nextName(t *testing.T, tb *Table, q Query, tried *Tried, now time.Time) string {
	t.Helper()
	lease, err := acquire(tb, &q, tried, now)
	if wait, ok := errors.AsType[*Wait](err); ok {
		return "wait " + wait.Until.Sub(now).String()
	}
	if none, ok := errors.AsType[*Unavailable](err); ok {
		return "none " + none.RetryAfter.String() + " " + none.Mildest.String()
	}
	lease.Release()
	return lease.Name()
}

func TestServersRestingBeyondTheShareAreTried(t *testing.T) {
	tb := three(t)
	for i, name := range []string{"a", "b", "c"} {
		settle(t, tb, name, failed, t0.Add(time.Duration(i)*10*time.Second))
	}
	// Half of three is one: the last to return keeps its cooldown; the others are tried, the first
	// to return first.
	now := t0.Add(21 * time.Second)
	var tried Tried
	for _, want := range []string{"a", "b"} {
		lease, err := acquire(tb, &Query{}, &tried, now)
		if err != nil || lease.Name() != want {
			t.Fatalf("got %v, %v, want %s", lease, err, want)
		}
		tried.Add(lease.ID())
		lease.Release()
	}
	// After that they are spared until the pace allows another attempt.
	if got := nextName(t, tb, Query{Patience: time.Minute}, &Tried{}, now); got != "wait 250ms" {
		t.Errorf("within the pace: %s", got)
	}
	if got := nextName(t, tb, Query{Patience: time.Minute}, &Tried{}, now.Add(time.Second)); got != "a" {
		t.Errorf("after the pace: %s", got)
	}
}

func TestTheOnlyServerIsNeverRefused(t *testing.T) {
	tb := table(t, config.ModeFallback, config.Server{Name: "a", Weight: 1})
	settle(t, tb, "a", failed, t0)
	for i := range 5 {
		now := t0.Add(time.Duration(i+1) * time.Second)
		if got := nextName(t, tb, Query{}, &Tried{}, now); got != "a" {
			t.Errorf("request %d: %s", i, got)
		}
	}
}

func TestWaitsForTheFirstToReturn(t *testing.T) {
	f := func(patience time.Duration, want string) {
		t.Helper()
		tb := table(t, config.ModeLoadBalance, config.Server{Name: "a", Weight: 1}, config.Server{Name: "b", Weight: 1})
		settle(t, tb, "a", badKey, t0)
		settle(t, tb, "b", limited, t0)
		if got := nextName(t, tb, Query{Patience: patience}, &Tried{}, t0.Add(time.Second)); got != want {
			t.Errorf("patience of %v: %s, want %s", patience, got, want)
		}
	}
	f(30*time.Second, "wait 9s")
	f(9*time.Second, "wait 9s")
	f(8*time.Second, "b") // too long to wait: the mildest is tried, because it may be back early
	f(0, "b")
}

func TestOnlyFreeRefusalsGetASecondPass(t *testing.T) {
	tb := three(t)
	var tried Tried
	for _, e := range tb.Endpoints() {
		tried.Add(e.ID())
	}
	if got := nextName(t, tb, Query{Patience: time.Minute}, &tried, t0); got != "none 0s fit" {
		t.Errorf("all tried: %s", got)
	}
	tried.Refused(tb.Endpoints()[1].ID(), t0)
	if got := nextName(t, tb, Query{Patience: time.Minute}, &tried, t0); got != "wait 500ms" {
		t.Errorf("at once: %s", got)
	}
	if got := nextName(t, tb, Query{Patience: time.Minute}, &tried, t0.Add(retrySameAfter)); got != "b" {
		t.Errorf("after a pause: %s", got)
	}
	if got := nextName(t, tb, Query{Patience: time.Minute, FitOnly: true}, &tried, t0.Add(retrySameAfter)); got != "none 0s fit" {
		t.Errorf("without a budget: %s", got)
	}
	tried.Add(tb.Endpoints()[1].ID())
	if got := nextName(t, tb, Query{Patience: time.Minute}, &tried, t0.Add(time.Second)); got != "none 0s fit" {
		t.Errorf("a third time: %s", got)
	}
}

func TestProbesUnderWayAreWaitedFor(t *testing.T) {
	tb := table(t, config.ModeLoadBalance, config.Server{Name: "a", Weight: 1})
	settle(t, tb, "a", badKey, t0)
	due := t0.Add(time.Minute)
	probe, err := acquire(tb, &Query{}, &Tried{}, due)
	if err != nil {
		t.Fatal(err)
	}
	_, err = acquire(tb, &Query{Patience: 30 * time.Second}, &Tried{}, due)
	wait, ok := errors.AsType[*Wait](err)
	if !ok || !wait.Until.Equal(due.Add(30*time.Second)) {
		t.Fatalf("got %v", err)
	}
	probe.Settle(t.Context(), verdict.Outcome{}, due)
	select {
	case <-wait.Changed:
	default:
		t.Error("no waiter was notified of the passed probe")
	}
	if got := nextName(t, tb, Query{}, &Tried{}, due); got != "a" {
		t.Errorf("after the probe: %s", got)
	}
}

func TestLimitsOfOneClassOfModelsLeaveOthersAlone(t *testing.T) {
	tb := table(t, config.ModeLoadBalance, config.Server{Name: "a", Weight: 1}, config.Server{Name: "b", Weight: 1})
	for _, e := range tb.Endpoints()[:1] {
		lease, _ := e.Acquire(t0, upstream.Subject{Model: "claude-opus-4-5"})
		lease.Settle(t.Context(), limited, t0)
		lease.Release()
	}
	count := func(model string) int {
		n := 0
		for range 10 {
			if nextName(t, tb, Query{Subject: upstream.Subject{Model: model}}, &Tried{}, t0) == "a" {
				n++
			}
		}
		return n
	}
	if opus, haiku := count("claude-opus-4-5"), count("claude-haiku-4-5"); opus != 0 || haiku != 5 {
		t.Errorf("of 10 requests a got %d for opus, %d for haiku", opus, haiku)
	}
	if c := tb.Counts(t0); c.Cooling != 1 {
		t.Errorf("counts %+v", c)
	}
}
