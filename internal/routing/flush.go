package routing

import (
	"sync"
	"sync/atomic"
	"time"
)

const (
	// maxFlushes bounds the sessions that wait to be forgotten.
	maxFlushes = 1000
	// maxFlushed bounds the conversations of one of them, its agents', that are told apart.
	maxFlushed = 1000
)

// flushes are the sessions to be forgotten. Which entries of the index are a
// session's is known only when its next request brings their fingerprints.
// Safe for concurrent use.
type flushes struct {
	some     atomic.Bool // a session is marked
	mu       sync.Mutex
	sessions map[string]*flushing
}

// flushing is a session that is marked.
type flushing struct {
	until time.Time
	done  map[uint64]bool // conversations that were forgotten
}

// Flush forgets which account serves a session, of all agents in it: the next request of each is placed like a new
// one. What is cached there stays in the upstream's cache.
func (x *Index) Flush(session string, now time.Time) {
	f := &x.flushes
	f.mu.Lock()
	defer f.mu.Unlock()
	f.drop(now)
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

// drop forgets marks of sessions whose entries have all expired. The caller holds the mutex.
func (f *flushes) drop(now time.Time) {
	for session, each := range f.sessions {
		if !now.Before(each.until) {
			delete(f.sessions, session)
		}
	}
	f.some.Store(len(f.sessions) > 0)
}

// due says whether a conversation of a session is to be forgotten now, and takes note that it was.
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

// flush forgets who holds the conversation that a query goes on with, if its session is marked. What conversations share stays.
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
