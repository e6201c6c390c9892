package proxy

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/ledger"
)

const (
	// maxLive limits how many requests in flight are listed. More are served, but not listed.
	maxLive = 10_000
	// decisions is how many finished requests are kept with their trails.
	decisions = 200
)

// Live is a snapshot of a request in flight.
type Live struct {
	ID, Client, Session, Agent, Model, Path string

	Server string // of the latest attempt, "" before the first one
	Start  time.Time
	Sent   int64 // bytes of the request's body
	Bytes  int64 // of the response, so far
}

// Decision is a finished request with the steps that led to its response, as text.
type Decision struct {
	Entry ledger.Entry
	Trail []string
}

// finished is a Decision before its trail is formatted.
type finished struct {
	entry ledger.Entry
	trail trail
}

// inFlight is the state behind a Live, which the request's goroutine changes.
type inFlight struct {
	Live    // without Server and Bytes, which are below
	server  atomic.Pointer[string]
	written *atomic.Int64 // nil: nothing has been written
}

func (l *inFlight) view() Live {
	out := l.Live
	if server := l.server.Load(); server != nil {
		out.Server = *server
	}
	if l.written != nil {
		out.Bytes = l.written.Load()
	}
	return out
}

// journal has the requests in flight and the latest finished ones. Safe for concurrent use.
type journal struct {
	mu     sync.Mutex
	live   map[*inFlight]struct{}
	ring   [decisions]finished
	ending uint64 // number of requests that have ended
}

// begin lists a request until end.
func (j *journal) begin(l *inFlight, e *ledger.Entry) {
	l.Live = Live{
		ID: e.ID, Client: e.Client, Session: e.Session, Agent: e.Agent, Model: e.Model, Path: e.Path, Start: e.Start, Sent: e.Sent,
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.live == nil {
		j.live = map[*inFlight]struct{}{}
	}
	if len(j.live) < maxLive {
		j.live[l] = struct{}{}
	}
}

// end moves a request to the finished ones.
func (j *journal) end(l *inFlight, d finished) {
	j.mu.Lock()
	defer j.mu.Unlock()
	delete(j.live, l)
	j.ring[j.ending%decisions] = d
	j.ending++
}

// Live returns the requests in flight, the oldest first.
func (p *Proxy) Live() []Live {
	j := &p.journal
	j.mu.Lock()
	all := make([]Live, 0, len(j.live))
	for l := range j.live {
		all = append(all, l.view())
	}
	j.mu.Unlock()
	slices.SortFunc(all, func(a, b Live) int { return a.Start.Compare(b.Start) })
	return all
}

// Decisions returns the latest finished requests, the newest first. The entries share memory with
// those that recorders received, and must not be changed.
func (p *Proxy) Decisions() []Decision {
	j := &p.journal
	j.mu.Lock()
	defer j.mu.Unlock()
	n := min(j.ending, decisions)
	all := make([]Decision, 0, n)
	for i := range n {
		d := &j.ring[(j.ending-1-i)%decisions]
		all = append(all, Decision{d.entry, d.trail.texts()})
	}
	return all
}
