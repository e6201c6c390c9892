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

// verdictOn is the verdict on a pasted answer, with what it takes to explain it.
type verdictOn struct {
	verdict.Outcome
	ev    verdict.Evidence
	begun bool // content came before the error: the client has it
	rule  int  // that decided; -1: built in
	cfg   *config.Config
	file  string // of the configuration
}

// String tells the verdict in a few lines. Nothing of the answer is quoted but its status and the names of the API.
func (v verdictOn) String() string {
	var b strings.Builder
	line := func(what, text string) { fmt.Fprintf(&b, "%-10s  %s\n", what, text) }
	line("read as", v.readAs())
	line("decided by", v.decidedBy())
	line("scope", v.Scope.String()+": "+v.concerned())
	line("client", v.seenByClient())
	line("rests", v.whoRests())
	if v.Failover() && !v.Ambiguous && !v.begun {
		line("again", map[bool]string{true: "costs nothing: the same server may be asked once more when its rest is over", false: "may be billed: the same server is not asked again by this request"}[v.Unbilled])
	}
	return b.String()
}

func (v verdictOn) readAs() string {
	text, e := fmt.Sprintf("status %d", v.ev.Status), v.ev.Error
	switch {
	case v.ev.Err != nil:
		return text + ", " + v.ev.Err.Error()
	case e == nil && v.ev.Status >= 400:
		return text + ", no error of the API"
	case e == nil:
		return text
	case v.ev.Status < 400:
		text += ", with an error inside"
	}
	text += ", type " + wireName(string(e.Type))
	if e.Code != "" {
		text += ", code " + wireName(e.Code)
	}
	return text
}

// wireName shows what looks like a name of the API, and nothing else: whatever was pasted may be a secret.
func wireName(s string) string {
	switch {
	case s == "":
		return "not told"
	case len(s) <= 60 && regexp.MustCompile(`^[a-z_]+$`).MatchString(s):
		return s
	default:
		return "not shown, it is no name of the API"
	}
}

func (v verdictOn) decidedBy() string {
	if v.rule < 0 {
		return "what is built in"
	}
	return fmt.Sprintf("error_rules[%d], %s:%d", v.rule, v.file, v.cfg.ErrorRules[v.rule].Line)
}

func (v verdictOn) concerned() string {
	if v.Ambiguous {
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
	}[v.Scope]
}

func (v verdictOn) seenByClient() string {
	switch {
	case v.begun:
		return "has content already, and gets the error as it is"
	case v.Ambiguous:
		return "another server is asked; two refusals alike are passed on"
	case v.Failover():
		return "sees nothing of it while another server can answer"
	default:
		return "gets the answer as it is"
	}
}

func (v verdictOn) whoRests() string {
	who := map[verdict.Scope]string{
		verdict.ScopeCredential: "this server", verdict.ScopeAccount: "every server with this account", verdict.ScopeModel: "this model on this server",
		verdict.ScopeRateLimit: "this class of models on every server with this account", verdict.ScopeCapacity: "this class of models on this server", verdict.ScopeEndpoint: "this server",
	}[v.Scope]
	if who == "" {
		return "nobody"
	}
	if v.ev.Path != claude.PathMessages {
		who = v.ev.Path + " alone on this server (messages go on)"
	}
	if n := v.cfg.Breaker.Consecutive; v.Scope == verdict.ScopeEndpoint && n > 1 {
		who = fmt.Sprintf("%s after %d failures in a row or %d %% of its attempts", who, n, v.cfg.Breaker.Percent)
	}
	switch {
	case v.RetryAfter > 0:
		return who + ", " + v.howLong()
	case v.Scope == verdict.ScopeCapacity:
		return who + ", for a second or two, growing to 30s"
	default:
		return fmt.Sprintf("%s, for %s, doubled with every further failure", who, v.cfg.Cooldown)
	}
}

// howLong tells a rest that the answer or a rule asks for. Where it is too long to be believed, somebody looks sooner.
func (v verdictOn) howLong() string {
	length := inWords(v.RetryAfter)
	if v.RetryAfter >= time.Hour {
		length += ", until " + v.ev.Now.Add(v.RetryAfter).UTC().Format("2006-01-02 15:04 UTC")
	}
	if rest := v.Cooldown(); rest < v.RetryAfter {
		return fmt.Sprintf("for %s at a time: the answer speaks of %s", rest, length)
	}
	return "for " + length
}

// inWords makes a wait readable and never 0.
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
