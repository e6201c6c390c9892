package upstream

import (
	"testing"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/verdict"
)

func TestHistory(t *testing.T) {
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	var h history
	f := func(attempts, errors int) {
		t.Helper()
		if a, e := h.counts(now); a != attempts || e != errors {
			t.Errorf("%d of %d, want %d of %d", e, a, errors, attempts)
		}
	}
	f(0, 0)
	h.record(verdict.Outcome{}, "m", false, now)
	h.record(verdict.Outcome{Scope: verdict.ScopeRequest}, "m", false, now)
	h.record(verdict.Outcome{Scope: verdict.ScopeClient}, "m", false, now)
	h.record(verdict.Outcome{Scope: verdict.ScopeBalancer}, "m", false, now)
	f(2, 0)
	if !h.last.At.IsZero() {
		t.Error(h.last)
	}
	now = now.Add(4 * time.Minute)
	h.record(verdict.Outcome{Scope: verdict.ScopeRateLimit, Reason: "status 429"}, "m", false, now)
	h.record(verdict.Outcome{Scope: verdict.ScopeEndpoint, Reason: "broke off"}, "m", true, now) // of an attempt that was settled as a success
	f(3, 2)
	if want := (Incident{now, verdict.ScopeEndpoint, "broke off", "m"}); h.last != want {
		t.Errorf("%+v", h.last)
	}
	now = now.Add(2 * time.Minute)
	f(1, 1)
	now = now.Add(RecentSpan)
	f(0, 0)
	if h.last.Reason != "broke off" {
		t.Error("the last error is lost")
	}
}

func TestLongTermLatency(t *testing.T) {
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	var l latency
	if l.longTermMean() != 0 {
		t.Error("known without a response")
	}
	for range 100 {
		l.record(time.Second, 0, now)
		now = now.Add(10 * time.Second)
	}
	for range 30 {
		l.record(9*time.Second, 0, now)
		now = now.Add(2 * time.Second)
	}
	if long, recent := l.longTermMean(), l.recentMean(); long > 3*time.Second || recent < 5*time.Second {
		t.Errorf("long-term mean %s, recent mean %s", long, recent)
	}
}
