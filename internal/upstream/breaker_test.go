package upstream

import (
	"testing"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/verdict"
)

var t0 = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

var serverError = verdict.Outcome{Scope: verdict.ScopeEndpoint, Reason: "status 500"}

func TestCooldownGrowsAndIsBounded(t *testing.T) {
	f := func(retryAfter, base time.Duration, failures int, spread float64, want time.Duration) {
		t.Helper()
		if got := cooldownFor(retryAfter, base, failures, spread); got != want {
			t.Errorf("cooldownFor(%v, %v, %d, %v) = %v, want %v", retryAfter, base, failures, spread, got, want)
		}
	}
	f(0, time.Minute, 1, 0, time.Minute)
	f(0, time.Minute, 2, 0, 2*time.Minute)
	f(0, time.Minute, 4, 0, 8*time.Minute)
	f(0, time.Minute, 5, 0, 10*time.Minute)
	f(0, time.Minute, 1_000_000, 0, 10*time.Minute)
	f(0, time.Minute, 1, 0.5, 57*time.Second)
	f(0, time.Hour, 1, 0, 10*time.Minute)
	f(3*time.Second, time.Minute, 9, 0.5, 3*time.Second)
	f(30*time.Minute, time.Minute, 1, 0, 30*time.Minute)
	f(0, 0, 3, 0, 0)
}

func TestRetryAfterIsBounded(t *testing.T) {
	f := func(o verdict.Outcome, want time.Duration) {
		t.Helper()
		if got := o.Bounded(time.Hour); got != want {
			t.Errorf("%+v: %v, want %v", o, got, want)
		}
	}
	f(verdict.Outcome{}, 0)
	f(verdict.Outcome{RetryAfter: time.Minute}, time.Minute)
	f(verdict.Outcome{RetryAfter: 100 * time.Hour}, time.Hour)
	f(verdict.Outcome{RetryAfter: 100 * time.Hour, FromRule: true}, 100*time.Hour)
}

func TestBreakerHalfOpenAdmitsOne(t *testing.T) {
	var b breaker
	once := openOnFirst(time.Minute)
	p, ok := b.acquire(t0)
	if !ok || b.fail(p, serverError, once, t0, 0) != time.Minute {
		t.Fatal("a closed breaker did not open")
	}
	if _, ok := b.acquire(t0.Add(59 * time.Second)); ok {
		t.Error("an open breaker admitted a request")
	}
	due := t0.Add(time.Minute)
	probe, ok := b.acquire(due)
	if !ok {
		t.Fatal("no probe when due")
	}
	if _, ok := b.acquire(due); ok {
		t.Error("a second probe beside the first")
	}
	b.release(probe)
	probe, ok = b.acquire(due)
	if !ok {
		t.Fatal("a probe without an outcome did not return its permit")
	}
	if wait := b.fail(probe, serverError, once, due, 0); wait != 2*time.Minute {
		t.Errorf("the second opening lasts %v, want 2m", wait)
	}
	back := due.Add(2 * time.Minute)
	probe, _ = b.acquire(back)
	if !b.succeed(probe, once, back) || !b.isClosed() || b.openings != 0 || !b.closedAt.Equal(back) {
		t.Errorf("after a successful probe: %+v", b)
	}
}

func TestBreakerCountsSimultaneousFailuresOnce(t *testing.T) {
	var b breaker
	var permits []permit
	for range 100 {
		p, _ := b.acquire(t0)
		permits = append(permits, p)
	}
	for _, p := range permits {
		b.fail(p, serverError, openOnFirst(time.Minute), t0, 0)
	}
	if b.openings != 1 {
		t.Errorf("100 requests that failed together count as %d failures", b.openings)
	}
	if b.succeed(permits[0], openOnFirst(time.Minute), t0) {
		t.Error("a success from before the opening closed the breaker")
	}
}

func TestBreakerForcedPermits(t *testing.T) {
	var b breaker
	once := openOnFirst(time.Minute)
	b.fail(b.acquireForced(t0), serverError, once, t0, 0)

	forced := b.acquireForced(t0.Add(time.Second))
	if b.fail(forced, serverError, once, t0.Add(time.Second), 0) != 0 || b.openings != 1 {
		t.Error("a failed forced attempt made the cooldown longer")
	}
	asked := verdict.Outcome{Scope: verdict.ScopeAccount, RetryAfter: 5 * time.Minute}
	if b.fail(forced, asked, once, t0, 0) != 5*time.Minute {
		t.Error("the retry-after of a forced attempt was ignored")
	}
	later := t0.Add(2 * time.Second)
	if !b.succeed(b.acquireForced(later), once, later) {
		t.Error("a successful forced attempt did not close the breaker")
	}
}

func TestBreakerOpens(t *testing.T) {
	f := func(policy breakerPolicy, events string, apart time.Duration, want bool) {
		t.Helper()
		var b breaker
		now := t0
		for _, e := range events {
			p, _ := b.acquire(now)
			if e == '+' {
				b.succeed(p, policy, now)
			} else {
				b.fail(p, serverError, policy, now, 0)
			}
			now = now.Add(apart)
		}
		if b.isClosed() == want {
			t.Errorf("%s, %v apart: open is %v, want %v", events, apart, !b.isClosed(), want)
		}
	}
	runs := breakerPolicy{cooldown: time.Minute, consecutive: 3, window: 30 * time.Second}
	f(runs, "--", time.Second, false)
	f(runs, "---", time.Second, true)
	f(runs, "--+--+--", time.Second, false)
	shares := breakerPolicy{cooldown: time.Minute, consecutive: 100, percent: 50, minimum: 6, window: 30 * time.Second}
	f(shares, "-+-+-", time.Second, false)
	f(shares, "-+-+-+-", time.Second, true)
	f(shares, "+++-+++-+++-", time.Second, false)
	f(shares, "-+-+-+-", time.Minute, false)
	f(breakerPolicy{consecutive: 1}, "-", time.Second, false)
}

// FuzzBreaker applies events to a breaker in any order and checks its invariants: at most one
// probe, never stuck open, never open beyond the bound.
func FuzzBreaker(f *testing.F) {
	f.Add([]byte{0, 2, 1, 0, 2, 3, 200, 0, 4, 5}, byte(1))
	f.Add([]byte{0, 2, 0, 2, 0, 3, 0, 2, 6, 0, 1, 2}, byte(3))
	f.Fuzz(func(t *testing.T, events []byte, consecutive byte) {
		var b breaker
		now := t0
		policy := breakerPolicy{cooldown: time.Minute, consecutive: int(consecutive), percent: 50, minimum: 4, window: 30 * time.Second}
		var permits []permit
		for _, e := range events {
			switch kind := e % 7; kind {
			case 0:
				if p, ok := b.acquire(now); ok {
					permits = append(permits, p)
				}
			case 1:
				permits = append(permits, b.acquireForced(now))
			case 2, 3, 4:
				if len(permits) == 0 {
					continue
				}
				p := permits[0]
				permits = permits[1:]
				switch kind {
				case 2:
					b.fail(p, verdict.Outcome{Scope: verdict.ScopeEndpoint, RetryAfter: time.Duration(e) * time.Second}, policy, now, 0.5)
				case 3:
					b.succeed(p, policy, now)
				case 4:
					b.release(p)
				}
			case 5:
				now = now.Add(time.Duration(e) * time.Second)
			case 6:
				b.endCooldown(now)
			}
			probes := 0
			for _, p := range permits {
				if p.probe && p.epoch == b.epoch {
					probes++
				}
			}
			if probes > 1 {
				t.Fatalf("%d live probes", probes)
			}
			if b.openUntil.After(now.Add(verdict.MaxRetryAfter)) {
				t.Fatalf("open until %v at %v", b.openUntil, now)
			}
		}
		for _, p := range permits {
			b.release(p)
		}
		if _, ok := b.acquire(now.Add(verdict.MaxRetryAfter)); !ok {
			t.Fatalf("stuck: %+v", b)
		}
	})
}
