// Package observe exports what the balancer measures: metrics for Prometheus, spans of requests by
// OpenTelemetry, and operational events about outages and the cache.
//
// Nothing here delays a request: data to be sent is queued within bounds, and what does not fit is
// dropped and counted. No content of a prompt or response, and no credential, leaves through this
// package. Every token of every attempt is counted exactly once, with its attempt. The number of
// series is bounded regardless of the clients' input: models and clients beyond a fixed number are
// counted together, and sessions, requests, addresses and paths are never labels.
package observe

import (
	"net/http"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/9bingyin/claude-code-lb/internal/claude"
	"github.com/9bingyin/claude-code-lb/internal/ledger"
	"github.com/9bingyin/claude-code-lb/internal/verdict"
)

// Metrics counts finished requests in a separate registry. Safe for concurrent use.
type Metrics struct {
	registry *prometheus.Registry
	labels   *labels

	byRequest *series[requestLabels, requestSeries]
	byAttempt *series[attemptLabels, attemptSeries]
	byRouted  *series[[2]string, lazy[prometheus.Counter]]
	byUsage   *series[usageLabels, usageSeries]

	requests, routed, attempts, failovers                         *prometheus.CounterVec
	tokens, serverTools, cost, unpriced, estimated, saved, wasted *prometheus.CounterVec
	requestDuration, firstByte, waits                             *prometheus.HistogramVec
	attemptDuration, firstToken, interToken                       *prometheus.HistogramVec
	generation, reloadSuccessful, reloadTime                      prometheus.Gauge
	engine                                                        *prometheus.GaugeVec
}

// NewMetrics returns metrics without values, for a version of the program.
func NewMetrics(version string) *Metrics {
	r, f := prometheus.NewRegistry(), allFamilies()
	build := gaugeVec(f.build)
	build.WithLabelValues(cleanLabel(version), runtime.Version()).Set(1)
	r.MustRegister(build, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m := &Metrics{
		engine: gaugeVec(f.engine), registry: r, labels: newLabels(), byRequest: newSeries[requestLabels, requestSeries](), byAttempt: newSeries[attemptLabels, attemptSeries](),
		byRouted: newSeries[[2]string, lazy[prometheus.Counter]](), byUsage: newSeries[usageLabels, usageSeries](),
	}
	register(r, counterVec, map[**prometheus.CounterVec]family{
		&m.requests: f.requests, &m.routed: f.routed, &m.attempts: f.attempts, &m.failovers: f.failovers,
		&m.tokens: f.tokens, &m.serverTools: f.serverTools, &m.cost: f.cost, &m.unpriced: f.unpriced, &m.estimated: f.estimated, &m.saved: f.saved, &m.wasted: f.wasted,
	})
	register(r, histogramVec(lastByteBuckets()), map[**prometheus.HistogramVec]family{
		&m.requestDuration: f.requestDuration, &m.attemptDuration: f.attemptDuration, &m.waits: f.waits,
	})
	register(r, histogramVec(firstByteBuckets()), map[**prometheus.HistogramVec]family{&m.firstByte: f.firstByte, &m.firstToken: f.firstToken})
	register(r, histogramVec(tokenBuckets()), map[**prometheus.HistogramVec]family{&m.interToken: f.interToken})
	register(r, gauge, map[*prometheus.Gauge]family{
		&m.generation: f.generation, &m.reloadSuccessful: f.reloadSuccessful, &m.reloadTime: f.reloadTime,
	})
	r.MustRegister(m.engine)
	return m
}

// register creates metrics of one kind, stores each in its target and registers it.
func register[M prometheus.Collector](r *prometheus.Registry, metric func(family) M, targets map[*M]family) {
	for target, f := range targets {
		*target = metric(f)
		r.MustRegister(*target)
	}
}

func counterVec(f family) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: f.name, Help: f.help}, f.labels)
}

func gaugeVec(f family) *prometheus.GaugeVec {
	return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: f.name, Help: f.help}, f.labels)
}

func gauge(f family) prometheus.Gauge {
	return prometheus.NewGauge(prometheus.GaugeOpts{Name: f.name, Help: f.help})
}

// Bounds of the classic buckets, in seconds.

func lastByteBuckets() []float64 {
	return []float64{.05, .1, .25, .5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320, 640, 1800}
}

func firstByteBuckets() []float64 {
	return []float64{.05, .1, .25, .5, .75, 1, 1.5, 2, 3, 5, 8, 13, 20, 40, 80, 160}
}

func tokenBuckets() []float64 {
	return []float64{.001, .0025, .005, .0075, .01, .015, .02, .03, .05, .075, .1, .2, .5, 1}
}

// histogramVec returns histograms that are native for a Prometheus that supports them, and classic
// for others.
func histogramVec(buckets []float64) func(family) *prometheus.HistogramVec {
	return func(f family) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: f.name, Help: f.help, Buckets: buckets,
			NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 100, NativeHistogramMinResetDuration: time.Hour,
		}, f.labels)
	}
}

// Handler serves scrapes in the format that the scraper prefers: text, OpenMetrics or protobuf.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{EnableOpenMetrics: true})
}

// RecordConfig records that a generation of the configuration, with an HTTP engine, is in force.
func (m *Metrics) RecordConfig(generation uint64, engine string, now time.Time) {
	m.engine.Reset()
	m.engine.WithLabelValues(engine).Set(1)
	m.generation.Set(float64(generation))
	m.reloadSuccessful.Set(1)
	m.reloadTime.Set(float64(now.UnixMilli()) / 1000)
}

// RecordReloadFailure records that a configuration could not be applied.
func (m *Metrics) RecordReloadFailure() { m.reloadSuccessful.Set(0) }

// Record counts one finished request.
func (m *Metrics) Record(e ledger.Entry) {
	served := e.Status > 0 && e.Status < http.StatusBadRequest
	client, model, alone := m.labels.clientModel(e.Client, e.Model, served)
	l := requestLabels{client, model, endpointOf(e.Path), string(e.Outcome), statusClass(e.Status)}
	s := m.byRequest.lookup(l)
	s.requests.get(func() prometheus.Counter {
		return m.requests.WithLabelValues(l.client, l.model, l.endpoint, l.outcome, l.status)
	}).Inc()
	s.duration.get(func() prometheus.Observer { return m.requestDuration.WithLabelValues(l.endpoint, l.outcome) }).Observe(e.Duration.Seconds())
	if e.TimeToFirstByte > 0 {
		s.firstByte.get(func() prometheus.Observer { return m.firstByte.WithLabelValues(l.endpoint) }).Observe(e.TimeToFirstByte.Seconds())
	}
	if e.Waited > 0 {
		m.waits.WithLabelValues(l.outcome).Observe(e.Waited.Seconds())
	}
	for i := range e.Attempts {
		m.recordAttempt(&e, i, client, model, alone)
	}
}

// recordAttempt counts one attempt of a request.
func (m *Metrics) recordAttempt(e *ledger.Entry, i int, client, model, alone string) {
	a := &e.Attempts[i]
	l := attemptLabels{cleanLabel(a.Server), alone, a.Scope}
	server, s := l.server, m.byAttempt.lookup(l)
	s.attempts.get(func() prometheus.Counter { return m.attempts.WithLabelValues(l.server, l.model, l.scope) }).Inc()
	s.duration.get(func() prometheus.Observer { return m.attemptDuration.WithLabelValues(l.server) }).Observe(a.Duration.Seconds())
	switch {
	case a.Served && e.Outcome == ledger.Truncated:
		m.failovers.WithLabelValues(server, afterCommit).Inc()
	case !a.Served && i+1 < len(e.Attempts) && isUpstreamFailure(a.Scope):
		m.failovers.WithLabelValues(server, beforeCommit).Inc()
	}
	if a.Served && e.Routed != "" {
		routed := [2]string{server, string(e.Routed)}
		m.byRouted.lookup(routed).get(func() prometheus.Counter { return m.routed.WithLabelValues(routed[0], routed[1]) }).Inc()
	}
	m.recordSpeed(e, a, l, s)
	m.recordUsage(a, usageLabels{server, client, model}, alone)
}

// isUpstreamFailure reports whether a scope is a failure that neither the client nor the balancer
// caused.
func isUpstreamFailure(scope string) bool {
	switch scope {
	case verdict.ScopeNone.String(), verdict.ScopeClient.String(), verdict.ScopeBalancer.String():
		return false
	}
	return true
}

// recordSpeed measures a stream that went to the client.
func (m *Metrics) recordSpeed(e *ledger.Entry, a *ledger.Attempt, l attemptLabels, s *attemptSeries) {
	if !e.Stream || !a.Served || !a.Answer.Content || a.Status != http.StatusOK {
		return
	}
	s.firstToken.get(func() prometheus.Observer { return m.firstToken.WithLabelValues(l.server, l.model) }).Observe(a.TimeToOutcome.Seconds())
	if output := a.Answer.Usage.OutputTokens; a.Answer.Stopped && e.Outcome == ledger.Answered && output > 1 {
		between := max(a.Duration-a.TimeToOutcome, 0).Seconds() / float64(output-1)
		s.interToken.get(func() prometheus.Observer { return m.interToken.WithLabelValues(l.server, l.model) }).Observe(between)
	}
}

// recordUsage counts the usage of a response. Calls of further models within the
// response count under those models.
func (m *Metrics) recordUsage(a *ledger.Attempt, l usageLabels, alone string) {
	if !a.Known() {
		return
	}
	own := a.Cost.Sum
	for i := range a.Extra {
		x := &a.Extra[i]
		own -= x.Sum
		_, model, _ := m.labels.clientModel(l.client, x.Model, true)
		m.recordModelUsage(x.Usage, x.Sum, usageLabels{l.server, l.client, model})
	}
	s := m.recordModelUsage(a.Answer.Usage, own, l)
	if !a.Cost.Known {
		m.unpriced.WithLabelValues(l.server, alone).Inc()
	}
	if a.Estimated {
		m.estimated.WithLabelValues(l.server, alone).Inc()
	}
	s.saved.get(func() prometheus.Counter { return m.saved.WithLabelValues(l.server, l.client, l.model) }).Add(dollars(a.Cost.Saved))
	s.wasted.get(func() prometheus.Counter { return m.wasted.WithLabelValues(l.server, l.client, l.model) }).Add(dollars(a.Cost.Wasted))
}

// recordModelUsage counts the usage of one model's calls.
func (m *Metrics) recordModelUsage(u claude.Usage, cost ledger.Money, l usageLabels) *usageSeries {
	s := m.byUsage.lookup(l)
	for i, each := range tokensByKind(u) {
		if each.tokens > 0 {
			s.tokens[i].get(func() prometheus.Counter { return m.tokens.WithLabelValues(l.server, l.client, l.model, each.kind) }).Add(float64(each.tokens))
		}
	}
	for _, each := range [...]struct {
		tool string
		n    int64
	}{{toolWebSearch, u.WebSearchRequests}, {toolCode, u.CodeRequests}, {other, u.OtherToolRequests}} {
		if each.n > 0 {
			m.serverTools.WithLabelValues(l.server, l.client, l.model, each.tool).Add(float64(each.n))
		}
	}
	s.cost.get(func() prometheus.Counter { return m.cost.WithLabelValues(l.server, l.client, l.model) }).Add(dollars(cost))
	return s
}

// dollars converts an amount. Counters must not decrease, so a negative amount, from a wrong price,
// counts as 0.
func dollars(m ledger.Money) float64 { return float64(max(m, 0)) / 1e9 }
