package observe

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// series caches the metrics for each combination of labels, because finding a metric by its labels
// costs more than counting. Entries are never removed, like the metrics themselves. Callers bound
// the labels. Safe for concurrent use.
type series[K comparable, S any] struct {
	mu      sync.RWMutex
	entries map[K]*S
}

func newSeries[K comparable, S any]() *series[K, S] { return &series[K, S]{entries: map[K]*S{}} }

func (s *series[K, S]) lookup(labels K) *S {
	s.mu.RLock()
	found := s.entries[labels]
	s.mu.RUnlock()
	if found != nil {
		return found
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if found = s.entries[labels]; found == nil {
		found = new(S)
		s.entries[labels] = found
	}
	return found
}

// lazy is a metric with its labels. It is created by the first value, so that there is no series
// without a value.
type lazy[M any] struct {
	once   sync.Once
	metric M
}

func (l *lazy[M]) get(create func() M) M {
	l.once.Do(func() { l.metric = create() })
	return l.metric
}

// The metrics of requests, attempts and usage, by their labels.
type (
	requestLabels struct{ client, model, endpoint, outcome, status string }
	requestSeries struct {
		requests            lazy[prometheus.Counter]
		duration, firstByte lazy[prometheus.Observer]
	}

	attemptLabels struct{ server, model, scope string }
	attemptSeries struct {
		attempts                         lazy[prometheus.Counter]
		duration, firstToken, interToken lazy[prometheus.Observer]
	}

	usageLabels struct{ server, client, model string }
	usageSeries struct {
		tokens              [tokenKinds]lazy[prometheus.Counter]
		cost, saved, wasted lazy[prometheus.Counter]
	}
)
