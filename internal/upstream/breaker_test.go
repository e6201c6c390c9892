package upstream

import (
	"testing"
	"time"
)

var t0 = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

func TestCooldownGrowsAndIsBounded(t *testing.T) {
	f := func(retryAfter, base time.Duration, failures int, spread float64, want time.Duration) {
		t.Helper()
		if got := cooldown(retryAfter, base, failures, spread); got != want {
			t.Errorf("cooldown(%v, %v, %d, %v) = %v, want %v", retryAfter, base, failures, spread, got, want)
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
	f(100*time.Hour, time.Minute, 1, 0, time.Hour)
	f(0, 0, 3, 0, 0)
}

func TestBreakerHalfOpenAdmitsOne(t *testing.T) {
	var b breaker
	p, ok := b.acquire(t0)
	if !ok || b.fail(p, Outcome{Scope: ScopeEndpoint}, time.Minute, t0, 0) != time.Minute {
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
	b.giveBack(probe)
	probe, ok = b.acquire(due)
	if !ok {
		t.Fatal("a probe without verdict did not give its permit back")
	}
	if wait := b.fail(probe, Outcome{Scope: ScopeEndpoint}, time.Minute, due, 0); wait != 2*time.Minute {
		t.Errorf("the second opening lasts %v, want 2m", wait)
	}
	probe, _ = b.acquire(due.Add(2 * time.Minute))
	if !b.succeed(probe) || !b.closed() || b.failures != 0 {
		t.Errorf("a good probe left %+v", b)
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
		b.fail(p, Outcome{Scope: ScopeEndpoint}, time.Minute, t0, 0)
	}
	if b.failures != 1 {
		t.Errorf("100 requests that failed together count as %d failures", b.failures)
	}
	if b.succeed(permits[0]) {
		t.Error("a success from before the opening closed the breaker")
	}
}

func TestBreakerExtraPermits(t *testing.T) {
	var b breaker
	p, _ := b.acquire(t0)
	b.fail(p, Outcome{Scope: ScopeEndpoint}, time.Minute, t0, 0)

	extra := b.acquireAnyway(t0.Add(time.Second))
	if b.fail(extra, Outcome{Scope: ScopeEndpoint}, time.Minute, t0.Add(time.Second), 0) != 0 || b.failures != 1 {
		t.Error("a failed last resort made the cooldown longer")
	}
	if b.fail(extra, Outcome{Scope: ScopeRateLimit, RetryAfter: 5 * time.Minute}, time.Minute, t0, 0) != 5*time.Minute {
		t.Error("a retry-after learned by a last resort was ignored")
	}
	if !b.succeed(b.acquireAnyway(t0.Add(2 * time.Second))) {
		t.Error("a good last resort did not bring the endpoint back")
	}
}

// FuzzBreaker drives a breaker through any order of events and holds it to its
// invariants: one probe at most, never stuck open, never open beyond the bound.
func FuzzBreaker(f *testing.F) {
	f.Add([]byte{0, 2, 1, 0, 2, 3, 200, 0, 4, 5})
	f.Fuzz(func(t *testing.T, events []byte) {
		var b breaker
		now := t0
		var held []permit
		for _, e := range events {
			switch e % 6 {
			case 0:
				if p, ok := b.acquire(now); ok {
					held = append(held, p)
				}
			case 1:
				held = append(held, b.acquireAnyway(now))
			case 2, 3, 4:
				if len(held) == 0 {
					continue
				}
				p := held[0]
				held = held[1:]
				switch e % 6 {
				case 2:
					b.fail(p, Outcome{Scope: ScopeEndpoint, RetryAfter: time.Duration(e) * time.Second}, time.Minute, now, 0.5)
				case 3:
					b.succeed(p)
				case 4:
					b.giveBack(p)
				}
			case 5:
				now = now.Add(time.Duration(e) * time.Second)
			}
			probes := 0
			for _, p := range held {
				if p.probe && p.epoch == b.epoch {
					probes++
				}
			}
			if probes > 1 {
				t.Fatalf("%d live probes", probes)
			}
			if b.openUntil.After(now.Add(maxRetryAfter)) {
				t.Fatalf("open until %v at %v", b.openUntil, now)
			}
		}
		for _, p := range held {
			b.giveBack(p)
		}
		if _, ok := b.acquire(now.Add(maxRetryAfter)); !ok {
			t.Fatalf("stuck: %+v", b)
		}
	})
}
