package verdict

import (
	"net/http"
	"strings"

	"github.com/9bingyin/claude-code-lb/internal/claude"
)

// finding is the classification of an error response: scope and cause.
type finding struct {
	scope     Scope
	cause     Cause
	note      string // for the reason, in the balancer's words
	ambiguous bool   // see Outcome
	final     bool   // see Outcome
	settled   bool   // no other part of the response can change it
}

// find classifies an error response by the API's documentation and by observed texts of vendors and
// relays. The most reliable evidence comes first: a documented type or code, then the account's
// state, then other vendors' words, then the status alone.
func find(ev Evidence, status int) finding {
	said := ev.refusal()
	read := said.Classify(ev.Model)
	switch {
	case read.Meaning == claude.PolicyBlocked:
		return finding{scope: ScopeRequest, settled: true}
	case ev.isChallenge(said, status):
		return finding{scope: ScopeEndpoint, cause: CausePage, note: "a web page in place of the API"}
	case ev.Error != nil && ev.Error.Type == claude.ErrOverloaded:
		return finding{scope: ScopeCapacity}
	}
	if f, ok := findTrouble(ev, status); ok {
		return f
	}
	if f, ok := findVariant(ev, said, read, status); ok {
		return f
	}
	if f, ok := findMeaning(ev, said, read, status); ok {
		if f.note == "" {
			f.note = read.Meaning.String()
		}
		if read.Dialect != "" && read.Dialect != "any" {
			f.note += " (" + read.Dialect + ")"
		}
		return f
	}
	return findByStatus(ev, said, read, status)
}

// refusal parses the error response in any known format.
func (ev Evidence) refusal() claude.Refusal {
	if len(ev.Body) == 0 && ev.Error != nil {
		return claude.RefusalOf(*ev.Error)
	}
	r := claude.ReadRefusal(ev.Body)
	r.Page = r.Page || ev.Error == nil && strings.HasPrefix(ev.Header.Get("Content-Type"), "text/html")
	return r
}

// isChallenge reports whether a front proxy responded instead of the API: with a challenge for a
// browser, or with a page that forbids or closes everything.
func (ev Evidence) isChallenge(said claude.Refusal, status int) bool {
	if ev.Header.Get("Cf-Mitigated") != "" {
		return true
	}
	return said.Page && (status == http.StatusForbidden || status == http.StatusServiceUnavailable)
}

// findTrouble recognizes Anthropic's messages about an account.
func findTrouble(ev Evidence, status int) (finding, bool) {
	switch trouble(ev, status) {
	case claude.SpendingLimit:
		return finding{scope: ScopeAccount, cause: CauseUsedUp}, true
	case claude.CreditExhausted:
		return finding{scope: ScopeAccount, cause: CauseNoCredit}, true
	case claude.OrganizationDisabled, claude.OAuthNotAllowed:
		return finding{scope: ScopeAccount}, true
	case claude.WorkspaceLimit:
		return finding{scope: ScopeCredential, cause: CauseUsedUp}, true
	}
	return finding{}, false
}

// findVariant recognizes refusals that concern only fast mode or the long context.
func findVariant(ev Evidence, said claude.Refusal, read claude.Classification, status int) (finding, bool) {
	switch status {
	case http.StatusBadRequest, http.StatusPaymentRequired, http.StatusForbidden, http.StatusTooManyRequests:
	default:
		return finding{}, false
	}
	if read.Meaning == claude.LongContextUnavailable {
		if ev.Variant&LongContext != 0 && ev.Model != "" {
			return finding{scope: ScopeModel, note: read.Meaning.String()}, true
		}
		// The length of the prompt required it, not a header: the request is at fault.
		return finding{scope: ScopeRequest, ambiguous: true, note: read.Meaning.String()}, true
	}
	if ev.Variant&Fast == 0 || status == http.StatusBadRequest {
		return finding{}, false
	}
	_, limits := claude.ParseFastLimits(ev.Header)
	usedUp := claude.ParseRateLimits(ev.Header).Unified.IsUsedUp()
	if said.Mentions("fast mode") || limits && !usedUp && status == http.StatusTooManyRequests {
		// Claude Code switches to the standard speed by itself, at once.
		return finding{scope: ScopeRateLimit, final: true, note: "fast mode"}, true
	}
	return finding{}, false
}

// findMeaning maps the meaning of a vendor's or relay's refusal to a scope. It returns false if the
// status is better evidence.
func findMeaning(ev Evidence, said claude.Refusal, read claude.Classification, status int) (finding, bool) {
	switch read.Meaning {
	case claude.ModelUnavailable:
		if ev.Model != "" {
			return finding{scope: ScopeModel, cause: CauseNoModel}, true
		}
	case claude.QuotaExhausted:
		if status == http.StatusTooManyRequests {
			return finding{scope: ScopeAccount, cause: CauseUsedUp}, true
		}
		return finding{scope: ScopeAccount, cause: CauseNoCredit}, true
	case claude.Overloaded:
		return finding{scope: ScopeCapacity}, true
	case claude.PathUnavailable:
		genuine := ev.Error != nil && ev.Error.Type == claude.ErrNotFound
		if ev.Path == claude.PathMessages && !genuine && (status == http.StatusNotFound || status == http.StatusBadRequest && !said.Enveloped) {
			return finding{scope: ScopeEndpoint, cause: CauseNoRoute}, true
		}
	case claude.RelayFailed, claude.RelayRefused:
		switch {
		case read.Meaning == claude.RelayFailed && (status == http.StatusUnauthorized || status == http.StatusForbidden): // the relay's key was refused, not ours
			return finding{scope: ScopeEndpoint}, true
		case status < http.StatusInternalServerError && status != http.StatusUnauthorized && status != http.StatusPaymentRequired && status != http.StatusForbidden && status != http.StatusTooManyRequests && status != http.StatusRequestTimeout:
			return finding{scope: ScopeRequest, ambiguous: true}, true
		}
	case claude.RateLimited:
		if status == http.StatusBadRequest || status == http.StatusForbidden {
			return finding{scope: ScopeRateLimit}, true
		}
	}
	return finding{}, false
}

// findByStatus classifies a response by status, type and header alone.
func findByStatus(ev Evidence, said claude.Refusal, read claude.Classification, status int) finding {
	namesModel := ev.Error != nil && ev.Model != "" && ev.Error.ConcernsModel(ev.Model)
	switch {
	case status == http.StatusUnauthorized:
		return finding{scope: ScopeCredential}
	case status == http.StatusPaymentRequired:
		return finding{scope: ScopeAccount, cause: CauseNoCredit}
	case (status == http.StatusForbidden || status == http.StatusNotFound) && namesModel:
		return finding{scope: ScopeModel, cause: CauseNoModel}
	case status == http.StatusForbidden:
		return finding{scope: ScopeCredential}
	case status == http.StatusTooManyRequests:
		return findLimit(ev)
	case status == claude.StatusOverloaded:
		return finding{scope: ScopeCapacity}
	case ev.Path == claude.PathMessages && ev.isUnserved(said, status):
		return finding{scope: ScopeEndpoint, cause: CauseNoRoute, note: claude.PathUnavailable.String()}
	case status == http.StatusNotImplemented:
		return findNotImplemented(ev, said)
	case status >= http.StatusInternalServerError, status == http.StatusRequestTimeout:
		return finding{scope: ScopeEndpoint}
	}
	return finding{scope: ScopeRequest, ambiguous: read.Meaning != claude.InvalidRequest && ev.isNotFromAPI(said, status)}
}

// isUnserved reports whether a 404 or 405 did not come from the API. Path and method of a request
// for a message are always valid, so the server does not offer them.
func (ev Evidence) isUnserved(said claude.Refusal, status int) bool {
	switch status {
	case http.StatusMethodNotAllowed:
		return true
	case http.StatusNotFound:
		return !said.Enveloped && (ev.Error == nil || ev.Error.Type != claude.ErrNotFound)
	}
	return false
}

// findNotImplemented classifies a 501. A gateway without a side endpoint responds with
// not_supported (gateway protocol), which is final. For a message, 501 may concern a part of this
// request: another server is tried, without a cooldown.
func findNotImplemented(ev Evidence, said claude.Refusal) finding {
	if ev.Path != claude.PathMessages && said.Enveloped {
		return finding{scope: ScopeRequest}
	}
	return finding{scope: ScopeRequest, ambiguous: true}
}

// isNotFromAPI reports whether a refusal of the request did not come from the API: it has another
// format, or a status that the API does not use. Then it may be specific to this upstream: a front
// proxy's page, its limit on the size of a body, a gateway's business code.
func (ev Evidence) isNotFromAPI(said claude.Refusal, status int) bool {
	switch ev.Path {
	case claude.PathMessages, claude.PathCountTokens, claude.PathModels:
		return !said.Enveloped
	}
	if ev.Error != nil {
		return false
	}
	switch status {
	case http.StatusRequestEntityTooLarge:
		return false
	case http.StatusBadRequest, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusConflict, http.StatusUnprocessableEntity:
		return said.Page
	default:
		return true
	}
}
