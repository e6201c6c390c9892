package claude

import (
	"strings"
	"time"
)

// AccountIssue is the state of an account or key that an error reports, beyond its type.
type AccountIssue uint8

// The issues.
const (
	NoIssue              AccountIssue = iota
	CreditExhausted                   // the prepaid credit is used up (observed, with status 400)
	SpendingLimit                     // the organization's own or its tier's spending limit is reached (errors and rate-limits docs, 400 or 429)
	WorkspaceLimit                    // the spending limit of the key's workspace is reached (errors docs, with status 400)
	OrganizationDisabled              // the organization is disabled (observed, with status 400)
	OAuthNotAllowed                   // the organization does not allow OAuth tokens (observed, with status 403)
)

// String returns a short description.
func (t AccountIssue) String() string {
	return [...]string{"none", "no credit", "spending limit", "workspace limit", "organization disabled", "OAuth not allowed"}[t]
}

// AccountIssue derives the issue from the code and the message of the error. Only the beginning of
// a message counts: the rest may quote the client's words, which prove nothing.
func (e Error) AccountIssue() AccountIssue {
	switch e.Code {
	case "enforced_spend_limit_reached":
		return SpendingLimit
	case "oauth_not_allowed_for_organization":
		return OAuthNotAllowed
	}
	message := strings.ToLower(e.Message)
	begins := func(with string) bool { return strings.HasPrefix(message, with) }
	switch {
	case begins("your credit balance is too low"):
		return CreditExhausted
	case begins("you have reached your specified workspace api usage limits"):
		return WorkspaceLimit
	case begins("you have reached your specified api usage limits"):
		return SpendingLimit
	case begins("this organization has been disabled"):
		return OrganizationDisabled
	case e.Type == ErrRateLimit && (strings.Contains(message, "spend limit") || strings.Contains(message, "spending limit")):
		return SpendingLimit
	}
	return NoIssue
}

// NextSpendingPeriod returns when monthly spending limits start again: on the first day of the next
// month (rate-limits docs).
func NextSpendingPeriod(now time.Time) time.Time {
	now = now.UTC()
	return time.Date(now.Year(), now.Month()+1, 1, 0, 0, 0, 0, time.UTC)
}

// AccessRegained returns when a spending limit ends, from the message of the error
// ("… on 2026-01-01 at 00:00 UTC", errors docs). It returns false if the message has no time.
func (e Error) AccessRegained() (time.Time, bool) {
	const form = "2006-01-02 at 15:04 UTC"
	_, rest, found := strings.Cut(e.Message, "regain access on ")
	if !found || len(rest) < len(form) {
		return time.Time{}, false
	}
	at, err := time.Parse(form, rest[:len(form)])
	return at, err == nil
}

// ConcernsModel reports whether the error is about a model: its message contains the name of the
// model, or has the API's form "model: …" (observed).
func (e Error) ConcernsModel(model string) bool {
	message := strings.ToLower(e.Message)
	return model != "" && strings.Contains(message, strings.ToLower(model)) || strings.HasPrefix(message, "model:")
}
