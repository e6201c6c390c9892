package verdict

import (
	"net/http"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/claude"
)

// trouble returns the state of the account according to the error. A spending limit lasts until the
// end of the month and has no retry-after (rate-limits docs), so a 429 about spending with a
// retry-after is a rate limit.
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

// findLimit classifies a 429 that is not a spending limit: a used-up subscription window of the
// whole account or of one family of models, a gateway's cap (gateway protocol), a limit of this one
// request (observed), and a rate limit.
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
	// MinModelCooldown is the cooldown of a model after a 429 that names no limit, because such a
	// 429 concerns one request.
	MinModelCooldown = 5 * time.Second
)

// cooldownOf returns the cooldown that the response requests or implies, 0 if it does neither.
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

// endOfLimit returns when a used-up subscription window or a spending limit ends, according to the
// response.
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

// untilRefilled returns the time until the last of the empty buckets is reset.
func untilRefilled(limits claude.RateLimits, now time.Time) time.Duration {
	var wait time.Duration
	for _, b := range []claude.Bucket{limits.Requests, limits.Tokens, limits.InputTokens, limits.OutputTokens} {
		if b.Known && b.Remaining == 0 && !b.Reset.IsZero() {
			wait = max(wait, b.Reset.Sub(now))
		}
	}
	return wait
}
