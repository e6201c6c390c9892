package service

import (
	"context"
	"log/slog"
	"os"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/config"
	"github.com/9bingyin/claude-code-lb/internal/event"
	"github.com/9bingyin/claude-code-lb/internal/observe"
	"github.com/9bingyin/claude-code-lb/internal/webhook"
)

// lastDelivery is the time to deliver the last events when the process stops.
const lastDelivery = 3 * time.Second

// notify connects the consumers of events: webhooks, and the watchers that derive events from
// others.
type notify struct {
	hooks  *webhook.Webhooks
	outage *observe.Outage
	cache  *observe.CacheWatch
}

// newNotify returns the consumers and the bus to which they have subscribed.
func newNotify(log *slog.Logger, cfg *config.Config) (*notify, *event.Bus) {
	bus := event.NewBus(log)
	n := &notify{hooks: webhook.New(log, Instance()), outage: observe.NewOutage(bus), cache: observe.NewCacheWatch(bus)}
	bus.Subscribe(n.outage.HandleEvent)
	bus.Subscribe(n.hooks.Send)
	n.hooks.Apply(cfg.Webhooks)
	return n, bus
}

// run starts the watchers, which end with ctx. stop delivers the queued events.
func (n *notify) run(ctx context.Context, b *Balancer) (stop func()) {
	go n.outage.Run(ctx, func() int { return b.Handler.Current().Table.Counts(time.Now()).Available })
	return func() {
		ctx, cancel := context.WithTimeout(context.Background(), lastDelivery)
		defer cancel()
		n.hooks.Close(ctx)
	}
}

// Instance names this process in messages: its host.
func Instance() string {
	name, err := os.Hostname()
	if err != nil {
		return "?"
	}
	return name
}
