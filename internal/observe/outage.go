package observe

import (
	"context"
	"sync/atomic"

	"github.com/9bingyin/claude-code-lb/internal/config"
	"github.com/9bingyin/claude-code-lb/internal/event"
	"github.com/9bingyin/claude-code-lb/internal/ledger"
)

// Outage publishes AllServersOut when the last server goes out, once until one responds again. The
// end of a cooldown is not an event, so it does not count servers: it checks the number of
// available ones whenever a server goes out. It implements proxy.Recorder.
type Outage struct {
	bus   *event.Bus
	look  chan struct{} // a server has gone out
	total atomic.Bool   // all were out at the last check
}

// NewOutage returns an Outage; the caller subscribes Consider and calls Run.
func NewOutage(bus *event.Bus) *Outage {
	return &Outage{bus: bus, look: make(chan struct{}, 1)}
}

// Consider handles an event of the bus. It does not block.
func (o *Outage) Consider(r event.Record) {
	switch r.Kind {
	case config.EventServerOut, config.EventBalanceLow:
		select {
		case o.look <- struct{}{}:
		default: // a check is pending
		}
	case config.EventServerBack, config.EventBalanceRestored:
		o.total.Store(false)
	}
}

// Record implements proxy.Recorder: a response proves that a server is available.
func (o *Outage) Record(e ledger.Entry) {
	if o.total.Load() && e.Outcome == ledger.Answered && e.Routed != "" {
		o.total.Store(false)
	}
}

// Run works until ctx ends; available returns the number of available servers.
func (o *Outage) Run(ctx context.Context, available func() int) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-o.look:
		}
		switch {
		case available() > 0:
			o.total.Store(false)
		case o.total.CompareAndSwap(false, true):
			o.bus.Publish(ctx, event.AllServersOut{})
		}
	}
}
