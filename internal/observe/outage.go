package observe

import (
	"context"
	"sync/atomic"

	"github.com/9bingyin/claude-code-lb/internal/config"
	"github.com/9bingyin/claude-code-lb/internal/event"
	"github.com/9bingyin/claude-code-lb/internal/ledger"
)

// Outage publishes AllServersOut when the last server goes out, and then not again until a server
// responds. It cannot count events, because the end of a cooldown is not an event. So it asks for
// the number of available servers whenever one goes out. It implements proxy.Recorder.
type Outage struct {
	bus     *event.Bus
	recheck chan struct{} // has a value after a server went out
	allOut  atomic.Bool   // all servers were out at the last check
}

// NewOutage returns an Outage; the caller subscribes HandleEvent to the bus and calls Run.
func NewOutage(bus *event.Bus) *Outage {
	return &Outage{bus: bus, recheck: make(chan struct{}, 1)}
}

// HandleEvent handles an event of the bus. It does not block.
func (o *Outage) HandleEvent(r event.Record) {
	switch r.Kind {
	case config.EventServerOut, config.EventBalanceLow:
		select {
		case o.recheck <- struct{}{}:
		default: // a check is pending
		}
	case config.EventServerBack, config.EventBalanceRestored:
		o.allOut.Store(false)
	}
}

// Record implements proxy.Recorder: a response proves that a server is available.
func (o *Outage) Record(e ledger.Entry) {
	if o.allOut.Load() && e.Outcome == ledger.Answered && e.Routed != "" {
		o.allOut.Store(false)
	}
}

// Run checks for outages until ctx ends. available returns the number of available servers.
func (o *Outage) Run(ctx context.Context, available func() int) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-o.recheck:
		}
		switch {
		case available() > 0:
			o.allOut.Store(false)
		case o.allOut.CompareAndSwap(false, true):
			o.bus.Publish(ctx, event.AllServersOut{})
		}
	}
}
