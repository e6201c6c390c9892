package routing

import (
	"sync"
	"sync/atomic"
	"time"
)

const (
	// maxFlushes bounds the sessions with a pending flush.
	maxFlushes = 1000
	// maxFlushed bounds the flushed conversations of one session: those of its agents.
	maxFlushed = 1000
)

// flushes are the sessions to be flushed. The entries of a session are unknown until its next
// request brings their fingerprints. Safe for concurrent use.
type flushes struct {
	some     atomic.Bool // at least one session is marked
	mu       sync.Mutex
	sessions map[string]*flushing
}

// flushing is a marked session.
type flushing struct {
	until time.Time
	done  map[uint64]bool // conversations that were flushed
}

// Flush makes the index forget which account serves a session, for all of its agents: the next
// request of each is placed like a new one. The upstream's cache keeps its contents.
func (x *Index) Flush(session string, now time.Time) {
	f := &x.flushes
	f.mu.Lock()
	defer f.mu.Unlock()
	f.dropExpiredLocked(now)
	if f.sessions == nil {
		f.sessions = map[string]*flushing{}
	}
	if len(f.sessions) >= maxFlushes {
		for oldest := range f.sessions {
			delete(f.sessions, oldest)
			break
		}
	}
	f.sessions[session] = &flushing{until: now.Add(signerTTL), done: map[uint64]bool{}}
	f.some.Store(true)
}

// dropExpiredLocked drops marks of sessions without an unexpired entry.
func (f *flushes) dropExpiredLocked(now time.Time) {
	for session, each := range f.sessions {
		if !now.Before(each.until) {
			delete(f.sessions, session)
		}
	}
	f.some.Store(len(f.sessions) > 0)
}

// due reports whether a conversation of a session must be flushed now, and marks it as flushed.
func (f *flushes) due(session string, conversation uint64, now time.Time) bool {
	if session == "" || !f.some.Load() {
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	each := f.sessions[session]
	if each == nil || !now.Before(each.until) || each.done[conversation] || len(each.done) >= maxFlushed {
		return false
	}
	each.done[conversation] = true
	return true
}

// flush removes the holders of the conversation that a query continues, if its session is marked.
// Shared prefixes stay.
func (x *Index) flush(q *Query, now time.Time) {
	if q.Prompt == nil || !x.flushes.due(q.Session, q.Conversation, now) {
		return
	}
	for _, b := range q.Prompt.Turns {
		x.forget(b.Fingerprint)
	}
	x.forget(q.conversation())
}

func (x *Index) forget(fingerprint uint64) {
	s := x.shard(fingerprint)
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.entries, fingerprint)
}
