package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/fakeclaude"
)

// work is one kind of load.
type work struct {
	name    string
	unit    string // of processor time
	clients int
	body    int     // bytes of a request's body
	stream  bool    // responses are event streams
	hold    bool    // that stay open
	rate    float64 // requests per second for the latency
	answers fakeclaude.Settings
}

const (
	// eventRate is the number of events per second of all open streams together, so that the
	// simulator, which sends each event separately, takes only a part of a processor.
	eventRate = 5000
	// streamInterval is the time between the beginnings of two streams: the simulator composes the
	// whole response before it sends the first event, and the queue to be measured is the proxy's.
	streamInterval = time.Millisecond
)

// works returns all kinds of load, in the order of the table.
func works(openStreams int, length time.Duration) []work {
	const tokensPerEvent = 2.5 // of the simulator's prose
	token := max(time.Duration(float64(openStreams)/eventRate/tokensPerEvent*float64(time.Second)), 20*time.Millisecond)
	long := int((time.Duration(openStreams)*streamInterval + patience/2 + 2*length) / token)
	return []work{
		{name: "small", unit: "request", clients: 32, body: 2 << 10, rate: 1000,
			answers: fakeclaude.Settings{MinOutput: 120, MaxOutput: 120}},
		{name: "realistic", unit: "request", clients: 16, body: 300 << 10, stream: true, rate: 50,
			answers: fakeclaude.Settings{MinOutput: 20, MaxOutput: 20}},
		{name: "streams", unit: "event", clients: openStreams, body: 2 << 10, stream: true, hold: true,
			answers: fakeclaude.Settings{MinOutput: long, MaxOutput: long, TokenInterval: fakeclaude.Duration(token)}},
	}
}

// measurement is the result of one run of one work through one proxy.
type measurement struct {
	cpu     time.Duration // of the proxy, per unit of work
	units   int
	p50     time.Duration // latency at the work's rate
	p99     time.Duration
	first99 time.Duration // to the first event of a stream
	memory  float64       // of the proxy, bytes per open stream
	errors  int
	problem error // the last error
}

// bench is the state that all runs share.
type bench struct {
	dir            string
	warmup, window time.Duration
	profiler       *profiler
}

// measure starts all processes again, so that runs do not influence each other.
func (b bench) measure(ctx context.Context, p proxy, w work, over wire) (m measurement, err error) {
	ctx, stop := context.WithCancel(ctx)
	up, simulator, err := startUpstreams(ctx, upstreamSpec{Settings: w.answers, Wire: over, Dir: b.dir})
	if err != nil {
		stop()
		return m, err
	}
	defer simulator.Wait()
	r, err := p.start(ctx, b.dir, up)
	if err != nil {
		stop()
		return m, err
	}
	defer r.wait()
	defer stop()
	if m, err = b.run(ctx, r, w); err != nil && r.cmd != nil {
		err = errors.Join(err, r.lastOutput())
	}
	return m, err
}

// wait waits until the proxy has ended; its context must end first.
func (r *running) wait() {
	if r.cmd != nil {
		<-r.ended
	}
}

// usage returns the proxy's usage so far; zero for the direct connection.
func (r *running) usage(ctx context.Context) (process, error) {
	if r.cmd == nil {
		return process{}, nil
	}
	return usageOf(ctx, r.cmd.Process.Pid)
}

func (b bench) run(ctx context.Context, r *running, w work) (m measurement, err error) {
	clients := make([]*client, w.clients)
	for i := range clients {
		address := r.addresses[i%len(r.addresses)]
		clients[i] = &client{address: address, encrypted: r.encrypted, request: newRequest(address, i, w.body, w.stream)}
		defer clients[i].close()
	}
	if err := r.ready(ctx, w); err != nil {
		return m, fmt.Errorf("the first request: %w", err)
	}
	idle, err := r.usage(ctx)
	if err != nil {
		return m, err
	}
	var begin, end process
	profiled := nothing
	atBegin := func() (err error) {
		if begin, err = r.usage(ctx); err != nil {
			return err
		}
		profiled, err = b.profiler.begin(ctx, r, b.window)
		return err
	}
	atEnd := func() (err error) { end, err = r.usage(ctx); return errors.Join(err, profiled()) }
	if w.hold {
		seen, err := streams(ctx, clients, b.warmup, b.window, atBegin, atEnd)
		if err != nil {
			return m, err
		}
		m.take(seen, int(seen.events.Load()), end.cpu-begin.cpu)
		m.first99 = quantile(seen.firsts, .99)
		m.memory = float64(end.rss-idle.rss) / float64(w.clients)
		return m, nil
	}
	seen, err := requests(ctx, clients, 0, b.warmup, b.window, atBegin, atEnd)
	if err != nil {
		return m, err
	}
	m.take(seen, seen.requests, end.cpu-begin.cpu)
	paced, err := requests(ctx, clients, time.Duration(float64(time.Second)/w.rate), b.warmup/2, b.window, nothing, nothing)
	if err != nil {
		return m, err
	}
	m.p50, m.p99 = quantile(paced.latencies, .5), quantile(paced.latencies, .99)
	m.errors += paced.errors
	m.problem = errors.Join(m.problem, paced.lastError)
	return m, nil
}

func nothing() error { return nil }

func (m *measurement) take(seen *tally, units int, cpu time.Duration) {
	m.units, m.errors, m.problem = units, seen.errors, seen.lastError
	if units > 0 {
		m.cpu = cpu / time.Duration(units)
	}
}

// ready sends requests until a response is correct, because a proxy may listen before it can
// forward.
func (r *running) ready(ctx context.Context, w work) error {
	address := r.addresses[0]
	c := &client{address: address, encrypted: r.encrypted, request: newRequest(address, w.clients, 2<<10, w.stream)}
	defer c.close()
	try := c.ask
	if w.hold {
		try = c.begins
	}
	for end := time.Now().Add(patience); ; sleep(ctx, 50*time.Millisecond) {
		err := try(ctx)
		if err == nil || ctx.Err() != nil || time.Now().After(end) {
			return err
		}
	}
}

// quantile returns the smallest value that is not below the part q of all values; 0 without values.
func quantile[T ~int64 | ~float64](values []T, q float64) T {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	at := int(q * float64(len(sorted)))
	if float64(at) == q*float64(len(sorted)) && at > 0 {
		at--
	}
	return sorted[min(at, len(sorted)-1)]
}

// kinds returns the names of all kinds of work.
func kinds() []string { return []string{"small", "realistic", "streams"} }
