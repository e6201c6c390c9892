package upstream

import (
	"math"
	"slices"
	"sync"
	"time"
)

const (
	// maxSamples is the number of latest responses in the distribution.
	maxSamples = 64
	// minSamples is the number of responses from which the distribution is used.
	minSamples = 8
	// doublingTokens is the number of uncached input tokens that about doubles the time to first
	// token: the prefill of 10,000 to 20,000 tokens takes a second, and everything else about one
	// second.
	doublingTokens = 20_000
	// limitFactor times the 95th percentile is the limit of a request.
	limitFactor = 4
	// minContentLimit is the minimum of that limit. A slow first token is common, and another
	// attempt may be billed for the prompt again.
	minContentLimit = time.Minute
)

// latency is the recent distribution of the time to first token, normalized to a fully cached
// prompt. Only successes count, because a fast failure must not attract requests. Safe for
// concurrent use.
type latency struct {
	mu   sync.Mutex
	ring [maxSamples]time.Duration
	next int
	n    int
	p95  time.Duration

	mean     float64 // exponential mean in seconds; meaningful if n > 0
	at       time.Time
	longMean float64 // the same over a longer time, for comparison
}

// latencyMemory is the time after which the weight of a measurement falls to a third; longMemory is
// the same for the long-term mean.
const (
	latencyMemory = time.Minute
	longMemory    = time.Hour
)

func promptFactor(uncached int64) float64 { return 1 + float64(max(uncached, 0))/doublingTokens }

// record adds the time to first token of a response to a prompt with this number of uncached
// tokens.
func (l *latency) record(took time.Duration, uncached int64, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	took = time.Duration(float64(took) / promptFactor(uncached))
	// minimum weights of one response, even if it follows another at once
	const minWeight, minLongWeight = 0.1, 0.002
	passed := max(now.Sub(l.at), 0).Seconds()
	weight, longWeight := max(1-math.Exp(-passed/latencyMemory.Seconds()), minWeight), max(1-math.Exp(-passed/longMemory.Seconds()), minLongWeight)
	if l.n == 0 {
		weight, longWeight = 1, 1
	}
	l.mean, l.longMean, l.at = l.mean+weight*(took.Seconds()-l.mean), l.longMean+longWeight*(took.Seconds()-l.longMean), now
	l.ring[l.next] = took
	l.next = (l.next + 1) % maxSamples
	l.n = min(l.n+1, maxSamples)
	sorted := l.ring
	slices.Sort(sorted[:l.n])
	l.p95 = sorted[(l.n*95-1)/100]
}

// recentMean returns the mean time of recent responses, or 0 without any.
func (l *latency) recentMean() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return time.Duration(l.mean * float64(time.Second))
}

// longTermMean returns the mean time of the responses of the last hours, or 0 without any.
func (l *latency) longTermMean() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return time.Duration(l.longMean * float64(time.Second))
}

// percentile95 predicts the time within which 95 % of responses begin. It reports false if there
// are too few samples.
func (l *latency) percentile95(uncached int64) (time.Duration, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return time.Duration(float64(l.p95) * promptFactor(uncached)), l.n >= minSamples
}

// FirstContentLimit returns how long a streaming request with at most this number of uncached input
// tokens may wait for its first content: a multiple of the recent 95th percentile, at least one
// minute, at most maximum. 0 means no limit.
func (e *Endpoint) FirstContentLimit(uncached int64, maximum time.Duration) time.Duration {
	p95, known := e.state.latency.percentile95(uncached)
	if !known {
		return maximum
	}
	limit := max(limitFactor*p95, minContentLimit)
	if maximum > 0 {
		limit = min(limit, maximum)
	}
	return limit
}

// HedgeDelay returns the time within which 95 % of such requests have their first content. It
// reports false if there are too few samples.
func (e *Endpoint) HedgeDelay(uncached int64) (time.Duration, bool) {
	return e.state.latency.percentile95(uncached)
}

// RecordLatency records the time to first token of a response that began now, with the uncached
// input tokens that it reported.
func (e *Endpoint) RecordLatency(took time.Duration, uncached int64, now time.Time) {
	e.state.latency.record(took, uncached, now)
}
