package claude

import (
	"net/http"
	"strconv"
	"testing"
	"time"
)

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 10, 10, 12, 0, 0, 0, time.UTC)
	f := func(h http.Header, want time.Duration, wantOK bool) {
		t.Helper()
		if got, ok := RetryAfter(h, now); got != want || ok != wantOK {
			t.Errorf("%v: got %v, %v, want %v, %v", h, got, ok, want, wantOK)
		}
	}
	f(nil, 0, false)
	f(header("retry-after", "30"), 30*time.Second, true)
	f(header("retry-after", "0"), 0, true)
	f(header("retry-after", "1.5"), 1500*time.Millisecond, true)
	f(header("retry-after", "Sat, 10 Oct 2026 12:00:20 GMT"), 20*time.Second, true)
	f(header("retry-after", "Sat, 10 Oct 2026 11:00:00 GMT"), 0, true)
	f(header("retry-after", "Fri, 31 Dec 9999 23:59:59 GMT"), maxRetryAfter, true)
	f(header("retry-after", "1e15"), maxRetryAfter, true)

	// Unix time.
	soon := now.Add(3 * time.Second)
	f(header("retry-after", strconv.FormatInt(soon.Unix(), 10)), 3*time.Second, true)
	f(header("retry-after", strconv.FormatInt(soon.UnixMilli(), 10)), 3*time.Second, true)
	f(header("retry-after-ms", strconv.FormatInt(soon.UnixMilli(), 10)), 3*time.Second, true)
	f(header("retry-after", strconv.FormatInt(now.Unix()-5, 10)), 0, true)
	f(header("retry-after", "999999999"), maxRetryAfter, true)
	for _, nonsense := range []string{"", "soon", "-1", "-0.1", "NaN", "nan", "Inf", "-Inf", "1e999", "30s", "30 "} {
		f(header("retry-after", nonsense), 0, false)
	}

	f(header("retry-after-ms", "250", "retry-after", "9"), 250*time.Millisecond, true)
	f(header("retry-after-ms", "0.5"), 500*time.Microsecond, true)
	f(header("retry-after-ms", "NaN", "retry-after", "9"), 9*time.Second, true)
	f(header("retry-after-ms", "-1"), 0, false)
}

func FuzzRetryAfter(f *testing.F) {
	f.Add("", "30", int64(0))
	f.Add("250", "", int64(1e18))
	f.Add("NaN", "Sat, 10 Oct 2026 12:00:20 GMT", int64(1791633600e9))
	f.Add("Inf", "Monday, 02-Jan-06 15:04:05 MST", int64(-1))
	f.Add("-0", "1e308", int64(-1<<63))
	f.Add("infinity", "31622400", int64(0))
	f.Fuzz(func(t *testing.T, ms, seconds string, now int64) {
		d, ok := RetryAfter(header("retry-after-ms", ms, "retry-after", seconds), time.Unix(0, now))
		if d < 0 || d > maxRetryAfter || !ok && d != 0 {
			t.Fatalf("got %v, %v", d, ok)
		}
		if n, err := strconv.ParseUint(seconds, 10, 16); err == nil && ms == "" && (!ok || d != time.Duration(n)*time.Second) {
			t.Errorf("%q seconds: got %v, %v", seconds, d, ok)
		}
		if n, err := strconv.ParseUint(ms, 10, 16); err == nil && (!ok || d != time.Duration(n)*time.Millisecond) {
			t.Errorf("%q milliseconds: got %v, %v", ms, d, ok)
		}
	})
}
