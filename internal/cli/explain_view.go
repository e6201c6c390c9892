package cli

import (
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/claude"
	"github.com/9bingyin/claude-code-lb/internal/config"
	"github.com/9bingyin/claude-code-lb/internal/verdict"
)

// explanation is the outcome of a pasted response with the data to explain it.
type explanation struct {
	verdict.Outcome
	ev    verdict.Evidence
	begun bool // content came before the error: the client has it
	rule  int  // the index in error_rules; -1: built in
	cfg   *config.Config
	file  string // of the configuration
}

// String explains the outcome in a few lines. Of the response it quotes only the status and names
// of the API.
func (x explanation) String() string {
	var b strings.Builder
	line := func(label, text string) { fmt.Fprintf(&b, "%-10s  %s\n", label, text) }
	line("read as", x.readAs())
	line("decided by", x.decidedBy())
	line("scope", x.Scope.String()+": "+x.scope())
	line("client", x.client())
	line("cooldown", x.cooldown())
	if x.Failover() && !x.Ambiguous && !x.begun {
		retry := "may be billed: this request is not sent to the same server again"
		if x.Unbilled {
			retry = "costs nothing: the same server may get the request once more after its cooldown"
		}
		line("retry", retry)
	}
	return b.String()
}

// readAs states how the response was understood.
func (x explanation) readAs() string {
	text, e := fmt.Sprintf("status %d", x.ev.Status), x.ev.Error
	switch {
	case x.ev.Err != nil:
		return text + ", " + x.ev.Err.Error()
	case e == nil && x.ev.Status >= 400:
		return text + ", no error of the API"
	case e == nil:
		return text
	case x.ev.Status < 400:
		text += ", with an error inside"
	}
	text += ", type " + wireName(string(e.Type))
	if e.Code != "" {
		text += ", code " + wireName(e.Code)
	}
	return text
}

// wireName returns s if it looks like a name of the API. Any other pasted text may be a secret and
// is not shown.
func wireName(s string) string {
	switch {
	case s == "":
		return "not stated"
	case len(s) <= 60 && regexp.MustCompile(`^[a-z_]+$`).MatchString(s):
		return s
	default:
		return "not shown, because it is not a name of the API"
	}
}

func (x explanation) decidedBy() string {
	if x.rule < 0 {
		return "the built-in rules"
	}
	return fmt.Sprintf("error_rules[%d], %s:%d", x.rule, x.file, x.cfg.ErrorRules[x.rule].Line)
}

// scope describes the scope of the outcome.
func (x explanation) scope() string {
	if x.Ambiguous {
		return "the request, or a peculiarity of this server"
	}
	return map[verdict.Scope]string{
		verdict.ScopeNone:       "nothing is wrong",
		verdict.ScopeRequest:    "the client's own request",
		verdict.ScopeCredential: "the server's key",
		verdict.ScopeAccount:    "the account behind the key",
		verdict.ScopeModel:      "this model on this server",
		verdict.ScopeRateLimit:  "the account's rate limit for this class of models",
		verdict.ScopeCapacity:   "the service, which is overloaded",
		verdict.ScopeEndpoint:   "the server itself",
	}[x.Scope]
}

// client states what the client gets.
func (x explanation) client() string {
	switch {
	case x.begun:
		return "has content already, and gets the error unchanged"
	case x.Ambiguous:
		return "another server is asked; two equal refusals are passed on"
	case x.Failover():
		return "does not notice while another server can respond"
	default:
		return "gets the response unchanged"
	}
}

// cooldown states what is not used for a while, and for how long.
func (x explanation) cooldown() string {
	subject := map[verdict.Scope]string{
		verdict.ScopeCredential: "this server",
		verdict.ScopeAccount:    "every server with this account",
		verdict.ScopeModel:      "this model on this server",
		verdict.ScopeRateLimit:  "this class of models on every server with this account",
		verdict.ScopeCapacity:   "this class of models on this server",
		verdict.ScopeEndpoint:   "this server",
	}[x.Scope]
	if subject == "" {
		return "none"
	}
	if x.ev.Path != claude.PathMessages {
		subject = "only " + x.ev.Path + " on this server (messages continue)"
	}
	if n := x.cfg.Breaker.Consecutive; x.Scope == verdict.ScopeEndpoint && n > 1 {
		subject = fmt.Sprintf("%s after %d failures in a row or %d %% of its attempts", subject, n, x.cfg.Breaker.Percent)
	}
	switch {
	case x.RetryAfter > 0:
		return subject + ", " + x.requestedTime()
	case x.Scope == verdict.ScopeCapacity:
		return subject + ", for a second or two, growing to 30s"
	default:
		return fmt.Sprintf("%s, for %s, doubled with every further failure", subject, x.cfg.Cooldown)
	}
}

// requestedTime states the cooldown that the response or a rule asks for. If it is longer than the
// limit, the server is tried again sooner.
func (x explanation) requestedTime() string {
	length := inWords(x.RetryAfter)
	if x.RetryAfter >= time.Hour {
		length += ", until " + x.ev.Now.Add(x.RetryAfter).UTC().Format("2006-01-02 15:04 UTC")
	}
	if cooldown := x.Cooldown(); cooldown < x.RetryAfter {
		return fmt.Sprintf("for %s at a time: the response asks for %s", cooldown, length)
	}
	return "for " + length
}

// inWords formats a wait. It rounds up, so that the result is never 0.
func inWords(d time.Duration) string {
	const day = 24 * time.Hour
	unit := time.Millisecond
	switch {
	case d >= 2*day:
		return fmt.Sprintf("%d days", d/day)
	case d > time.Minute:
		unit = time.Second
	}
	return ((d + unit - 1).Truncate(unit)).String()
}
