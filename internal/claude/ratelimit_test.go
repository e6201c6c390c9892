package claude

import (
	"math"
	"net/http"
	"reflect"
	"strconv"
	"testing"
	"time"
)

// header returns a header from names and values in turn.
func header(pairs ...string) http.Header {
	h := http.Header{}
	for i := 0; i < len(pairs); i += 2 {
		h.Set(pairs[i], pairs[i+1])
	}
	return h
}

func TestParseRateLimits(t *testing.T) {
	f := func(h http.Header, want RateLimits) {
		t.Helper()
		if got := ParseRateLimits(h); !reflect.DeepEqual(got, want) {
			t.Errorf("%v:\n got %+v\nwant %+v", h, got, want)
		}
	}
	reset := time.Date(2026, 8, 21, 12, 40, 59, 0, time.UTC)
	const rfc3339, unix = "2026-08-21T12:40:59Z", "1787316059"

	f(nil, RateLimits{})
	f(header(
		"anthropic-ratelimit-requests-limit", "1000", "anthropic-ratelimit-requests-remaining", "999", "anthropic-ratelimit-requests-reset", rfc3339,
		"anthropic-ratelimit-tokens-limit", "9", "anthropic-ratelimit-tokens-remaining", "0", "anthropic-ratelimit-tokens-reset", "2026-08-21T14:40:59+02:00",
		"anthropic-ratelimit-input-tokens-limit", "2000000", "anthropic-ratelimit-input-tokens-remaining", "1995000",
		"anthropic-ratelimit-output-tokens-limit", "400000", "anthropic-ratelimit-output-tokens-remaining", "400000", "anthropic-ratelimit-output-tokens-reset", unix,
	), RateLimits{
		Requests:     Bucket{Limit: 1000, Remaining: 999, Reset: reset, Known: true},
		Tokens:       Bucket{Limit: 9, Remaining: 0, Reset: reset, Known: true},
		InputTokens:  Bucket{Limit: 2_000_000, Remaining: 1_995_000, Known: true},
		OutputTokens: Bucket{Limit: 400_000, Remaining: 400_000, Reset: reset, Known: true},
	})
	f(header(
		"anthropic-ratelimit-unified-status", "rejected", "anthropic-ratelimit-unified-reset", unix,
		"anthropic-ratelimit-unified-5h-status", "rejected", "anthropic-ratelimit-unified-5h-reset", unix, "anthropic-ratelimit-unified-5h-utilization", "1.04",
		"anthropic-ratelimit-unified-7d-reset", rfc3339, "anthropic-ratelimit-unified-7d-utilization", "0",
	), RateLimits{Unified: Unified{
		Status: "rejected", Reset: reset, Known: true,
		FiveHour: Window{Status: "rejected", Reset: reset, Utilization: 1.04, Known: true},
		SevenDay: Window{Reset: reset, Known: true},
	}})

	for _, garbage := range []string{"", "x", "-1", "1.5", "1e3", "99999999999999999999"} {
		f(header("anthropic-ratelimit-requests-limit", garbage, "anthropic-ratelimit-requests-remaining", "1"), RateLimits{})
		f(header("anthropic-ratelimit-requests-limit", "1", "anthropic-ratelimit-requests-remaining", garbage), RateLimits{})
	}
	for _, garbage := range []string{"x", "-1", "0", "soon", "2026-08-21", "99999999999999999999"} {
		f(header("anthropic-ratelimit-requests-limit", "1", "anthropic-ratelimit-requests-remaining", "1", "anthropic-ratelimit-requests-reset", garbage), RateLimits{})
		f(header("anthropic-ratelimit-unified-status", "allowed", "anthropic-ratelimit-unified-reset", garbage), RateLimits{Unified: Unified{Status: "allowed", Known: true}})
	}
	for _, garbage := range []string{"", "x", "-0.1", "NaN", "Inf", "1e999"} {
		f(header("anthropic-ratelimit-unified-5h-utilization", garbage, "anthropic-ratelimit-unified-5h-reset", unix), RateLimits{})
	}
	f(header("anthropic-ratelimit-unified-status", "two words"), RateLimits{})
}

// FuzzParseRateLimits checks that parsed limits are valid, and unchanged when they are written and
// parsed again.
func FuzzParseRateLimits(f *testing.F) {
	f.Add("1000", "999", "2026-08-21T12:40:59Z", "allowed_warning", "0.93")
	f.Add("0", "0", "1787316059", "rejected", "1.2")
	f.Add("+1", "007", "253402300799", "", "0x1p-2")
	f.Add("-1", "NaN", "0000-01-01T00:00:00Z", "\x00", "nan")
	f.Add("1", "1", "9999-12-31T23:59:59-23:59", "a", "1e-320")
	f.Fuzz(func(t *testing.T, limit, remaining, reset, status, utilization string) {
		write := func(limit, remaining, reset, status, utilization string) RateLimits {
			return ParseRateLimits(header(
				"anthropic-ratelimit-input-tokens-limit", limit, "anthropic-ratelimit-input-tokens-remaining", remaining, "anthropic-ratelimit-input-tokens-reset", reset,
				"anthropic-ratelimit-unified-status", status, "anthropic-ratelimit-unified-reset", reset,
				"anthropic-ratelimit-unified-7d-status", status, "anthropic-ratelimit-unified-7d-reset", reset, "anthropic-ratelimit-unified-7d-utilization", utilization,
			))
		}
		got := write(limit, remaining, reset, status, utilization)
		bucket, unified, window := got.InputTokens, got.Unified, got.Unified.SevenDay
		if !bucket.Known && bucket != (Bucket{}) || !window.Known && window != (Window{}) || !unified.Known && unified.Status != "" {
			t.Errorf("unknown, and yet %+v", got)
		}
		if bucket.Limit < 0 || bucket.Remaining < 0 || !(window.Utilization >= 0) || math.IsInf(window.Utilization, 0) || !isGraphic(unified.Status) {
			t.Errorf("makes no sense: %+v", got)
		}
		if !bucket.Known || !window.Known {
			return
		}
		reset = ""
		if !bucket.Reset.IsZero() {
			reset = bucket.Reset.Format(time.RFC3339Nano)
		}
		again := write(strconv.FormatInt(bucket.Limit, 10), strconv.FormatInt(bucket.Remaining, 10), reset,
			unified.Status, strconv.FormatFloat(window.Utilization, 'g', -1, 64))
		if !reflect.DeepEqual(again, got) {
			t.Errorf("written again:\n got %+v\nwant %+v", again, got)
		}
	})
}

func TestRejectedUntil(t *testing.T) {
	at := func(hour int) time.Time { return time.Date(2026, 8, 21, hour, 0, 0, 0, time.UTC) }
	f := func(u Unified, want time.Time) {
		t.Helper()
		if got := u.RejectedUntil(); !got.Equal(want) {
			t.Errorf("%+v: %v, want %v", u, got, want)
		}
	}
	f(Unified{}, time.Time{})
	f(Unified{Status: "allowed", Reset: at(1)}, time.Time{})
	f(Unified{Status: "rejected"}, time.Time{})
	f(Unified{Status: "rejected", Reset: at(1), SevenDay: Window{Status: "allowed", Reset: at(5)}}, at(1))
	f(Unified{Status: "rejected", Reset: at(1), FiveHour: Window{Status: "rejected", Reset: at(2)}, SevenDay: Window{Status: "rejected", Reset: at(5)}}, at(5))
	f(Unified{Status: "rejected", FiveHour: Window{Status: "rejected", Reset: at(2)}}, at(2))
}

func TestHasRateLimits(t *testing.T) {
	for name, want := range map[string]bool{
		"anthropic-ratelimit-requests-limit": true, "anthropic-ratelimit-unified-7d_oi-status": true,
		"anthropic-organization-id": false, "retry-after": false,
	} {
		if got := HasRateLimits(header(name, "1")); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestFamilyWindows(t *testing.T) {
	const soon, late = "1787316059", "1787916059"
	end := func(unix int64) time.Time { return time.Unix(unix, 0).UTC() }
	only := func(want bool, until time.Time, class string, pairs ...string) {
		t.Helper()
		for i := 0; i < len(pairs); i += 2 {
			pairs[i] = "anthropic-ratelimit-unified-" + pairs[i]
		}
		u := ParseRateLimits(header(pairs...)).Unified
		if got := u.IsFamilyOnly(); !reflect.DeepEqual(got, want) || want && !u.FamilyRejectedUntil(class).Equal(until) {
			t.Errorf("%v: only the family %v, until %v", pairs, got, u.FamilyRejectedUntil(class))
		}
	}
	only(true, end(1787916059), "opus", "status", "rejected", "reset", soon, "representative-claim", "seven_day_opus", "7d_opus-status", "rejected", "7d_opus-reset", late)
	only(true, end(1787316059), "opus", "status", "rejected", "reset", soon, "representative-claim", "seven_day_opus")
	only(true, end(1787916059), "sonnet", "7d_sonnet-status", "rejected", "7d_sonnet-reset", late, "7d-status", "allowed", "5h-status", "allowed")
	only(true, time.Time{}, "opus", "7d_oi-status", "rejected")
	only(false, time.Time{}, "opus", "status", "rejected", "representative-claim", "five_hour", "7d_opus-status", "allowed")
	only(false, time.Time{}, "opus", "status", "rejected", "representative-claim", "overage")
	only(false, time.Time{}, "opus", "status", "rejected", "representative-claim", "seven_day_overage_included")
	only(false, time.Time{}, "opus", "status", "rejected", "representative-claim", "seven_day_opus", "7d-status", "rejected")
	only(false, time.Time{}, "opus", "status", "rejected")

	var many []string
	for _, name := range []string{"d", "b", "a", "c", "e"} {
		many = append(many, "anthropic-ratelimit-unified-7d_"+name+"-utilization", "0.5")
	}
	if f := ParseRateLimits(header(many...)).Unified.Families; f[0].Family != "a" || f[3].Family != "d" || !f.Of("c").Known || f.Of("e").Known || f.Of("").Known {
		t.Errorf("families %+v", f)
	}
}

func TestOverage(t *testing.T) {
	f := func(want bool, pairs ...string) {
		t.Helper()
		if got := ParseRateLimits(header(pairs...)).Unified.Overage; !reflect.DeepEqual(got, want) {
			t.Errorf("%v: %v", pairs, got)
		}
	}
	f(false)
	f(true, "anthropic-ratelimit-unified-overage-status", "allowed")
	f(true, "anthropic-ratelimit-unified-overage-status", "allowed_warning", "anthropic-ratelimit-unified-overage-in-use", "true")
	f(true, "anthropic-ratelimit-unified-overage-in-use", "true")
	f(false, "anthropic-ratelimit-unified-overage-status", "rejected", "anthropic-ratelimit-unified-overage-disabled-reason", "org_level_disabled")
}

func TestParseFastLimits(t *testing.T) {
	if _, ok := ParseFastLimits(header("anthropic-ratelimit-requests-limit", "5")); ok {
		t.Error("limits of fast mode where there are none")
	}
	got, ok := ParseFastLimits(header("anthropic-fast-input-tokens-limit", "0", "anthropic-fast-input-tokens-remaining", "0", "anthropic-ratelimit-requests-limit", "5", "anthropic-ratelimit-requests-remaining", "5"))
	if want := (RateLimits{InputTokens: Bucket{Known: true}}); !ok || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v", got, ok)
	}
}
