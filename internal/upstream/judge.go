package upstream

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"claude-code-lb/internal/claude"
)

// Evidence is everything known of an attempt at the moment of the verdict.
type Evidence struct {
	Status int           // 0 when no head arrived
	Header http.Header   // of the answer, nil without one
	Error  *claude.Error // of an error body or of an error event inside a 200
	Body   []byte        // of an error answer, as far as it was read
	Err    error         // of the transport or of reading the answer
	Server string        // the server's name
	Model  string        // the model asked for
	Path   string        // the class of the path by claude.PathClass, "" for a message
	// OwnCredential says that the client's own credential was sent, because the server has none.
	OwnCredential bool
	Now           time.Time
}

// status is that of the answer, or the one that goes with an error event inside a 200.
func (ev Evidence) status() int {
	if ev.Status < http.StatusBadRequest && ev.Error != nil {
		return claude.StatusForType(ev.Error.Type)
	}
	return ev.Status
}

// Judge turns evidence into a verdict by what is known of the API. It is pure.
func Judge(ev Evidence) Outcome {
	if ev.Err != nil {
		o := judgeErr(ev.Err)
		o.Connection = o.Connection && ev.Status == 0
		return o
	}
	status := ev.status()
	if status < http.StatusBadRequest {
		return Outcome{}
	}
	o := Outcome{Scope: scopeOf(ev, status), Reason: reason(ev, status)}
	if o.Scope != ScopeModel && ev.lacksPath(status) {
		o.Scope, o.Reason = ScopeEndpoint, o.Reason+", path not offered"
	}
	o.Doubtful = o.Scope == ScopeRequest && odd(ev, status)
	o.RetryAfter = restOf(ev, o.Scope)
	return ev.conclude(o)
}

// lacksPath says whether the answer means that the upstream does not offer the path, although the API has
// it: gateways may leave out count_tokens and the list of models.
func (ev Evidence) lacksPath(status int) bool {
	if ev.Path != claude.PathCountTokens && ev.Path != claude.PathModels {
		return false
	}
	return status == http.StatusNotFound || status == http.StatusMethodNotAllowed || status == http.StatusNotImplemented
}

// conclude settles what holds for every verdict on an error that an upstream has stated, whoever found it.
func (ev Evidence) conclude(o Outcome) Outcome {
	if ev.OwnCredential && (o.Scope == ScopeCredential || o.Scope == ScopeAccount) {
		// A client's key that is not valid says nothing about the server.
		o.Scope, o.Doubtful = ScopeRequest, true
	}
	switch {
	case o.Scope != ScopeRequest:
		o.Free = free(ev)
		return o
	case o.Doubtful:
		return Outcome{Scope: ScopeRequest, Doubtful: true, Reason: o.Reason}
	default:
		return Outcome{Scope: ScopeRequest}
	}
}

// free says whether an upstream that states an error has refused before it did any work. It has not when
// it ran out of time, nor when the error came after the head of an answer.
func free(ev Evidence) bool {
	switch {
	case ev.Status < http.StatusBadRequest, ev.Status == http.StatusRequestTimeout, ev.Status == http.StatusGatewayTimeout:
		return false
	default:
		return ev.Error == nil || ev.Error.Type != claude.ErrTimeout
	}
}

// odd says whether a refusal of the request is none that the API gives: a page
// of a front proxy or firewall, or a status that the API does not use. A front
// proxy's 413 is none either, but the same everywhere.
func odd(ev Evidence, status int) bool {
	if ev.Error != nil {
		return false
	}
	switch status {
	case http.StatusRequestEntityTooLarge:
		return false
	case http.StatusBadRequest, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusConflict, http.StatusUnprocessableEntity:
		return strings.HasPrefix(ev.Header.Get("Content-Type"), "text/html")
	default:
		return true
	}
}

// scopeOf tells whom an error concerns (errors and rate-limits docs).
func scopeOf(ev Evidence, status int) Scope {
	var e claude.Error
	if ev.Error != nil {
		e = *ev.Error
	}
	if e.Type == claude.ErrOverloaded {
		return ScopeCapacity
	}
	switch trouble(ev, status) {
	case claude.NoCredit, claude.SpendingLimit, claude.Disabled, claude.NoOAuth:
		return ScopeAccount
	case claude.WorkspaceLimit:
		return ScopeCredential
	}
	switch {
	case status == http.StatusUnauthorized:
		return ScopeCredential
	case status == http.StatusPaymentRequired:
		return ScopeAccount
	case (status == http.StatusForbidden || status == http.StatusNotFound) && ev.Model != "" && e.NamesModel(ev.Model):
		return ScopeModel
	case status == http.StatusForbidden:
		return ScopeCredential
	case status == http.StatusTooManyRequests:
		return scopeOfLimit(ev)
	case status == claude.StatusOverloaded:
		return ScopeCapacity
	case status >= http.StatusInternalServerError, status == http.StatusRequestTimeout:
		return ScopeEndpoint
	default:
		return ScopeRequest
	}
}

// trouble is what the error says about the account. A spending limit lasts to
// the end of the month and so comes without retry-after (rate-limits docs): a 429
// that speaks of spending and has one is a rate limit.
func trouble(ev Evidence, status int) claude.Trouble {
	if ev.Error == nil || status >= http.StatusInternalServerError {
		return claude.NoTrouble
	}
	t := ev.Error.Trouble()
	if t == claude.SpendingLimit && status == http.StatusTooManyRequests && ev.Error.Code == "" {
		if _, told := claude.RetryAfter(ev.Header, ev.Now); told {
			return claude.NoTrouble
		}
	}
	return t
}

// scopeOfLimit tells the kinds of 429 apart that are no spending limit: a used-up
// subscription window, a limit on this one request (both observed), and a rate limit.
func scopeOfLimit(ev Evidence) Scope {
	switch {
	case claude.ParseRateLimits(ev.Header).Unified.Status == rejected:
		return ScopeAccount
	case ev.Header.Get("X-Should-Retry") == "true" && !claude.HasRateLimits(ev.Header) && ev.Model != "":
		return ScopeModel
	default:
		return ScopeRateLimit
	}
}

const (
	rejected = "rejected" // status of a subscription, or of one of its windows, that is used up
	// momentary is how long a model rests after a 429 that names no limit: it was about one request.
	momentary = 5 * time.Second
)

// restOf is how long the one concerned had better rest, as far as the answer tells.
func restOf(ev Evidence, scope Scope) time.Duration {
	asked, told := claude.RetryAfter(ev.Header, ev.Now)
	status := ev.status()
	if end, ok := endOfLimit(ev, status); ok {
		return max(asked, end.Sub(ev.Now))
	}
	switch {
	case told:
		return asked
	case scope == ScopeModel && status == http.StatusTooManyRequests:
		return momentary
	case scope == ScopeRateLimit:
		return untilRefilled(claude.ParseRateLimits(ev.Header), ev.Now)
	default:
		return 0
	}
}

// endOfLimit is when a used-up subscription window or a spending limit ends, as the answer names or implies it.
func endOfLimit(ev Evidence, status int) (time.Time, bool) {
	if status == http.StatusTooManyRequests {
		if unified := claude.ParseRateLimits(ev.Header).Unified; unified.Status == rejected {
			end := unified.RejectedUntil()
			return end, !end.IsZero()
		}
	}
	if t := trouble(ev, status); t != claude.SpendingLimit && t != claude.WorkspaceLimit {
		return time.Time{}, false
	}
	if end, ok := ev.Error.RegainsAccess(); ok {
		return end, true
	}
	return claude.NextSpendingPeriod(ev.Now), true
}

// untilRefilled is the time to the reset of the last of the buckets that are empty.
func untilRefilled(limits claude.RateLimits, now time.Time) time.Duration {
	var wait time.Duration
	for _, b := range []claude.Bucket{limits.Requests, limits.Tokens, limits.InputTokens, limits.OutputTokens} {
		if b.Known && b.Remaining == 0 && !b.Reset.IsZero() {
			wait = max(wait, b.Reset.Sub(now))
		}
	}
	return wait
}

// reason words the verdict with nothing that the upstream chose freely.
func reason(ev Evidence, status int) string {
	text := fmt.Sprintf("status %d", status)
	if ev.Status < http.StatusBadRequest {
		text = "error event"
	}
	if ev.Error == nil {
		return text
	}
	if kind := word(string(ev.Error.Type)); kind != "" {
		text += " " + kind
	}
	if t := trouble(ev, status); t != claude.NoTrouble {
		text += ", " + t.String()
	}
	return text
}

// word keeps what a wire name may hold, so that nothing an upstream sends reaches a log as it is.
func word(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '_' || r >= 'a' && r <= 'z' {
			return r
		}
		return -1
	}, s[:min(len(s), 40)])
}
