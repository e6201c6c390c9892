package proxy

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/ledger"
)

const (
	// maxLive bounds the requests that are listed while they are served; more are served all the same.
	maxLive = 10_000
	// decisions is how many finished requests are remembered with their trails.
	decisions = 200
)

// Live is a request that is being served, at one moment.
type Live struct {
	ID, Client, Session, Agent, Model, Path string

	Server string // asked last, "" while none was
	Start  time.Time
	Sent   int64 // bytes of the request's body
	Bytes  int64 // of the answer, so far
}

// Decision is a finished request with the steps that led to its answer, as people read them.
type Decision struct {
	Entry ledger.Entry
	Trail []string
}

// finished is a Decision that nobody has asked to read yet.
type finished struct {
	entry ledger.Entry
	trail trail
}

// inFlight is a Live that goes on.
type inFlight struct {
	Live    // Server and Bytes are those below
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

// journal knows the requests that are being served and the latest that were. Safe for concurrent use.
type journal struct {
	mu     sync.Mutex
	live   map[*inFlight]struct{}
	ring   [decisions]finished
	ending uint64 // requests that have ended
}

// begin lists a request that begins, until its end.
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

// end remembers how a request ended.
func (j *journal) end(l *inFlight, d finished) {
	j.mu.Lock()
	defer j.mu.Unlock()
	delete(j.live, l)
	j.ring[j.ending%decisions] = d
	j.ending++
}

// Live lists the requests that are being served, the oldest first.
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

// Decisions lists the latest finished requests, the newest first. Entries share memory with what recorders got: nobody changes them.
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
