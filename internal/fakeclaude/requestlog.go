package fakeclaude

import (
	"context"
	"maps"
	"net/http"
	"sync"

	"github.com/9bingyin/claude-code-lb/internal/fakeclaude/fault"
)

const maxLogBytes = 256 << 20 // of bodies that one server keeps

// requestLog keeps the newest requests and counts all. Safe for concurrent use.
type requestLog struct {
	keep int // how many requests

	mu      sync.Mutex
	entries []*RecordedRequest // oldest first
	bytes   int                // of their bodies
	stats   Stats
	idle    chan struct{} // closed when no request is in flight
}

func (l *requestLog) init(keep int) {
	if keep == 0 {
		keep = 1000
	}
	l.keep = max(keep, 0)
	l.reset()
}

// reset removes the requests and all counts besides the number of requests in flight.
func (l *requestLog) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.entries, l.bytes = nil, 0
	l.stats = Stats{InFlight: l.stats.InFlight, ByStatus: map[int]int64{}, ByFault: map[fault.Kind]int64{}}
}

func (l *requestLog) add(c *call) *RecordedRequest {
	r := &RecordedRequest{
		ID:         c.id,
		Time:       c.start,
		Method:     c.request.Method,
		RequestURI: c.request.RequestURI,
		Host:       c.request.Host,
		Header:     c.request.Header.Clone(),
		Body:       c.body,
		Outcome:    OutcomeInFlight,
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stats.Requests++
	if l.stats.InFlight++; l.stats.InFlight == 1 {
		l.idle = make(chan struct{})
	}
	if l.keep == 0 {
		return r
	}
	l.entries = append(l.entries, r)
	l.bytes += len(r.Body)
	for len(l.entries) > l.keep || (l.bytes > maxLogBytes && len(l.entries) > 1) {
		l.bytes -= len(l.entries[0].Body)
		l.entries[0] = nil
		l.entries = l.entries[1:]
	}
	return r
}

// finish calls fill under the lock to complete the request, and counts it.
func (l *requestLog) finish(r *RecordedRequest, fill func(*RecordedRequest)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fill(r)
	s := &l.stats
	if s.InFlight--; s.InFlight == 0 {
		close(l.idle)
	}
	if r.Status != 0 {
		s.ByStatus[r.Status]++
	}
	if r.Fault != fault.None {
		s.ByFault[r.Fault]++
	}
	switch {
	case r.Outcome == OutcomeCancelled:
		s.Cancelled++
	case r.Outcome == OutcomeCut:
		s.Cut++
	case r.Status == http.StatusTooManyRequests && r.Fault == fault.None:
		s.RateLimited++
	}
	s.Tokens.Input += r.Usage.InputTokens
	s.Tokens.CacheRead += r.Usage.CacheRead
	s.Tokens.CacheCreation5m += r.Usage.Split.FiveMinutes
	s.Tokens.CacheCreation1h += r.Usage.Split.OneHour
	s.Tokens.Output += r.Usage.OutputTokens
}

// Requests returns the newest requests, oldest first, with those in flight. Their headers and
// bodies are shared with the log and must not be changed.
func (s *Server) Requests() []RecordedRequest {
	s.log.mu.Lock()
	defer s.log.mu.Unlock()
	list := make([]RecordedRequest, len(s.log.entries))
	for i, r := range s.log.entries {
		list[i] = *r
	}
	return list
}

// Stats returns the counts.
func (s *Server) Stats() Stats {
	s.log.mu.Lock()
	defer s.log.mu.Unlock()
	stats := s.log.stats
	stats.ByStatus, stats.ByFault = maps.Clone(stats.ByStatus), maps.Clone(stats.ByFault)
	return stats
}

// WaitIdle waits until no request is in flight. A client has its response shortly before the server
// records how it ended: call WaitIdle before Requests and Stats.
func (s *Server) WaitIdle(ctx context.Context) error {
	s.log.mu.Lock()
	busy, idle := s.log.stats.InFlight > 0, s.log.idle
	s.log.mu.Unlock()
	if !busy {
		return nil
	}
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
