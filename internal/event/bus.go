// Package event has the operational events of the balancer, as typed values, and the bus that carries them. The log is
// one consumer, webhooks are another.
package event

import (
	"context"
	"log/slog"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/config"
)

// Event is something that happened to the balancer and that an operator may want to know. It is immutable.
type Event interface {
	Describe() Description
}

// Description is an event in the forms that its consumers need.
type Description struct {
	Kind    config.Event // by which webhooks select it; "" if none can
	Level   slog.Level   // of the log line
	Message string       // of the log line
	Subject string       // the server or client key that it is about, "" for the balancer
	Text    string       // a sentence for people; a line break in a quoted error may be in it
	Attrs   []slog.Attr  // facts, in the order of the log line
}

// Record is an event with the time at which it was published.
type Record struct {
	Time  time.Time
	Event Event
	Description
}

// Bus publishes events. It is also the logger of its publishers, for lines that are not events. Safe for concurrent
// use once all consumers have subscribed.
type Bus struct {
	*slog.Logger
	consumers []func(Record)
}

// NewBus returns a bus whose only consumer is the log.
func NewBus(log *slog.Logger) *Bus { return &Bus{Logger: log} }

// Subscribe adds a consumer, before the first event is published. The publisher's goroutine calls it, possibly with a
// lock held: it must not block, and must not call the publisher. It may publish.
func (b *Bus) Subscribe(consume func(Record)) { b.consumers = append(b.consumers, consume) }

// Publish logs an event and gives it to every consumer.
func (b *Bus) Publish(ctx context.Context, e Event) {
	r := Record{time.Now(), e, e.Describe()}
	b.LogAttrs(ctx, r.Level, r.Message, r.Attrs...)
	for _, consume := range b.consumers {
		consume(r)
	}
}
