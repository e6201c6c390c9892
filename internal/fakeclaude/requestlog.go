package fakeclaude

import (
	"context"
	"maps"
	"net/http"
	"sync"

	"github.com/9bingyin/claude-code-lb/internal/fakeclaude/fault"
)

const maxLogBytes = 256 << 20 // bodies kept by one server

// requestLog remembers the newest requests and counts all. Safe for concurrent use.
type requestLog struct {
	keep int

	mu    sync.Mutex
	seen  []*RecordedRequest // oldest first
	bytes int
	stats Stats
	idle  chan struct{} // closed when nothing is in flight any more
}

func (l *requestLog) init(keep int) {
	if keep == 0 {
		keep = 1000
	}
	l.keep = max(keep, 0)
	l.reset()
}

// reset forgets all but the number of requests in flight.
func (l *requestLog) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seen, l.bytes = nil, 0
	l.stats = Stats{InFlight: l.stats.InFlight, ByStatus: map[int]int64{}, ByFault: map[fault.Kind]int64{}}
}

func (l *requestLog) add(c *call) *RecordedRequest {
	e := &RecordedRequest{
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
		return e
	}
	l.seen = append(l.seen, e)
	l.bytes += len(e.Body)
	for len(l.seen) > l.keep || (l.bytes > maxLogBytes && len(l.seen) > 1) {
		l.bytes -= len(l.seen[0].Body)
		l.seen[0] = nil
		l.seen = l.seen[1:]
	}
	return e
}

// finish lets fill complete the entry, and counts it.
func (l *requestLog) finish(e *RecordedRequest, fill func(*RecordedRequest)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fill(e)
	s := &l.stats
	if s.InFlight--; s.InFlight == 0 {
		close(l.idle)
	}
	if e.Status != 0 {
		s.ByStatus[e.Status]++
	}
	if e.Fault != fault.None {
		s.ByFault[e.Fault]++
	}
	switch {
	case e.Outcome == OutcomeCancelled:
		s.Cancelled++
	case e.Outcome == OutcomeCut:
		s.Cut++
	case e.Status == http.StatusTooManyRequests && e.Fault == fault.None:
		s.RateLimited++
	}
	s.Tokens.Input += e.Usage.InputTokens
	s.Tokens.CacheRead += e.Usage.CacheRead
	s.Tokens.CacheCreation5m += e.Usage.Split.FiveMinutes
	s.Tokens.CacheCreation1h += e.Usage.Split.OneHour
	s.Tokens.Output += e.Usage.OutputTokens
}

// Requests returns the newest requests, oldest first, those in flight included.
// Headers and bodies are shared with the log: do not change them.
func (s *Server) Requests() []RecordedRequest {
	s.log.mu.Lock()
	defer s.log.mu.Unlock()
	list := make([]RecordedRequest, len(s.log.seen))
	for i, e := range s.log.seen {
		list[i] = *e
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

// WaitIdle waits until no request is in flight. A client has its answer a moment
// before the server has written down how it ended, so look at Requests and Stats
// after it.
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
