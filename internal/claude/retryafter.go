package claude

import (
	"math"
	"net/http"
	"strconv"
	"time"
)

// maxRetryAfter is the longest wait that is taken at its word: longer than any limit lasts.
const maxRetryAfter = 366 * 24 * time.Hour

// RetryAfter is how long an answer asks to wait: retry-after-ms, else retry-after in
// seconds (a fraction is allowed) or as an HTTP date, which is how the official SDKs
// read them. It is never negative and at most 366 days; a date in the past is 0.
// It reports false where no header makes sense.
func RetryAfter(h http.Header, now time.Time) (time.Duration, bool) {
	if d, ok := parseWait(h.Get("Retry-After-Ms"), time.Millisecond); ok {
		return d, true
	}
	value := h.Get("Retry-After")
	if d, ok := parseWait(value, time.Second); ok {
		return d, true
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0, false
	}
	return min(max(at.Sub(now), 0), maxRetryAfter), true
}

func parseWait(s string, unit time.Duration) (time.Duration, bool) {
	n, err := strconv.ParseFloat(s, 64)
	if err != nil || !(n >= 0) || math.IsInf(n, 0) { // a NaN is not ≥ 0
		return 0, false
	}
	if n >= float64(maxRetryAfter/unit) {
		return maxRetryAfter, true
	}
	return time.Duration(n * float64(unit)), true
}
