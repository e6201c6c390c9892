// Package webhook sends operational events to webhooks: signed JSON, or the message formats of chat
// services.
package webhook

import (
	"log/slog"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/config"
	"github.com/9bingyin/claude-code-lb/internal/event"
	"github.com/9bingyin/claude-code-lb/internal/telemetry"
)

// Message is an event in the form in which webhooks receive it. Immutable.
type Message struct {
	Name    config.Event
	Time    time.Time
	Text    string // one line, without the facts that only programs need
	Subject string // messages about different subjects are limited separately
	Facts   []Fact // in the order of the log line

	Repeated int       // further messages of this kind that were suppressed; this is the last one
	Since    time.Time // time of the first of them
}

// Fact is a named value: a string, a number, or a bool.
type Fact struct {
	Name  string
	Value any
}

// newMessage returns the message for an event.
func newMessage(r event.Record) Message {
	m := Message{Name: r.Kind, Time: r.Time, Text: telemetry.OneLine(r.Text), Subject: r.Message}
	if r.Subject != "" {
		m.Subject += " " + r.Subject
	}
	for _, a := range r.Attrs {
		m.Facts = append(m.Facts, Fact{a.Key, factValue(a.Value.Resolve())})
	}
	return m
}

// factValue returns a value for programs: durations in seconds, as in the log.
func factValue(v slog.Value) any {
	switch v.Kind() {
	case slog.KindBool, slog.KindInt64, slog.KindUint64, slog.KindFloat64:
		return v.Any()
	case slog.KindDuration:
		return v.Duration().Seconds()
	case slog.KindTime:
		return v.Time().Format(time.RFC3339)
	default:
		return telemetry.Clip(v.String())
	}
}
