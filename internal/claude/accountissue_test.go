package claude

import (
	"testing"
	"time"
)

func TestTrouble(t *testing.T) {
	of := func(kind ErrorType, code, message string, want AccountIssue) {
		t.Helper()
		if got := (Error{Type: kind, Code: code, Message: message}).AccountIssue(); got != want {
			t.Errorf("%q %q: %v, want %v", code, message, got, want)
		}
	}
	f := func(code, message string, want AccountIssue) {
		t.Helper()
		of(ErrInvalidRequest, code, message, want)
	}
	f("", "prompt is too long: 5 tokens > 4 maximum", NoIssue)
	f("", "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing.", CreditExhausted)
	f("", "You have reached your specified API usage limits. You will regain access on 2026-02-01 at 00:00 UTC.", SpendingLimit)
	f("", "You have reached your specified workspace API usage limits.", WorkspaceLimit)
	f("enforced_spend_limit_reached", "any words", SpendingLimit)
	f("", "This organization has been disabled.", OrganizationDisabled)
	f("oauth_not_allowed_for_organization", "", OAuthNotAllowed)
	f("", "YOUR CREDIT BALANCE IS TOO LOW", CreditExhausted)
	f("", "tools.0.name: 'your credit balance is too low' is no name", NoIssue)
	f("", "messages.0: your monthly spend limit", NoIssue)
	of(ErrRateLimit, "", "Your organization has reached its monthly spend limit.", SpendingLimit)
}

func TestRegainsAccess(t *testing.T) {
	f := func(message, want string) {
		t.Helper()
		at, ok := Error{Message: message}.AccessRegained()
		if got := at.Format(time.RFC3339); ok != (want != "") || ok && got != want {
			t.Errorf("%q: %s, %v, want %q", message, got, ok, want)
		}
	}
	f("You will regain access on 2026-02-01 at 00:00 UTC.", "2026-02-01T00:00:00Z")
	f("You will regain access on 2026-02-01 at 00:00 UTC", "2026-02-01T00:00:00Z")
	f("You will regain access on 2026-02-31 at 00:00 UTC", "")
	f("You will regain access on Tuesday", "")
	f("no such words", "")
}

func TestNextSpendingPeriod(t *testing.T) {
	f := func(now, want string) {
		t.Helper()
		at, err := time.Parse(time.RFC3339, now)
		if err != nil {
			t.Fatal(err)
		}
		if got := NextSpendingPeriod(at).Format(time.RFC3339); got != want {
			t.Errorf("%s: %s, want %s", now, got, want)
		}
	}
	f("2026-01-31T12:00:00Z", "2026-02-01T00:00:00Z")
	f("2026-12-31T23:59:59Z", "2027-01-01T00:00:00Z")
	f("2026-03-01T01:00:00+02:00", "2026-03-01T00:00:00Z")
}

func TestNamesModel(t *testing.T) {
	f := func(message, model string, want bool) {
		t.Helper()
		if got := (Error{Message: message}).ConcernsModel(model); got != want {
			t.Errorf("%q names %q: %v", message, model, got)
		}
	}
	f("model: claude-x", "claude-x", true)
	f("model: claude-3-gone", "alias", true)
	f("No access to Claude-X here", "claude-x", true)
	f("Not found", "claude-x", false)
	f("Not found", "", false)
}
