package claude

import (
	"math"
	"net/http"
	"strconv"
	"time"
)

// maxRetryAfter bounds the wait. It is longer than any limit lasts.
const maxRetryAfter = 366 * 24 * time.Hour

// RetryAfter returns the wait that a response asks for: retry-after-ms, or retry-after in seconds
// (with an optional fraction) or as an HTTP date, as the official SDKs read them. A number that
// would mean decades is a Unix time, in seconds or milliseconds. The result is between 0 and 366
// days; a time in the past gives 0. RetryAfter returns false if no header is valid.
func RetryAfter(h http.Header, now time.Time) (time.Duration, bool) {
	if d, ok := parseWait(h.Get("Retry-After-Ms"), time.Millisecond, now); ok {
		return d, true
	}
	value := h.Get("Retry-After")
	if d, ok := parseWait(value, time.Second, now); ok {
		return d, true
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0, false
	}
	return min(max(at.Sub(now), 0), maxRetryAfter), true
}

const (
	// firstUnixTime is the smallest number of seconds that is a Unix time: 2001, or a wait of 31
	// years.
	firstUnixTime = 1e9
	// firstUnixMilli is the same in milliseconds.
	firstUnixMilli = firstUnixTime * 1000
)

func parseWait(s string, unit time.Duration, now time.Time) (time.Duration, bool) {
	n, err := strconv.ParseFloat(s, 64)
	if err != nil || !(n >= 0) || math.IsInf(n, 0) { // a NaN is not ≥ 0
		return 0, false
	}
	switch {
	case n >= firstUnixMilli:
		n, unit = n-float64(now.UnixMilli()), time.Millisecond
	case n >= firstUnixTime && unit == time.Second:
		n -= float64(now.UnixMilli()) / 1000
	}
	if n >= float64(maxRetryAfter/unit) {
		return maxRetryAfter, true
	}
	return time.Duration(max(n, 0) * float64(unit)), true
}
