package claude

import (
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Bucket is one token bucket of an account as an answer describes it (rate-limits docs).
type Bucket struct {
	Limit, Remaining int64     // requests or tokens; tokens remaining are rounded to thousands
	Reset            time.Time // when the bucket is full again; zero when the answer does not tell
	Known            bool      // the answer tells of this bucket, and all it tells makes sense
}

// Window is one usage window of a subscription (observed).
type Window struct {
	Status      string    // allowed, allowed_warning, rejected; an open set
	Reset       time.Time // zero when the answer does not tell
	Utilization float64   // used part, 1 is all of it; may exceed 1
	Known       bool      // status or utilization was told
}

// Unified is the state of a subscription's limits as a whole and by window (observed).
type Unified struct {
	Status   string    // allowed, allowed_warning, rejected; an open set
	Reset    time.Time // zero when the answer does not tell
	FiveHour Window
	SevenDay Window
	Known    bool // the answer comes from a subscription
}

// RateLimits is what the headers of an answer tell about the account's limits.
type RateLimits struct {
	Requests, Tokens, InputTokens, OutputTokens Bucket
	Unified                                     Unified
}

// RejectedUntil is when the last of the used-up limits ends: that of the
// subscription as a whole or of a window with status rejected; zero when the answer does not tell.
func (u Unified) RejectedUntil() time.Time {
	var end time.Time
	if u.Status == "rejected" {
		end = u.Reset
	}
	for _, w := range [...]Window{u.FiveHour, u.SevenDay} {
		if w.Status == "rejected" && w.Reset.After(end) {
			end = w.Reset
		}
	}
	return end
}

// limitPrefix begins the name of every header about the account's limits.
const limitPrefix = "Anthropic-Ratelimit-"

// HasRateLimits says whether an answer tells of any limit, be it one that RateLimits does not have.
func HasRateLimits(h http.Header) bool {
	for name := range h {
		if strings.HasPrefix(name, limitPrefix) {
			return true
		}
	}
	return false
}

// ParseRateLimits reads the anthropic-ratelimit-* headers.
func ParseRateLimits(h http.Header) RateLimits {
	if !HasRateLimits(h) {
		return RateLimits{}
	}
	return RateLimits{
		Requests:     parseBucket(h, limitPrefix+"Requests"),
		Tokens:       parseBucket(h, limitPrefix+"Tokens"),
		InputTokens:  parseBucket(h, limitPrefix+"Input-Tokens"),
		OutputTokens: parseBucket(h, limitPrefix+"Output-Tokens"),
		Unified:      parseUnified(h, limitPrefix+"Unified"),
	}
}

func parseBucket(h http.Header, prefix string) Bucket {
	limit, okLimit := parseCount(h.Get(prefix + "-Limit"))
	if !okLimit {
		return Bucket{}
	}
	remaining, okRemaining := parseCount(h.Get(prefix + "-Remaining"))
	reset, okReset := parseReset(h.Get(prefix + "-Reset"))
	if !okRemaining || !okReset {
		return Bucket{}
	}
	return Bucket{Limit: limit, Remaining: remaining, Reset: reset, Known: true}
}

func parseUnified(h http.Header, prefix string) Unified {
	u := Unified{
		Status:   parseWord(h.Get(prefix + "-Status")),
		FiveHour: parseWindow(h, prefix+"-5h"),
		SevenDay: parseWindow(h, prefix+"-7d"),
	}
	u.Reset, _ = parseReset(h.Get(prefix + "-Reset"))
	u.Known = u.Status != "" || u.FiveHour.Known || u.SevenDay.Known
	return u
}

func parseWindow(h http.Header, prefix string) Window {
	w := Window{Status: parseWord(h.Get(prefix + "-Status"))}
	told := false
	if text := h.Get(prefix + "-Utilization"); text != "" {
		used, err := strconv.ParseFloat(text, 64)
		if told = err == nil && used >= 0 && !math.IsInf(used, 0); told { // a NaN is not ≥ 0
			w.Utilization = used
		}
	}
	if w.Known = told || w.Status != ""; w.Known {
		w.Reset, _ = parseReset(h.Get(prefix + "-Reset"))
	}
	return w
}

func parseCount(s string) (int64, bool) {
	if s == "" {
		return 0, false
	}
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil && n >= 0
}

// parseReset reads RFC 3339, as the documented headers have it, or Unix seconds, as
// the unified ones have it. A missing value is a zero time; only nonsense is refused.
func parseReset(s string) (time.Time, bool) {
	if s == "" {
		return time.Time{}, true
	}
	t, err := time.Parse(time.RFC3339, s)
	if n, notUnix := strconv.ParseInt(s, 10, 64); notUnix == nil {
		t, err = time.Unix(n, 0), nil
	}
	const endOf9999 = 253402300799 // the last second that RFC 3339 can name
	if err != nil || t.Unix() <= 0 || t.Unix() > endOf9999 {
		return time.Time{}, false
	}
	return t.UTC(), true
}

// parseWord returns s if it can be a status: it ends up in logs.
func parseWord(s string) string {
	if len(s) > 64 || !isGraphic(s) {
		return ""
	}
	return s
}
