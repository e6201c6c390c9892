package observe

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// series caches the metrics for each combination of labels, because finding a metric by its labels
// costs more than counting. Entries stay, like the metrics themselves, and labels are bounded
// before they come here. Safe for concurrent use.
type series[K comparable, S any] struct {
	mu    sync.RWMutex
	known map[K]*S
}

func newSeries[K comparable, S any]() *series[K, S] { return &series[K, S]{known: map[K]*S{}} }

func (s *series[K, S]) at(labels K) *S {
	s.mu.RLock()
	found := s.known[labels]
	s.mu.RUnlock()
	if found != nil {
		return found
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if found = s.known[labels]; found == nil {
		found = new(S)
		s.known[labels] = found
	}
	return found
}

// lazy is a metric with its labels. It is created by the first value, so that there is no series
// without a value.
type lazy[M any] struct {
	once   sync.Once
	metric M
}

func (l *lazy[M]) get(find func() M) M {
	l.once.Do(func() { l.metric = find() })
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
