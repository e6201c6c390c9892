package observe

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/9bingyin/claude-code-lb/internal/upstream"
)

// Backlog is a ledger with rows that it has not written yet.
type Backlog interface {
	// Backlog returns the number of waiting rows, the age of the oldest, and how many rows were
	// ever written late or only added to sums.
	Backlog() (rows int, oldest time.Duration, late, aggregated int64)
}

// Sources are read at every scrape. All are safe for concurrent use.
type Sources struct {
	Endpoints func() []*upstream.Endpoint // of the configuration in force
	Open      func() int64                // requests in flight
	// Rejections returns the requests rejected before routing, by status; nil: not counted.
	Rejections func() map[int]int64
	// WrongKeys returns the number of wrong keys by listener; nil if unknown.
	WrongKeys func() map[string]int64
	Bodies    func() int64 // bytes of request bodies; nil if unknown
	Backlog   Backlog      // nil without a ledger
}

// Watch adds the state of the sources to the metrics. It may be called once.
func (m *Metrics) Watch(s Sources) {
	m.registry.MustRegister(newStates(s, m.labels))
}

// states reads the sources at a scrape.
type states struct {
	Sources
	labels *labels

	open, rejected, turnedAway, wrongKeys, bodies, state, inFlight, headroom, balance *prometheus.Desc
	backlog, backlogAge, late, aggregated, folded                                     *prometheus.Desc
}

func newStates(s Sources, l *labels) *states {
	f := allFamilies()
	desc := func(f family) *prometheus.Desc { return prometheus.NewDesc(f.name, f.help, f.labels, nil) }
	return &states{
		Sources: s, labels: l,
		open: desc(f.openRequests), rejected: desc(f.rejected), turnedAway: desc(f.turnedAway), wrongKeys: desc(f.wrongKeys), bodies: desc(f.bodies), state: desc(f.state), inFlight: desc(f.inFlight), headroom: desc(f.headroom), balance: desc(f.balance),
		backlog: desc(f.backlog), backlogAge: desc(f.backlogAge), late: desc(f.late), aggregated: desc(f.aggregated), folded: desc(f.folded),
	}
}

// Describe implements prometheus.Collector.
func (s *states) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{s.open, s.rejected, s.turnedAway, s.wrongKeys, s.bodies, s.state, s.inFlight, s.headroom, s.balance, s.backlog, s.backlogAge, s.late, s.aggregated, s.folded} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (s *states) Collect(out chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	now := time.Now()
	gauge(s.open, float64(s.Open()))
	if s.WrongKeys != nil {
		for listener, n := range s.WrongKeys() {
			out <- prometheus.MustNewConstMetric(s.wrongKeys, prometheus.CounterValue, float64(n), listener)
		}
	}
	if s.Rejections != nil {
		for status, n := range s.Rejections() {
			for _, d := range []*prometheus.Desc{s.rejected, s.turnedAway} {
				out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), strconv.Itoa(status))
			}
		}
	}
	if s.Bodies != nil {
		gauge(s.bodies, float64(s.Bodies()))
	}
	seen := map[string]bool{}
	for _, e := range s.Endpoints() {
		if name := clean(e.Name()); !seen[name] {
			seen[name] = true
			s.server(name, e.Report(now), gauge)
		}
	}
	if s.Backlog == nil {
		return
	}
	rows, oldest, late, aggregated := s.Backlog.Backlog()
	gauge(s.backlog, float64(rows))
	gauge(s.backlogAge, oldest.Seconds())
	out <- prometheus.MustNewConstMetric(s.late, prometheus.CounterValue, float64(late))
	for _, d := range []*prometheus.Desc{s.aggregated, s.folded} {
		out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(aggregated))
	}
}

// server sends the state of one server.
func (s *states) server(name string, r upstream.Report, gauge func(d *prometheus.Desc, value float64, labels ...string)) {
	for u := upstream.Fit; u <= upstream.Draining; u++ {
		in := 0.0
		if r.Unfit == u {
			in = 1
		}
		gauge(s.state, in, name, u.String())
	}
	gauge(s.inFlight, float64(r.InFlight), name)
	if r.BalanceKnown {
		gauge(s.balance, r.Balance, name)
	}
	least := map[[2]string]float64{} // classes beyond the limit share a label
	for _, each := range r.Remaining {
		key := [2]string{s.labels.class(each.Class), each.Bucket}
		if part, known := least[key]; !known || each.Fraction < part {
			least[key] = each.Fraction
		}
	}
	for key, part := range least {
		gauge(s.headroom, part, name, key[0], key[1])
	}
}
