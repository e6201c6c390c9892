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

// limitFields are the headers about one limit, as they came.
type limitFields struct{ limit, remaining, reset, status, utilization string }

// ParseRateLimits reads the anthropic-ratelimit-* headers.
func ParseRateLimits(h http.Header) RateLimits {
	var requests, tokens, input, output, unified, fiveHour, sevenDay limitFields
	for name, values := range h {
		rest, ok := strings.CutPrefix(name, limitPrefix)
		if !ok || len(values) == 0 {
			continue
		}
		dash := strings.LastIndexByte(rest, '-')
		if dash < 0 {
			continue
		}
		switch field := rest[dash+1:]; rest[:dash] {
		case "Requests":
			requests.take(field, values[0])
		case "Tokens":
			tokens.take(field, values[0])
		case "Input-Tokens":
			input.take(field, values[0])
		case "Output-Tokens":
			output.take(field, values[0])
		case "Unified":
			unified.take(field, values[0])
		case "Unified-5h":
			fiveHour.take(field, values[0])
		case "Unified-7d":
			sevenDay.take(field, values[0])
		}
	}
	return RateLimits{
		Requests: requests.bucket(), Tokens: tokens.bucket(), InputTokens: input.bucket(), OutputTokens: output.bucket(),
		Unified: unified.unified(fiveHour.window(), sevenDay.window()),
	}
}

func (f *limitFields) take(name, value string) {
	switch name {
	case "Limit":
		f.limit = value
	case "Remaining":
		f.remaining = value
	case "Reset":
		f.reset = value
	case "Status":
		f.status = value
	case "Utilization":
		f.utilization = value
	}
}

func (f *limitFields) bucket() Bucket {
	limit, okLimit := parseCount(f.limit)
	if !okLimit {
		return Bucket{}
	}
	remaining, okRemaining := parseCount(f.remaining)
	reset, okReset := parseReset(f.reset)
	if !okRemaining || !okReset {
		return Bucket{}
	}
	return Bucket{Limit: limit, Remaining: remaining, Reset: reset, Known: true}
}

func (f *limitFields) unified(fiveHour, sevenDay Window) Unified {
	u := Unified{Status: parseWord(f.status), FiveHour: fiveHour, SevenDay: sevenDay}
	u.Reset, _ = parseReset(f.reset)
	u.Known = u.Status != "" || u.FiveHour.Known || u.SevenDay.Known
	return u
}

func (f *limitFields) window() Window {
	w := Window{Status: parseWord(f.status)}
	told := false
	if f.utilization != "" {
		used, err := strconv.ParseFloat(f.utilization, 64)
		if told = err == nil && used >= 0 && !math.IsInf(used, 0); told { // a NaN is not ≥ 0
			w.Utilization = used
		}
	}
	if w.Known = told || w.Status != ""; w.Known {
		w.Reset, _ = parseReset(f.reset)
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
	var t time.Time
	var err error
	if strings.IndexByte(s, ':') > 0 {
		t, err = time.Parse(time.RFC3339, s)
	} else {
		var n int64
		n, err = strconv.ParseInt(s, 10, 64)
		t = time.Unix(n, 0)
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
