package service

import (
	"context"
	"log/slog"
	"os"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/config"
	"github.com/9bingyin/claude-code-lb/internal/observe"
)

// lastTelling is how long the last events may take to be delivered at the end.
const lastTelling = 3 * time.Second

// told is what the operator is told of by webhooks, and what watches for it.
type told struct {
	hooks  *observe.Webhooks
	outage *observe.Outage
	cache  *observe.CacheWatch
}

// newTold makes events of what is logged with the logger that it returns.
func newTold(log *slog.Logger, cfg *config.Config) (*told, *slog.Logger) {
	t := &told{hooks: observe.NewWebhooks(log, Instance())}
	tapped := slog.New(observe.NewTap(log.Handler(), func(e observe.Event) {
		t.outage.Consider(e)
		t.hooks.Tell(e)
	}))
	t.outage, t.cache = observe.NewOutage(tapped), observe.NewCacheWatch(tapped)
	t.hooks.Apply(cfg.Webhooks)
	return t, tapped
}

// run watches until ctx ends; stop delivers what is left at the end.
func (t *told) run(ctx context.Context, b *Balancer) (stop func()) {
	go t.outage.Run(ctx, func() int { return b.Handler.Current().Table.Census(time.Now()).Available })
	return func() {
		ctx, cancel := context.WithTimeout(context.Background(), lastTelling)
		defer cancel()
		t.hooks.Close(ctx)
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
