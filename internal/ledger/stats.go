package ledger

import (
	"maps"
	"slices"
	"sync"
	"time"
)

// Stats sums entries per upstream since the last Take. Safe for concurrent use.
type Stats struct {
	mu      sync.Mutex
	since   time.Time
	servers map[string]*serverSums
}

type serverSums struct {
	requests, errors int64
	firstBytes       latencies
}

// Summary is the sum of one upstream over a period.
type Summary struct {
	Server         string
	Requests       int64 // attempts at this upstream
	Errors         int64 // failed attempts
	MeanFirstByte  time.Duration
	P95FirstByte   time.Duration
	FirstByteCount int64 // responses behind the two latencies
}

// NewStats returns empty sums that begin at now.
func NewStats(now time.Time) *Stats {
	return &Stats{since: now, servers: map[string]*serverSums{}}
}

// Record adds one finished request.
func (s *Stats) Record(e Entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, a := range e.Attempts {
		sums := s.servers[a.Server]
		if sums == nil {
			sums = &serverSums{}
			s.servers[a.Server] = sums
		}
		sums.requests++
		last := i == len(e.Attempts)-1
		switch {
		case last && e.Outcome == ClientGone, a.Scope == ownScope: // not the upstream's failure
		case a.Reason != "", last && e.Outcome == Truncated:
			sums.errors++
		case last && e.Outcome == Answered && e.TimeToFirstByte > 0:
			sums.firstBytes.add(e.TimeToFirstByte - a.Start.Sub(e.Start))
		}
	}
}

// ownScope is the scope of an attempt that the balancer could not make.
const ownScope = "balancer"

// Take returns the sums by server name and the time since the last Take, and begins again at now.
func (s *Stats) Take(now time.Time) ([]Summary, time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []Summary
	for _, name := range slices.Sorted(maps.Keys(s.servers)) {
		sums := s.servers[name]
		out = append(out, Summary{
			Server: name, Requests: sums.requests, Errors: sums.errors,
			MeanFirstByte: sums.firstBytes.mean(), P95FirstByte: sums.firstBytes.quantile(0.95), FirstByteCount: sums.firstBytes.count,
		})
	}
	period := now.Sub(s.since)
	s.since, s.servers = now, map[string]*serverSums{}
	return out, period
}
