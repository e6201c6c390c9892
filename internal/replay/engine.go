package replay

import (
	"bytes"
	"container/heap"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/config"
	"github.com/9bingyin/claude-code-lb/internal/event"
	"github.com/9bingyin/claude-code-lb/internal/fakeclaude"
	"github.com/9bingyin/claude-code-lb/internal/routing"
	"github.com/9bingyin/claude-code-lb/internal/upstream"
)

// Options are the parameters of a replay.
type Options struct {
	Policy   string // an algorithm, or one with "+affinity" appended; cost_aware includes it
	Accounts int
	Limits   fakeclaude.Limits // of each account
	Outages  []Outage
	Restart  time.Duration  // when the balancer restarts; 0: never
	Snapshot bool           // the index is restored after a restart
	Settings map[string]any // further fields of the configuration

	Seed uint64 // of all random numbers

	Hold      time.Duration // how long requests of a burst wait for the first one
	NoSession bool          // clients do not send a session id
	Deviation float64       // relative deviation of a session's text from the usual bytes per token
}

// Outage is an interval in which an account is unreachable.
type Outage struct {
	Account int
	From    time.Duration
	Length  time.Duration
}

// Times of the simulated upstream: prefill and generation at the service's usual speed, so that a
// prompt of 115,000 tokens with 92 % cached begins after about three seconds.
const (
	firstTokenAfter  = 2910 * time.Millisecond
	perUncachedToken = 17 * time.Microsecond
	perOutputToken   = 15 * time.Millisecond
)

// engine replays one trace with one policy.
type engine struct {
	Options
	trace    *Trace
	cfg      *config.Config
	epoch    time.Time
	now      time.Duration
	events   events
	pool     *upstream.Pool
	table    *routing.Table
	index    *routing.Index
	accounts []*account
	byName   map[string]int
	prompts  prompts
	figures  figures
	serial   int
	waiting  []waiter
}

// waiter is a request that waits for a change.
type waiter struct {
	changed <-chan struct{}
	again   func()
}

// Run replays a trace.
func Run(ctx context.Context, trace *Trace, o Options) (Result, error) {
	e := &engine{Options: o, trace: trace, epoch: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), byName: map[string]int{}}
	e.prompts = prompts{trace: trace, deviation: o.Deviation}
	if err := e.configure(); err != nil {
		return Result{}, err
	}
	for range o.Accounts {
		e.accounts = append(e.accounts, newAccount(trace.blocks.count, o.Limits))
	}
	for _, out := range o.Outages {
		if out.Account < 0 || out.Account >= o.Accounts {
			return Result{}, fmt.Errorf("there is no account %d", out.Account)
		}
		e.accounts[out.Account].down = outage{out.From, out.From + out.Length}
	}
	e.start(ctx, nil)
	e.figures.prepare(o.Accounts, trace)
	e.scheduleTrace()
	for steps := 0; e.events.Len() > 0; steps++ {
		if steps%1000 == 0 && ctx.Err() != nil {
			return Result{}, ctx.Err()
		}
		next := heap.Pop(&e.events).(occurrence)
		e.now = next.at
		next.do()
	}
	return e.figures.result(o), nil
}

// configure decodes a configuration as a user would write it, so that every default is the
// product's.
func (e *engine) configure() error {
	algorithm, affinity := strings.CutSuffix(e.Policy, "+affinity")
	fields := map[string]any{"algorithm": algorithm, "affinity": config.AffinityOff}
	if affinity || algorithm == string(config.CostAware) {
		fields["affinity"] = config.AffinityAuto
	}
	for name, value := range e.Settings {
		fields[name] = value
	}
	var servers []any
	for i := range e.Accounts {
		name := fmt.Sprint("account-", i)
		e.byName[name] = i
		servers = append(servers, map[string]any{"name": name, "url": "https://" + name + ".invalid", "token": "sk-" + name, "account": name})
	}
	fields["servers"] = servers
	src, err := json.Marshal(fields)
	if err != nil {
		return err
	}
	cfg, problems := config.Decode("policy "+e.Policy, src, func(string) (string, bool) { return "", false })
	if problems.Failed() {
		return fmt.Errorf("%s: %s", problems[0].Path, problems[0].Msg)
	}
	e.cfg = cfg
	return nil
}

// start creates a balancer, with the contents of a snapshot if there is one.
func (e *engine) start(ctx context.Context, snapshot []byte) {
	e.pool = upstream.NewPool(ctx, event.NewBus(slog.New(slog.DiscardHandler)))
	e.index = routing.NewIndex(e.cfg.IndexMemoryMB<<20, e.Seed)
	if snapshot != nil {
		if err := e.index.Load(bytes.NewReader(snapshot), e.clock()); err != nil {
			panic("the balancer cannot read its own snapshot: " + err.Error())
		}
	}
	endpoints, commit := e.pool.Reconcile(e.cfg)
	source := rand.New(rand.NewPCG(e.Seed, 2))
	e.table = routing.NewTable(e.cfg, endpoints, e.index, source.IntN)
	commit()
}

func (e *engine) restart(ctx context.Context) {
	if !e.Snapshot {
		e.start(ctx, nil)
		return
	}
	var snapshot bytes.Buffer
	if err := e.index.Save(&snapshot, e.clock()); err != nil {
		panic("the snapshot cannot be written to memory: " + err.Error())
	}
	e.start(ctx, snapshot.Bytes())
}

// scheduleTrace schedules the first request of every thread, and every request without a thread.
func (e *engine) scheduleTrace() {
	first := make([]bool, e.trace.threads)
	for i := range e.trace.requests {
		r := &e.trace.requests[i]
		if r.thread >= 0 && first[r.thread] {
			continue
		}
		if r.thread >= 0 {
			first[r.thread] = true
		}
		e.schedule(r.at, func() { e.arrive(i) })
	}
	if e.Restart > 0 {
		e.schedule(e.Restart, func() { e.restart(context.Background()) })
	}
}

func (e *engine) clock() time.Time { return e.epoch.Add(e.now) }

func (e *engine) schedule(when time.Duration, do func()) {
	e.serial++
	heap.Push(&e.events, occurrence{at: max(when, e.now), serial: e.serial, do: do})
}

// occurrence is an action at a time. Actions at the same time run in the order of their scheduling.
type occurrence struct {
	at     time.Duration
	serial int
	do     func()
}

type events []occurrence

func (h events) Len() int { return len(h) }
func (h events) Less(i, j int) bool {
	return h[i].at < h[j].at || h[i].at == h[j].at && h[i].serial < h[j].serial
}
func (h events) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *events) Push(x any)   { *h = append(*h, x.(occurrence)) }
func (h *events) Pop() any {
	last := (*h)[len(*h)-1]
	(*h)[len(*h)-1] = occurrence{}
	*h = (*h)[:len(*h)-1]
	return last
}
