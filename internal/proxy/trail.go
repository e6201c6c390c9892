package proxy

import (
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/ledger"
	"github.com/9bingyin/claude-code-lb/internal/routing"
	"github.com/9bingyin/claude-code-lb/internal/upstream"
	"github.com/9bingyin/claude-code-lb/internal/verdict"
)

// traceHeader is the request header with which a client asks for the trail.
const traceHeader = "X-Lb-Trace"

// maxSteps limits the trail of one request.
const maxSteps = 64

// trail records how a request got its response: endpoints that were skipped and why, attempts with
// their outcomes, and the waits in between.
type trail struct {
	steps  []step
	wanted bool // the client asks for the trail
}

type step struct {
	at       time.Time // start
	server   string
	view     *upstream.View   // of an endpoint that was skipped
	outcome  *verdict.Outcome // of an attempt
	duration time.Duration    // of an attempt or a wait
	warm     routing.Warmth   // of an attempt: what the account has cached
	status   int              // of an attempt's response
	pinned   string           // of an attempt: the id that it was pinned by

	candidates []ledger.Candidate // of a choice
}

func (t *trail) add(s step) {
	if len(t.steps) < maxSteps {
		t.steps = append(t.steps, s)
	}
}

// addSkipped adds the endpoints that were not available, each once per state.
func (t *trail) addSkipped(considered []routing.Considered, now time.Time) {
	for _, c := range considered {
		if c.Reason == routing.Unfit && !t.has(c) {
			t.add(step{at: now, server: c.Endpoint.Name(), view: &c.View})
		}
	}
}

func (t *trail) has(c routing.Considered) bool {
	for _, s := range t.steps {
		if s.server == c.Endpoint.Name() && s.view != nil && s.view.Unfit == c.View.Unfit {
			return true
		}
	}
	return false
}

// allSkippedFor reports whether all endpoints that take work were skipped for the reason u.
func (t *trail) allSkippedFor(u upstream.Unfit) bool {
	n := 0
	for _, s := range t.steps {
		switch {
		case s.view == nil || s.view.Unfit == upstream.Draining:
		case s.view.Unfit != u:
			return false
		default:
			n++
		}
	}
	return n > 0
}

func (t *trail) addAttempt(a *attempt, pinned string, now time.Time) {
	outcome := a.outcome // a copy, so that the trail does not keep the attempt alive
	t.add(step{at: a.start, server: a.lease.Name(), outcome: &outcome, duration: now.Sub(a.start), warm: a.warm, status: a.status(), pinned: pinned})
}

// addWait adds a wait. Several in a row become one.
func (t *trail) addWait(wait time.Duration, now time.Time) {
	if n := len(t.steps); n > 0 && t.steps[n-1].isWait() {
		t.steps[n-1].duration = now.Add(wait).Sub(t.steps[n-1].at)
		return
	}
	t.add(step{at: now, duration: wait})
}

func (s step) isWait() bool { return s.view == nil && s.outcome == nil && s.candidates == nil }

func (s step) String() string {
	server := label(s.server)
	switch {
	case s.view != nil && s.view.ReadyAt.After(s.at):
		return fmt.Sprintf("%s: %s for %s (%s)", server, s.view.Unfit, brief(s.view.ReadyAt.Sub(s.at)), s.view.Reason)
	case s.view != nil:
		return fmt.Sprintf("%s: %s", server, s.view.Unfit)
	case s.isWait():
		return fmt.Sprintf("waited up to %s", brief(s.duration))
	case s.outcome.Scope == verdict.ScopeNone:
		return fmt.Sprintf("%s: answered in %s", server, brief(s.duration)) + s.cached()
	case s.outcome.Reason == "":
		return fmt.Sprintf("%s: status %d (%s) in %s", server, s.status, s.outcome.Scope, brief(s.duration))
	default:
		return fmt.Sprintf("%s: %s (%s) in %s", server, s.outcome.Reason, s.outcome.Scope, brief(s.duration))
	}
}

// label returns a server's name for the trail: quoted if it contains the trail's own punctuation.
func label(name string) string {
	if strings.ContainsAny(name, `;"\`) || strings.Contains(name+" ", ": ") {
		return strconv.Quote(name)
	}
	return name
}

// cached returns why the endpoint was the conversation's home, "" if it was not.
func (s step) cached() string {
	if s.pinned != "" {
		return ", the account that keeps " + s.pinned
	}
	if s.warm.Followed {
		return ", the account of the message or session it goes on from"
	}
	if s.warm.Cached == 0 {
		return ""
	}
	return fmt.Sprintf(", warm on %s (%s of %s tokens cached, expires in %s)", label(s.server), thousands(s.warm.Cached), thousands(s.warm.Total), brief(s.warm.Expires.Sub(s.at)))
}

// thousands formats a number of tokens, such as 12k.
func thousands(n int64) string {
	if n < 1000 {
		return strconv.FormatInt(n, 10)
	}
	return strconv.FormatInt((n+500)/1000, 10) + "k"
}

func brief(d time.Duration) time.Duration {
	if d > time.Second {
		return d.Round(100 * time.Millisecond)
	}
	return d.Round(time.Millisecond)
}

// texts returns the steps as text.
func (t *trail) texts() []string {
	lines := make([]string, 0, len(t.steps))
	for _, s := range t.steps {
		if s.candidates == nil {
			lines = append(lines, s.String())
		}
	}
	return lines
}

// String returns the trail in one line.
func (t *trail) String() string { return strings.Join(t.texts(), "; ") }

// LogValue returns the trail as a list.
func (t *trail) LogValue() slog.Value { return slog.AnyValue(t.texts()) }

// trace adds the trail to the response header if the client asked for it.
func (x *exchange) trace() {
	if !x.trail.wanted {
		return
	}
	h := x.client.w.Header()
	h.Set("X-Lb-Upstream", headerText(x.entry.Server()))
	h.Set("X-Lb-Attempts", fmt.Sprint(len(x.entry.Attempts)))
	h.Set("X-Lb-Reason", headerText(x.trail.String()))
}

// headerText makes any text safe for a header: one line of printable ASCII, of moderate length.
func headerText(s string) string {
	const longest = 2000
	var b strings.Builder
	for _, r := range s {
		if b.Len() >= longest {
			break
		}
		if r < ' ' || r > '~' {
			fmt.Fprintf(&b, `\u%04x`, r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}
