package claude

import (
	"maps"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Bucket is one token bucket of an account as a response reports it (rate-limits docs).
type Bucket struct {
	Limit, Remaining int64     // requests or tokens; tokens remaining are rounded to thousands
	Reset            time.Time // when the bucket is full again; zero if not reported
	Known            bool      // the response reports this bucket, and all of its values are valid
}

// Window is one usage window of a subscription (observed).
type Window struct {
	Status      string    // allowed, allowed_warning, rejected; an open set
	Reset       time.Time // zero if not reported
	Utilization float64   // used part: 1 is the whole window; may exceed 1
	Known       bool      // status or utilization was reported
}

// Unified is the state of a subscription's limits as a whole and by window (observed).
type Unified struct {
	Status   string    // allowed, allowed_warning, rejected; an open set
	Reset    time.Time // zero if not reported
	FiveHour Window
	SevenDay Window
	Families Families // windows of single families of models
	Claim    string   // the window that decided, such as five_hour or seven_day_opus; "" if not reported
	Overage  bool     // usage beyond the windows is allowed, and billed
	Known    bool     // the account is a subscription
}

// maxFamilies bounds the windows of families that are read from one response.
const maxFamilies = 4

// Families are windows of single families of models, in the order of their names. They are a slice
// because most responses have none: by value, they would make the stack of every open stream larger
// than 8 KB.
type Families []FamilyWindow

// FamilyWindow is a usage window that only one family of models has (observed: 7d_opus, 7d_sonnet).
type FamilyWindow struct {
	Family string // in lower case, as in ModelClass
	Window
}

// Of returns the longest window of a class of models. Without one it is not Known.
func (f Families) Of(class string) Window {
	var found Window
	for _, w := range f {
		if w.Family == class && class != "" && (!found.Known || w.Reset.After(found.Reset)) {
			found = w.Window
		}
	}
	return found
}

// IsFamilyOnly reports whether a refusal concerns one family of models and not the whole
// subscription: the window of the family is used up or named as the reason, and no common window is
// used up.
func (u Unified) IsFamilyOnly() bool {
	if u.FiveHour.Status == "rejected" || u.SevenDay.Status == "rejected" {
		return false
	}
	for _, common := range [...]string{"seven_day_", "five_hour_"} {
		if family, ok := strings.CutPrefix(u.Claim, common); ok {
			return !strings.HasPrefix(family, "overage")
		}
	}
	return u.Claim == "" && u.familyRejected()
}

func (u Unified) familyRejected() bool {
	for _, w := range u.Families {
		if w.Status == "rejected" {
			return true
		}
	}
	return false
}

// IsUsedUp reports whether a refusal with these headers means that the subscription is used up. If
// usage beyond the windows is allowed, the status rejected only means that such usage has begun.
func (u Unified) IsUsedUp() bool { return u.Status == "rejected" && !u.Overage }

// RateLimits are the limits of an account that the headers of a response report.
type RateLimits struct {
	Requests, Tokens, InputTokens, OutputTokens Bucket
	Unified                                     Unified
}

// RejectedUntil returns when the last of the used-up limits ends: that of the subscription as a
// whole or of a window with the status rejected. It is zero if not reported.
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

// FamilyRejectedUntil returns when the used-up window of a class of models ends. It is zero if not
// reported.
func (u Unified) FamilyRejectedUntil(class string) time.Time {
	if w := u.Families.Of(class); w.Status == "rejected" && !w.Reset.IsZero() {
		return w.Reset
	}
	if u.Status == "rejected" {
		return u.Reset
	}
	return time.Time{}
}

// limitPrefix begins the name of every header about the account's limits.
const limitPrefix = "Anthropic-Ratelimit-"

// HasRateLimits reports whether a response has a header about any limit, even one that RateLimits
// does not have.
func HasRateLimits(h http.Header) bool {
	for name := range h {
		if strings.HasPrefix(name, limitPrefix) {
			return true
		}
	}
	return false
}

// limitFields are the values of the headers about one limit.
type limitFields struct{ limit, remaining, reset, status, utilization string }

// ParseRateLimits reads the anthropic-ratelimit-* headers.
func ParseRateLimits(h http.Header) RateLimits {
	var p limitParser
	for name, values := range h {
		rest, ok := strings.CutPrefix(name, limitPrefix)
		if !ok || len(values) == 0 {
			continue
		}
		p.add(rest, values[0])
	}
	return p.limits()
}

// fastPrefix begins the name of every header about the limits of fast mode, which are separate from
// all others.
const fastPrefix = "Anthropic-Fast-"

// ParseFastLimits reads the anthropic-fast-* headers. It returns false without any.
func ParseFastLimits(h http.Header) (RateLimits, bool) {
	var p limitParser
	found := false
	for name, values := range h {
		rest, ok := strings.CutPrefix(name, fastPrefix)
		if !ok || len(values) == 0 {
			continue
		}
		found = true
		p.add(rest, values[0])
	}
	return p.limits(), found
}

// limitParser collects the headers about each limit.
type limitParser struct {
	requests, tokens, input, output, unified, fiveHour, sevenDay limitFields
	families                                                     map[string]*limitFields
	claim, overageStatus, overageInUse                           string
}

// add stores one header. name is without the prefix.
func (p *limitParser) add(name, value string) {
	dash := strings.LastIndexByte(name, '-')
	if dash < 0 {
		return
	}
	limit, field := name[:dash], name[dash+1:]
	switch limit {
	case "Requests":
		p.requests.add(field, value)
	case "Tokens":
		p.tokens.add(field, value)
	case "Input-Tokens":
		p.input.add(field, value)
	case "Output-Tokens":
		p.output.add(field, value)
	case "Unified":
		p.unified.add(field, value)
	case "Unified-5h":
		p.fiveHour.add(field, value)
	case "Unified-7d":
		p.sevenDay.add(field, value)
	case "Unified-Representative":
		p.claim = parseStatus(value)
	case "Unified-Overage":
		if field == "Status" {
			p.overageStatus = parseStatus(value)
		}
	case "Unified-Overage-In":
		p.overageInUse = value
	default:
		p.addFamily(limit, field, value)
	}
}

// addFamily stores a header about the window of one family of models, such as Unified-7d_opus.
func (p *limitParser) addFamily(limit, field, value string) {
	const most, longest = 16, 40
	window, ok := strings.CutPrefix(limit, "Unified-")
	_, family, named := strings.Cut(window, "_")
	if !ok || !named || family == "" || len(window) > longest || !isGraphic(window) {
		return
	}
	if p.families[window] == nil {
		if p.families == nil {
			p.families = map[string]*limitFields{}
		}
		if len(p.families) >= most {
			return
		}
		p.families[window] = &limitFields{}
	}
	p.families[window].add(field, value)
}

func (p *limitParser) limits() RateLimits {
	u := p.unified.unified(p.fiveHour.window(), p.sevenDay.window())
	u.Claim = p.claim
	u.Overage = p.overageStatus == "allowed" || p.overageStatus == "allowed_warning" || p.overageStatus == "" && p.overageInUse == "true"
	for _, name := range slices.Sorted(maps.Keys(p.families)) {
		if w := p.families[name].window(); w.Known && len(u.Families) < maxFamilies {
			_, family, _ := strings.Cut(name, "_")
			u.Families = append(u.Families, FamilyWindow{Family: strings.ToLower(family), Window: w})
			u.Known = true
		}
	}
	return RateLimits{Requests: p.requests.bucket(), Tokens: p.tokens.bucket(), InputTokens: p.input.bucket(), OutputTokens: p.output.bucket(), Unified: u}
}

func (f *limitFields) add(name, value string) {
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
	u := Unified{Status: parseStatus(f.status), FiveHour: fiveHour, SevenDay: sevenDay}
	u.Reset, _ = parseReset(f.reset)
	u.Known = u.Status != "" || u.FiveHour.Known || u.SevenDay.Known
	return u
}

func (f *limitFields) window() Window {
	w := Window{Status: parseStatus(f.status)}
	reported := false
	if f.utilization != "" {
		used, err := strconv.ParseFloat(f.utilization, 64)
		if reported = err == nil && used >= 0 && !math.IsInf(used, 0); reported { // a NaN is not ≥ 0
			w.Utilization = used
		}
	}
	if w.Known = reported || w.Status != ""; w.Known {
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

// parseReset reads RFC 3339, the format of the documented headers, or Unix seconds, the format of
// the unified ones. A missing value is a zero time. It returns false if the value is not valid.
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

// parseStatus returns s if it can be a status, otherwise "". The result appears in logs.
func parseStatus(s string) string {
	if len(s) > 64 || !isGraphic(s) {
		return ""
	}
	return s
}
