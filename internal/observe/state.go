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
	Endpoints    func() []*upstream.Endpoint // of the configuration in force
	OpenRequests func() int64                // requests in flight
	// Rejections returns the requests rejected before routing, by status; nil: not counted.
	Rejections func() map[int]int64
	// WrongKeys returns the number of wrong keys by listener; nil if unknown.
	WrongKeys func() map[string]int64
	BodyBytes func() int64 // bytes of request bodies; nil if unknown
	Backlog   Backlog      // nil without a ledger
}

// AddSources adds the state of the sources to the metrics. It may be called once.
func (m *Metrics) AddSources(s Sources) {
	m.registry.MustRegister(newCollector(s, m.labels))
}

// collector reads the sources at a scrape.
type collector struct {
	Sources
	labels *labels

	open, rejected, turnedAway, wrongKeys, bodies, state, inFlight, headroom, balance *prometheus.Desc
	backlog, backlogAge, late, aggregated, folded                                     *prometheus.Desc
}

func newCollector(s Sources, l *labels) *collector {
	f := allFamilies()
	desc := func(f family) *prometheus.Desc { return prometheus.NewDesc(f.name, f.help, f.labels, nil) }
	return &collector{
		Sources: s, labels: l,
		open: desc(f.openRequests), rejected: desc(f.rejected), turnedAway: desc(f.turnedAway), wrongKeys: desc(f.wrongKeys), bodies: desc(f.bodies), state: desc(f.state), inFlight: desc(f.inFlight), headroom: desc(f.headroom), balance: desc(f.balance),
		backlog: desc(f.backlog), backlogAge: desc(f.backlogAge), late: desc(f.late), aggregated: desc(f.aggregated), folded: desc(f.folded),
	}
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.open, c.rejected, c.turnedAway, c.wrongKeys, c.bodies, c.state, c.inFlight, c.headroom, c.balance, c.backlog, c.backlogAge, c.late, c.aggregated, c.folded} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	now := time.Now()
	gauge(c.open, float64(c.OpenRequests()))
	if c.WrongKeys != nil {
		for listener, n := range c.WrongKeys() {
			out <- prometheus.MustNewConstMetric(c.wrongKeys, prometheus.CounterValue, float64(n), listener)
		}
	}
	if c.Rejections != nil {
		for status, n := range c.Rejections() {
			for _, d := range []*prometheus.Desc{c.rejected, c.turnedAway} {
				out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), strconv.Itoa(status))
			}
		}
	}
	if c.BodyBytes != nil {
		gauge(c.bodies, float64(c.BodyBytes()))
	}
	seen := map[string]bool{}
	for _, e := range c.Endpoints() {
		if name := cleanLabel(e.Name()); !seen[name] {
			seen[name] = true
			c.collectServer(name, e.Report(now), gauge)
		}
	}
	if c.Backlog == nil {
		return
	}
	rows, oldest, late, aggregated := c.Backlog.Backlog()
	gauge(c.backlog, float64(rows))
	gauge(c.backlogAge, oldest.Seconds())
	out <- prometheus.MustNewConstMetric(c.late, prometheus.CounterValue, float64(late))
	for _, d := range []*prometheus.Desc{c.aggregated, c.folded} {
		out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(aggregated))
	}
}

// collectServer sends the state of one server.
func (c *collector) collectServer(name string, r upstream.Report, gauge func(d *prometheus.Desc, value float64, labels ...string)) {
	for u := upstream.Fit; u <= upstream.Draining; u++ {
		in := 0.0
		if r.Unfit == u {
			in = 1
		}
		gauge(c.state, in, name, u.String())
	}
	gauge(c.inFlight, float64(r.InFlight), name)
	if r.BalanceKnown {
		gauge(c.balance, r.Balance, name)
	}
	least := map[[2]string]float64{} // classes beyond the limit share a label
	for _, each := range r.Remaining {
		key := [2]string{c.labels.class(each.Class), each.Bucket}
		if part, known := least[key]; !known || each.Fraction < part {
			least[key] = each.Fraction
		}
	}
	for key, part := range least {
		gauge(c.headroom, part, name, key[0], key[1])
	}
}
