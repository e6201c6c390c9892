package proxy

import (
	"net/http"
	"strings"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/claude"
)

// follow finds the account whose response the request continues. It is a preference: if the account
// cannot take the request, another account gets it, and its "not found" makes the client start
// over.
func (x *exchange) follow(prompt *claude.Prompt) {
	if prompt != nil && x.followOne(prompt.ContinuationIDs) || !x.isSide() {
		return
	}
	if !x.followOne(claude.MessageIDsIn(x.req.HTTP.URL, x.req.HTTP.Header)) && x.entry.Session != "" && x.isStateful() {
		x.followOne([]string{sessionName(x.entry.Session, x.entry.Agent)})
	}
}

// followOne follows the first of several names whose account is known.
func (x *exchange) followOne(names []string) bool {
	for _, name := range names {
		if home := x.p.Continuations.Of(name, x.req.Start); !home.None() {
			x.query.Home = home
			return true
		}
	}
	return false
}

// isStateful reports whether a request for another path than /v1/messages concerns the conversation
// of its session, for example to keep its cache alive.
func (x *exchange) isStateful() bool {
	return x.req.HTTP.Method == http.MethodPost && strings.HasPrefix(x.query.Subject.Path, "messages/")
}

// sessionName returns the key of a session and its agent for Continuations. No message id contains
// a zero byte.
func sessionName(session, agent string) string { return session + "\x00" + agent }

// rememberContinuations records the names by which later requests may continue a response. It runs
// before those names are sent to the client, because the next request may come at once.
func (x *exchange) rememberContinuations(a *attempt) {
	if !a.message.Started || x.isSide() || a.remembered && len(a.message.ContinuationIDs) == a.continues {
		return
	}
	now := time.Now()
	if !a.remembered {
		a.remembered = true
		if x.entry.Session != "" {
			x.p.Continuations.Learn(a.lease.Endpoint, sessionName(x.entry.Session, x.entry.Agent), now)
		}
		if a.message.ID != "" {
			x.p.Continuations.Learn(a.lease.Endpoint, a.message.ID, now)
		}
	}
	for _, name := range a.message.ContinuationIDs[a.continues:] {
		x.p.Continuations.Learn(a.lease.Endpoint, name, now)
	}
	a.continues = len(a.message.ContinuationIDs)
}
