// Package member shows the holder of a client key what concerns that key: budgets, limits,
// spending, sessions and requests, and how to connect. It never shows what belongs to another key,
// nor the addresses of servers.
package member

import (
	"encoding/json"
	"net/http"
	"sync"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/claude"
	"github.com/9bingyin/claude-code-lb/internal/edge"
	"github.com/9bingyin/claude-code-lb/internal/ledger"
	"github.com/9bingyin/claude-code-lb/internal/proxy"
	"github.com/9bingyin/claude-code-lb/internal/store"
)

const (
	// perSecond and burst limit the requests of one key. A status line asks every few seconds.
	perSecond, burst = 2, 6
	// maxReads bounds the queries of the ledger at the same time: this view must not slow down the
	// recording of requests.
	maxReads = 2
	// readTime limits one query of the ledger.
	readTime = 2 * time.Second
)

// View serves the holders of client keys. Safe for concurrent use.
type View struct {
	// Ledger returns the open ledger, or nil while it is not open. A nil Ledger means that there is
	// none.
	Ledger func() *store.Store
	// Headroom returns the remaining part of the tightest limit of a server, 0 to 1, and false if
	// the server has reported none.
	Headroom func(server string, now time.Time) (float64, bool)

	sessions *tally
	spending *spending
	rates    rates
	reads    chan struct{}
}

// New returns a view without requests. The exported fields must be set before the first request.
func New() *View {
	return &View{sessions: newTally(), spending: newSpending(), reads: make(chan struct{}, maxReads)}
}

// Record receives the entry of a request.
func (v *View) Record(e ledger.Entry) { v.sessions.record(&e) }

// ServeMember implements edge.MemberView.
func (v *View) ServeMember(w http.ResponseWriter, r *http.Request, m edge.Member) {
	now := time.Now()
	if wait := v.rates.take(m.Client, now); wait > 0 {
		proxy.WriteError(w, http.StatusTooManyRequests, wait, claude.Error{
			Type: claude.ErrRateLimit, RequestID: m.ID, Message: "/lb/me serves two requests per second for one client key: try again in a moment.",
		})
		return
	}
	c := call{v, m, now}
	serve := map[string]func(call, http.ResponseWriter, *http.Request) *problem{
		"/lb/me": call.overview, "/lb/me/report": call.report, "/lb/me/log": call.log, "/lb/me/status": call.status,
	}[r.URL.Path]
	if serve == nil {
		(&problem{http.StatusNotFound, claude.ErrNotFound, "Known are /lb/me, /lb/me/report, /lb/me/log and /lb/me/status."}).write(w, m.ID)
		return
	}
	if p := serve(c, w, r); p != nil {
		p.write(w, m.ID)
	}
}

// call is a request of a member, and the time at which it arrived.
type call struct {
	*View
	edge.Member
	now time.Time
}

// label returns how the member sees a server.
func (c *call) label(server string) string {
	if c.ShowServers {
		return server
	}
	return c.sessions.label(c.Client, server)
}

// problem is an error for the member.
type problem struct {
	status  int
	kind    claude.ErrorType
	message string
}

func (p *problem) write(w http.ResponseWriter, id string) {
	proxy.WriteError(w, p.status, 0, claude.Error{Type: p.kind, Message: p.message, RequestID: id})
}

func invalid(message string) *problem {
	return &problem{http.StatusBadRequest, claude.ErrInvalidRequest, message}
}

// needsKey refuses what only the holder of a client key may see: while auth is off, all programs of
// the machine are one client.
func (c *call) needsKey() *problem {
	if c.Key != nil {
		return nil
	}
	return &problem{http.StatusForbidden, claude.ErrPermission, "While auth is off there are no client keys: /lb/me/status?session=… shows one session, and the admin API everything."}
}

// writeJSON writes a response.
func writeJSON(w http.ResponseWriter, r *http.Request, value any) *problem {
	body, err := json.Marshal(value)
	if err != nil { // a number that JSON does not have
		return &problem{http.StatusInternalServerError, claude.ErrAPI, "The response cannot be written as JSON."}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusOK)
	if r.Method != http.MethodHead {
		w.Write(append(body, '\n'))
	}
	return nil
}

// rates limits requests by client. Safe for concurrent use.
type rates struct {
	mu sync.Mutex
	by map[string]*rate
}

type rate struct {
	level float64
	at    time.Time
}

// take counts a request. It returns how long the client has to wait, 0 if it need not.
func (t *rates) take(client string, now time.Time) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	b := t.by[client]
	if b == nil {
		if t.by == nil || len(t.by) >= maxClients {
			t.by = map[string]*rate{}
		}
		b = &rate{burst, now}
		t.by[client] = b
	}
	b.level = min(b.level+perSecond*max(now.Sub(b.at).Seconds(), 0), burst)
	b.at = now
	if b.level < 1 {
		return time.Second
	}
	b.level--
	return 0
}
