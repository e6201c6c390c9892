package upstream

import (
	"math"
	"slices"
	"sync"
	"time"
)

const (
	// samples is how many of the latest answers make the distribution.
	samples = 64
	// enough of them make it worth believing.
	enough = 8
	// unitTokens is how many uncached input tokens about double the time to first token: prefill
	// takes 10 to 20 thousand a second, everything else about one second.
	unitTokens = 20_000
	// patience is how many times the 95th percentile a request is given.
	patience = 4
	// leastPatience is given to every request that may take longer at all: a slow
	// first token is usual, and asking elsewhere may pay the prompt twice.
	leastPatience = time.Minute
)

// latency is the recent distribution of the time to first token, as if no
// prompt had been uncached. It learns from successes alone: a fast failure must
// not attract traffic. Safe for concurrent use.
type latency struct {
	mu   sync.Mutex
	ring [samples]time.Duration
	next int
	n    int
	p95  time.Duration

	mean float64 // of the same in seconds, later ones counting more; meaningful once n is above 0
	at   time.Time
	long float64 // the same over a longer time, to compare with
}

// latencyMemory is the time after which the weight of a measurement falls to a third. longMemory is the same for the
// long-term mean.
const (
	latencyMemory = time.Minute
	longMemory    = time.Hour
)

func scale(uncached int64) float64 { return 1 + float64(max(uncached, 0))/unitTokens }

// observe takes the time to first token of an answer to a prompt with so many uncached tokens.
func (l *latency) observe(took time.Duration, uncached int64, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	took = time.Duration(float64(took) / scale(uncached))
	const least, leastLong = 0.1, 0.002 // of one answer on the mean, however soon it follows another
	passed := max(now.Sub(l.at), 0).Seconds()
	share, longShare := max(1-math.Exp(-passed/latencyMemory.Seconds()), least), max(1-math.Exp(-passed/longMemory.Seconds()), leastLong)
	if l.n == 0 {
		share, longShare = 1, 1
	}
	l.mean, l.long, l.at = l.mean+share*(took.Seconds()-l.mean), l.long+longShare*(took.Seconds()-l.long), now
	l.ring[l.next] = took
	l.next = (l.next + 1) % samples
	l.n = min(l.n+1, samples)
	sorted := l.ring
	slices.Sort(sorted[:l.n])
	l.p95 = sorted[(l.n*95-1)/100]
}

// usual is the mean time of recent answers, 0 when there was none.
func (l *latency) usual() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return time.Duration(l.mean * float64(time.Second))
}

// longTerm is the mean time of the answers of the last hours, 0 when there was none.
func (l *latency) longTerm() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return time.Duration(l.long * float64(time.Second))
}

// quantile95 predicts the time within which 95 of 100 answers begin; it reports false when too few are known.
func (l *latency) quantile95(uncached int64) (time.Duration, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return time.Duration(float64(l.p95) * scale(uncached)), l.n >= enough
}

// FirstContentLimit is how long a streaming request with at most so many
// uncached input tokens may wait here for its first content: several times what
// 95 of 100 recent answers took, a minute at least, and never more than most; 0 means no limit.
func (e *Endpoint) FirstContentLimit(uncached int64, most time.Duration) time.Duration {
	usual, known := e.state.latency.quantile95(uncached)
	if !known {
		return most
	}
	limit := max(patience*usual, leastPatience)
	if most > 0 {
		limit = min(limit, most)
	}
	return limit
}

// HedgeDelay is the time within which 95 of 100 such requests have their first
// content here. It reports false when too little is known.
func (e *Endpoint) HedgeDelay(uncached int64) (time.Duration, bool) {
	return e.state.latency.quantile95(uncached)
}

// RecordLatency teaches the endpoint the time to first token of an answer that has begun now, and the
// uncached input tokens that it reported.
func (e *Endpoint) RecordLatency(took time.Duration, uncached int64, now time.Time) {
	e.state.latency.observe(took, uncached, now)
}
