package upstream

import (
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/config"
	"github.com/9bingyin/claude-code-lb/internal/verdict"
)

// limitHeader returns a response header with the remaining input tokens.
func limitHeader(limit, remaining int) http.Header {
	return http.Header{
		"Anthropic-Ratelimit-Input-Tokens-Limit":     {strconv.Itoa(limit)},
		"Anthropic-Ratelimit-Input-Tokens-Remaining": {strconv.Itoa(remaining)},
		"Anthropic-Ratelimit-Input-Tokens-Reset":     {t0.Add(time.Minute).Format(time.RFC3339)},
	}
}

func withInput(input int64) Subject {
	return Subject{Model: opus, Tokens: input, Demand: Demand{Input: input}}
}

// acquire takes a lease for a demand.
func acquire(t *testing.T, e *Endpoint, input int64, now time.Time) *Lease {
	t.Helper()
	l, ok := e.Acquire(now, withInput(input))
	if !ok {
		t.Fatalf("not acquired: %+v", e.View(now, withInput(input)))
	}
	return l
}

func TestQuotaLow(t *testing.T) {
	e := endpoints(t, server(t, "a", "http://a", "t"))[0]
	f := func(after time.Duration, input int64, want Unfit, ready time.Duration) {
		t.Helper()
		v := e.View(t0.Add(after), withInput(input))
		if v.Unfit != want || want != Fit && v.ReadyAt.Sub(t0).Round(100*time.Millisecond) != ready {
			t.Errorf("%d tokens after %s: %s, ready after %s", input, after, v.Unfit, v.ReadyAt.Sub(t0))
		}
	}
	f(0, 1_000_000, Fit, 0) // nothing is known
	first := acquire(t, e, 100_000, t0)
	first.UpdateFromHeader(http.StatusOK, limitHeader(600_000, 60_000), t0)
	first.Settle(t.Context(), verdict.Outcome{}, t0)
	first.RecordOutput(1000, t0)
	first.Release()

	f(0, 50_000, Fit, 0)
	f(0, 70_000, QuotaLow, 1*time.Second+100*time.Millisecond) // 10,500 tokens more, at 10,000 per second; with the rounding error
	f(time.Second, 69_000, Fit, 0)
	f(0, 900_000, QuotaLow, 54*time.Second) // above the limit: needs a full bucket
	if v := e.View(t0, Subject{Model: haiku, Demand: Demand{Input: 70_000}}); v.Unfit != Fit {
		t.Errorf("another class of models: %s", v.Unfit)
	}

	second := acquire(t, e, 50_000, t0) // counts while it is in flight
	f(0, 50_000, QuotaLow, 4*time.Second+100*time.Millisecond)
	second.Release() // without a response
	f(0, 50_000, Fit, 0)

	third := acquire(t, e, 50_000, t0)
	third.UpdateFromHeader(http.StatusTooManyRequests, limitHeader(600_000, 20_000), t0) // the account has other users too
	third.Settle(t.Context(), verdict.Outcome{Scope: verdict.ScopeRequest}, t0)
	third.Release()
	f(0, 50_000, QuotaLow, 3*time.Second+100*time.Millisecond)
	if h := e.View(t0, withInput(0)).Headroom; h < 0.03 || h > 0.04 {
		t.Errorf("headroom %v", h)
	}
}

func TestLateHeader(t *testing.T) {
	e := endpoints(t, server(t, "a", "http://a", "t"))[0]
	first := acquire(t, e, 0, t0)
	first.UpdateFromHeader(http.StatusOK, limitHeader(600_000, 600_000), t0)
	first.Release()
	a, b := acquire(t, e, 200_000, t0), acquire(t, e, 300_000, t0)
	b.UpdateFromHeader(http.StatusOK, limitHeader(600_000, 100_000), t0) // includes both requests
	a.UpdateFromHeader(http.StatusOK, limitHeader(600_000, 400_000), t0) // was written before b arrived
	for _, l := range []*Lease{a, b} {
		l.Settle(t.Context(), verdict.Outcome{}, t0)
		l.RecordOutput(0, t0)
		l.Release()
	}
	if v := e.View(t0, withInput(150_000)); v.Unfit == Fit {
		t.Error("the level of the header that came last was used unchanged")
	}
}

func TestConfiguredLimits(t *testing.T) {
	limited := server(t, "a", "http://a", "t")
	limited.RateLimit = config.RateLimit{Requests: 2, InputTokens: 60_000, OutputTokens: 6000}
	e := endpoints(t, limited)[0]
	first := acquire(t, e, 50_000, t0)
	first.UpdateFromHeader(http.StatusOK, nil, t0)
	first.Settle(t.Context(), verdict.Outcome{}, t0)
	if v := e.View(t0, withInput(20_000)); v.Unfit != QuotaLow {
		t.Errorf("%s", v.Unfit)
	}
	first.CorrectInput(30_000, t0) // the response has the exact number
	first.RecordOutput(6500, t0)
	first.Release()
	if v := e.View(t0, withInput(20_000)); v.Unfit != QuotaLow || v.ReadyAt.Sub(t0) != 5*time.Second { // because of the output: 100 per second
		t.Errorf("%s until %s", v.Unfit, v.ReadyAt.Sub(t0))
	}
	ready := t0.Add(5 * time.Second)
	acquire(t, e, 20_000, ready).Release()
	acquire(t, e, 0, ready)
	if v := e.View(ready, withInput(0)); v.Unfit != QuotaLow {
		t.Errorf("a third request within the minute: %s", v.Unfit)
	}
}

// TestAbsurdLimits checks that absurd limits and usage in a response have no effect after a minute.
func TestAbsurdLimits(t *testing.T) {
	e := endpoints(t, server(t, "a", "http://a", "t"))[0]
	l := acquire(t, e, 1<<60, t0)
	l.UpdateFromHeader(http.StatusOK, http.Header{
		"Anthropic-Ratelimit-Output-Tokens-Limit": {"1000"}, "Anthropic-Ratelimit-Output-Tokens-Remaining": {"1000"},
		"Anthropic-Ratelimit-Input-Tokens-Limit": {"1"}, "Anthropic-Ratelimit-Input-Tokens-Remaining": {"0"},
		"Anthropic-Ratelimit-Requests-Limit": {"9223372036854775807"}, "Anthropic-Ratelimit-Requests-Remaining": {"0"},
	}, t0)
	l.RecordOutput(1<<62, t0)
	l.Release()
	if v := e.View(t0.Add(2*time.Minute), withInput(5)); v.Unfit != Fit {
		t.Errorf("%s until %s", v.Unfit, v.ReadyAt.Sub(t0))
	}
	if v := e.View(t0, withInput(5)); v.Load > 2e7 {
		t.Errorf("load %v", v.Load)
	}
}

func TestSubscriptionWindow(t *testing.T) {
	eps := endpoints(t, server(t, "a", "http://a", "t"))
	l := acquire(t, eps[0], 0, t0)
	reset := t0.Add(time.Hour)
	l.UpdateFromHeader(http.StatusOK, http.Header{
		"Anthropic-Ratelimit-Unified-Status":         {"allowed_warning"},
		"Anthropic-Ratelimit-Unified-5h-Utilization": {"1.02"},
		"Anthropic-Ratelimit-Unified-5h-Reset":       {strconv.FormatInt(reset.Unix(), 10)},
		"Anthropic-Ratelimit-Unified-7d-Utilization": {"0.4"},
		"Anthropic-Ratelimit-Unified-7d-Reset":       {strconv.FormatInt(reset.Add(48*time.Hour).Unix(), 10)},
	}, t0)
	l.Release()
	if v := eps[0].View(t0, withInput(1)); v.Unfit != QuotaLow || !v.ReadyAt.Equal(reset) {
		t.Errorf("%s until %s", v.Unfit, v.ReadyAt)
	}
	if v := eps[0].View(reset, withInput(1)); v.Unfit != Fit || v.Headroom != 0.6 {
		t.Errorf("at the reset: %s, headroom %v", v.Unfit, v.Headroom)
	}
}

func TestLoadDecays(t *testing.T) {
	eps := endpoints(t, server(t, "a", "http://a", "t"))
	l := acquire(t, eps[0], 1000, t0)
	l.RecordOutput(100, t0)
	l.Release()
	f := func(after time.Duration, want float64) {
		t.Helper()
		if got := eps[0].View(t0.Add(after), Subject{}).Load; got < want-1 || got > want+1 {
			t.Errorf("after %s: %v, want %v", after, got, want)
		}
	}
	f(0, 1100)
	f(loadMemory, 1100*0.3679)
	f(10*loadMemory, 0)
}

// windowHeader returns the header of a subscription's response.
func windowHeader(pairs ...string) http.Header {
	h := http.Header{}
	for i := 0; i < len(pairs); i += 2 {
		h.Set("Anthropic-Ratelimit-Unified-"+pairs[i], pairs[i+1])
	}
	return h
}

// TestWindowsOfSubscriptions checks that a used-up window applies to the family that it names, and
// to none while usage beyond it is allowed.
func TestWindowsOfSubscriptions(t *testing.T) {
	end := strconv.FormatInt(t0.Add(time.Hour).Unix(), 10)
	f := func(want Unfit, model string, pairs ...string) {
		t.Helper()
		e := endpoints(t, server(t, "a", "http://a", "t"))[0]
		l := acquire(t, e, 1, t0) // for opus
		l.UpdateFromHeader(http.StatusOK, windowHeader(pairs...), t0)
		l.Settle(t.Context(), verdict.Outcome{}, t0)
		l.Release()
		if v := e.View(t0, Subject{Model: model}); v.Unfit != want {
			t.Errorf("%s after %v: %s, want %s", model, pairs, v.Unfit, want)
		}
	}
	f(QuotaLow, opus, "Status", "allowed", "5h-Utilization", "1.01", "5h-Reset", end)
	f(Fit, opus, "Status", "allowed", "5h-Utilization", "1.01", "5h-Reset", end, "Overage-Status", "allowed")
	f(Fit, opus, "Status", "allowed_warning", "5h-Status", "rejected", "5h-Reset", end, "Overage-Status", "allowed_warning", "Overage-In-Use", "true")
	f(Fit, opus, "Status", "rejected", "5h-Status", "rejected", "5h-Reset", end, "Overage-Status", "allowed") // of a successful response
	f(QuotaLow, opus, "Status", "rejected", "5h-Status", "rejected", "5h-Reset", end, "Overage-Status", "rejected", "Overage-In-Use", "true")
	f(QuotaLow, opus, "7d_opus-Utilization", "1", "7d_opus-Reset", end)
	f(Fit, haiku, "7d_opus-Utilization", "1", "7d_opus-Reset", end)
	f(Fit, opus, "7d_sonnet-Utilization", "1", "7d_sonnet-Reset", end)
}

// TestCooldownOf429WithoutEnd checks that such a cooldown lasts seconds at first, and longer while
// the refusals repeat.
func TestCooldownOf429WithoutEnd(t *testing.T) {
	e := endpoints(t, server(t, "a", "http://a", "t"))[0]
	refuse := func(after time.Duration) time.Duration {
		now := t0.Add(after)
		l, ok := e.Acquire(now, Subject{Model: opus})
		if !ok {
			t.Fatalf("after %s: not acquired", after)
		}
		defer l.Release()
		l.Settle(t.Context(), verdict.Outcome{Scope: verdict.ScopeRateLimit, Reason: "x"}, now)
		return e.View(now, Subject{Model: opus}).ReadyAt.Sub(now)
	}
	f := func(got, most time.Duration) {
		t.Helper()
		if got > most || got < most*8/10 {
			t.Errorf("a cooldown of %s, want about %s", got, most)
		}
	}
	f(refuse(0), 5*time.Second)
	f(refuse(6*time.Second), 10*time.Second)
	f(refuse(17*time.Second), 20*time.Second)
	f(refuse(time.Hour), 5*time.Second)
}
