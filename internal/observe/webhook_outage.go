package observe

import (
	"context"
	"log/slog"
	"sync/atomic"

	"github.com/9bingyin/claude-code-lb/internal/config"
	"github.com/9bingyin/claude-code-lb/internal/ledger"
	"github.com/9bingyin/claude-code-lb/internal/telemetry"
)

// Outage logs when the last server goes out, once until one serves again. Nothing tells that a rest is over, so it
// does not count who went out and came back: it looks whenever somebody has gone out. It is a proxy.Recorder.
type Outage struct {
	log   *slog.Logger
	look  chan struct{} // somebody has gone out
	total atomic.Bool   // all are out, as far as is known
}

// NewOutage makes an Outage that is to be Run.
func NewOutage(log *slog.Logger) *Outage {
	return &Outage{log: log, look: make(chan struct{}, 1)}
}

// Consider is told of every event. It does not block.
func (o *Outage) Consider(e Event) {
	switch e.Name {
	case config.EventServerOut, config.EventBalanceLow:
		select {
		case o.look <- struct{}{}:
		default: // it will look anyway
		}
	case config.EventServerBack, config.EventBalanceRestored:
		o.total.Store(false)
	}
}

// Record implements proxy.Recorder: who has answered is there.
func (o *Outage) Record(e ledger.Entry) {
	if o.total.Load() && e.Outcome == ledger.Answered && e.Routed != "" {
		o.total.Store(false)
	}
}

// Run looks until ctx ends; available tells how many servers take work now.
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
			o.log.Warn(telemetry.AllServersOut)
		}
	}
}
