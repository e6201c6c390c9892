package member

import (
	"slices"
	"sync"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/ledger"
)

const (
	// maxSessions bounds each of the two generations of remembered sessions.
	maxSessions = 5000
	// maxLabels bounds the servers that a client can tell apart by letters.
	maxLabels = 26
	// maxClients bounds the clients whose letters are remembered.
	maxClients = 10_000
)

// sessionName identifies a session. Two clients may send the same session id.
type sessionName struct{ client, id string }

// session is what this process knows about a session.
type session struct {
	name     sessionName
	since    time.Time // the ledger knows earlier requests
	restored bool      // sums contain the earlier requests
	last     time.Time // end of the latest request
	model    string
	server   string // that gave the latest response
	failover failover
	sums     ledger.Sums
}

// failover is a change of the server within one request.
type failover struct {
	at     time.Time // zero: never
	from   string
	status int // 0: no response
	reason string
}

// tally sums up requests by session, so that a status line needs no query of the ledger. Memory is
// bounded. Safe for concurrent use.
type tally struct {
	mu            sync.Mutex
	recent, older map[sessionName]*session
	labels        map[string][]string // by client: its servers in the order in which it met them
}

func newTally() *tally {
	return &tally{recent: map[sessionName]*session{}, labels: map[string][]string{}}
}

// record adds a request that has ended.
func (t *tally) record(e *ledger.Entry) {
	if e.Session == "" {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.findLocked(sessionName{e.Client, e.Session}, e.Start)
	if !s.restored && e.Start.Before(s.since) {
		s.since = e.Start
	}
	s.add(e)
}

// add adds a request to the sums. Requests may arrive in any order.
func (s *session) add(e *ledger.Entry) {
	for _, share := range e.Shares() {
		s.sums.Add(share)
	}
	end := e.Start.Add(e.Duration)
	if end.Before(s.last) {
		return
	}
	s.last = end
	if e.Model != "" {
		s.model = e.Model
	}
	final := e.Final()
	if final == nil || !final.Served {
		return
	}
	s.server = final.Server
	for i := range slices.Backward(e.Attempts) {
		if a := &e.Attempts[i]; isFailure(a) && a.Server != final.Server {
			s.failover = failover{end, a.Server, a.Status, a.Scope}
			return
		}
	}
}

// isFailure reports whether a server failed in an attempt. A client that left and a hedge that lost
// are no failures.
func isFailure(a *ledger.Attempt) bool {
	return !a.Served && a.Scope != "" && a.Scope != "none" && a.Scope != "client"
}

// findLocked returns a session, a new one if it is unknown.
func (t *tally) findLocked(name sessionName, since time.Time) *session {
	if s := t.recent[name]; s != nil {
		return s
	}
	s := t.older[name]
	if s == nil {
		s = &session{name: name, since: since}
	}
	delete(t.older, name)
	if len(t.recent) >= maxSessions {
		t.older, t.recent = t.recent, map[sessionName]*session{}
	}
	t.recent[name] = s
	return s
}

// get returns a copy of a session. Unless it is restored, create makes sure that it is remembered,
// so that it can be.
func (t *tally) get(name sessionName, now time.Time) session {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s := t.recent[name]; s != nil {
		return *s
	}
	if s := t.older[name]; s != nil {
		return *s
	}
	return session{name: name, since: now}
}

// restore adds earlier requests of a session, once. A session without any request stays unknown:
// guessed ids take no memory.
func (t *tally) restore(earlier *session) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.recent[earlier.name]
	if s == nil {
		s = t.older[earlier.name]
	}
	if s == nil {
		if earlier.sums.Requests == 0 {
			return
		}
		s = t.findLocked(earlier.name, earlier.since)
	}
	if s.restored {
		return
	}
	s.restored = true
	s.sums.Add(earlier.sums)
	if earlier.last.After(s.last) {
		s.last, s.model, s.server, s.failover = earlier.last, earlier.model, earlier.server, earlier.failover
	}
}

// of lists the ids of a client's sessions, the latest first.
func (t *tally) of(client string) []session {
	t.mu.Lock()
	defer t.mu.Unlock()
	var list []session
	for _, generation := range [...]map[sessionName]*session{t.recent, t.older} {
		for name, s := range generation {
			if name.client == client {
				list = append(list, *s)
			}
		}
	}
	slices.SortFunc(list, func(a, b session) int { return b.last.Compare(a.last) })
	return list
}

// label returns a letter for a server, in the order in which a client met them: it reveals neither
// the name nor how many others there are.
func (t *tally) label(client, server string) string {
	if server == "" {
		return ""
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	known := t.labels[client]
	i := slices.Index(known, server)
	if i < 0 {
		if len(known) == maxLabels {
			return "?"
		}
		if len(t.labels) >= maxClients {
			clear(t.labels)
		}
		i, t.labels[client] = len(known), append(known, server)
	}
	return string(rune('A' + i))
}
