package claude

import (
	"strings"
	"time"
)

// Trouble is what an error says about the account or key behind a request, beyond what its type tells.
type Trouble uint8

// The kinds of trouble.
const (
	NoTrouble      Trouble = iota
	NoCredit               // the prepaid credit is used up (observed, with status 400)
	SpendingLimit          // the organization's own or its tier's spending limit is reached (errors and rate-limits docs, 400 or 429)
	WorkspaceLimit         // the spending limit of the key's workspace is reached (errors docs, with status 400)
	Disabled               // the organization is disabled (observed, with status 400)
	NoOAuth                // the organization does not allow OAuth tokens (observed, with status 403)
)

// String names the trouble in a few words.
func (t Trouble) String() string {
	return [...]string{"none", "no credit", "spending limit", "workspace limit", "organization disabled", "OAuth not allowed"}[t]
}

// Trouble reads the error's code and message. A message tells by its beginning: an
// error of the request may quote the client's words further on, and those prove nothing.
func (e Error) Trouble() Trouble {
	switch e.Code {
	case "enforced_spend_limit_reached":
		return SpendingLimit
	case "oauth_not_allowed_for_organization":
		return NoOAuth
	}
	message := strings.ToLower(e.Message)
	begins := func(with string) bool { return strings.HasPrefix(message, with) }
	switch {
	case begins("your credit balance is too low"):
		return NoCredit
	case begins("you have reached your specified workspace api usage limits"):
		return WorkspaceLimit
	case begins("you have reached your specified api usage limits"):
		return SpendingLimit
	case begins("this organization has been disabled"):
		return Disabled
	case e.Type == ErrRateLimit && (strings.Contains(message, "spend limit") || strings.Contains(message, "spending limit")):
		return SpendingLimit
	}
	return NoTrouble
}

// NextSpendingPeriod is when monthly spending limits begin anew: at the first of the next month (rate-limits docs).
func NextSpendingPeriod(now time.Time) time.Time {
	now = now.UTC()
	return time.Date(now.Year(), now.Month()+1, 1, 0, 0, 0, 0, time.UTC)
}

// RegainsAccess is when a spending limit is lifted, as its message says
// ("… on 2026-01-01 at 00:00 UTC", errors docs). It reports false when the message names no moment.
func (e Error) RegainsAccess() (time.Time, bool) {
	const form = "2006-01-02 at 15:04 UTC"
	_, rest, found := strings.Cut(e.Message, "regain access on ")
	if !found || len(rest) < len(form) {
		return time.Time{}, false
	}
	at, err := time.Parse(form, rest[:len(form)])
	return at, err == nil
}

// NamesModel says whether the error is about a model: its message quotes the
// model, or has the API's own form "model: …" (observed).
func (e Error) NamesModel(model string) bool {
	message := strings.ToLower(e.Message)
	return model != "" && strings.Contains(message, strings.ToLower(model)) || strings.HasPrefix(message, "model:")
}
