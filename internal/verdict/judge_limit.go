package verdict

import (
	"net/http"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/claude"
)

// trouble is what the error says about the account. A spending limit lasts to
// the end of the month and so comes without retry-after (rate-limits docs): a 429
// that speaks of spending and has one is a rate limit.
func trouble(ev Evidence, status int) claude.AccountIssue {
	if ev.Error == nil || status >= http.StatusInternalServerError {
		return claude.NoIssue
	}
	t := ev.Error.AccountIssue()
	if t == claude.SpendingLimit && status == http.StatusTooManyRequests && ev.Error.Code == "" {
		if _, told := claude.RetryAfter(ev.Header, ev.Now); told {
			return claude.NoIssue
		}
	}
	return t
}

// findLimit classifies a 429 that is not a spending limit: a used-up subscription window,
// of the whole account or of one family of models, a cap of a gateway (gateway protocol), a limit on
// this one request (observed), and a rate limit.
func findLimit(ev Evidence) finding {
	unified := claude.ParseRateLimits(ev.Header).Unified
	switch {
	case unified.IsFamilyOnly():
		return finding{scope: ScopeRateLimit, note: "limit of this family of models"}
	case unified.IsUsedUp():
		return finding{scope: ScopeAccount, cause: CauseUsedUp}
	case ev.Error != nil && ev.Error.Type == claude.ErrBilling:
		return finding{scope: ScopeAccount, cause: CauseUsedUp}
	case ev.Header.Get("X-Should-Retry") == "true" && !claude.HasRateLimits(ev.Header) && ev.Model != "":
		return finding{scope: ScopeModel}
	default:
		return finding{scope: ScopeRateLimit}
	}
}

const (
	Rejected = "rejected" // status of a subscription, or of one of its windows, that is used up
	// momentary is the cooldown of a model after a 429 that names no limit: it was about one request.
	MinModelCooldown = 5 * time.Second
)

// cooldownOf returns the cooldown that the response asks for or implies, 0 if it does neither.
func cooldownOf(ev Evidence, scope Scope) time.Duration {
	asked, told := claude.RetryAfter(ev.Header, ev.Now)
	status := ev.status()
	if end, ok := endOfLimit(ev, status); ok {
		return max(asked, end.Sub(ev.Now))
	}
	switch {
	case told:
		return asked
	case scope == ScopeModel && status == http.StatusTooManyRequests:
		return MinModelCooldown
	case scope == ScopeRateLimit:
		limits, fast := claude.ParseFastLimits(ev.Header)
		if !fast || ev.Variant&Fast == 0 {
			limits = claude.ParseRateLimits(ev.Header)
		}
		return untilRefilled(limits, ev.Now)
	default:
		return 0
	}
}

// endOfLimit returns when a used-up subscription window or a spending limit ends, according to the response.
func endOfLimit(ev Evidence, status int) (time.Time, bool) {
	if status == http.StatusTooManyRequests {
		unified := claude.ParseRateLimits(ev.Header).Unified
		if unified.IsFamilyOnly() {
			end := unified.FamilyRejectedUntil(claude.ModelClass(ev.Model))
			return end, !end.IsZero()
		}
		if unified.IsUsedUp() {
			end := unified.RejectedUntil()
			return end, !end.IsZero()
		}
	}
	if t := trouble(ev, status); t != claude.SpendingLimit && t != claude.WorkspaceLimit {
		return time.Time{}, false
	}
	if end, ok := ev.Error.AccessRegained(); ok {
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
