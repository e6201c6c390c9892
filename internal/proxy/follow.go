package proxy

import (
	"net/http"
	"strings"
	"time"

	"claude-code-lb/internal/claude"
)

// follow finds the account that a request goes on from. It is a preference: if the account cannot take the request,
// another one is asked, whose "not found" makes the client begin again.
func (x *exchange) follow(prompt *claude.Prompt) {
	if prompt != nil && x.followOne(prompt.Follows) || !x.isSide() {
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

// isStateful says whether a request for another path than that of messages concerns the conversation of its session,
// such as one that keeps the cache of a conversation alive.
func (x *exchange) isStateful() bool {
	return x.req.HTTP.Method == http.MethodPost && strings.HasPrefix(x.query.Subject.Path, "messages/")
}

// sessionName names a session and an agent in it among what can be continued. No id of a message holds a zero byte.
func sessionName(session, agent string) string { return session + "\x00" + agent }

// rememberContinuations notes by which names later requests may go on from an answer. It is called before the client
// is sent them, for the next request may come at once.
func (x *exchange) rememberContinuations(a *answer) {
	if !a.message.Started || x.isSide() || a.remembered && len(a.message.Continues) == a.continues {
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
	for _, name := range a.message.Continues[a.continues:] {
		x.p.Continuations.Learn(a.lease.Endpoint, name, now)
	}
	a.continues = len(a.message.Continues)
}
