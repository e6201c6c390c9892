package observe

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/config"
	"github.com/9bingyin/claude-code-lb/internal/telemetry"
)

// Event is something an operator wants to be told of. It is never changed.
type Event struct {
	Name    config.Event
	Time    time.Time
	Text    string // all in one line, without the facts that only programs want
	Subject string // what it is about, such as a server; events about different ones are limited apart
	Facts   []Fact // of the log line that it was made of, in its order

	Repeated int       // how many more like it there were that nobody was told of; Event is the last one
	Since    time.Time // of the first of them
}

// Fact is a named value: a string, a number, or true or false.
type Fact struct {
	Name  string
	Value any
}

// Tap is a log handler that hands every record on and makes events of those that are some: what is told is what is
// logged. tell must not block and must not log.
type Tap struct {
	next  slog.Handler
	tell  func(Event)
	attrs []slog.Attr // of the logger
	group bool        // the attributes are somebody's own
}

// NewTap makes a handler in front of another one.
func NewTap(next slog.Handler, tell func(Event)) *Tap { return &Tap{next: next, tell: tell} }

// Enabled implements slog.Handler.
func (t *Tap) Enabled(ctx context.Context, level slog.Level) bool { return t.next.Enabled(ctx, level) }

// Handle implements slog.Handler.
func (t *Tap) Handle(ctx context.Context, r slog.Record) error {
	if say, ok := sentence(r.Message); ok && !t.group {
		t.tell(t.event(r, say))
	}
	return t.next.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (t *Tap) WithAttrs(attrs []slog.Attr) slog.Handler {
	out := *t
	out.next = t.next.WithAttrs(attrs)
	out.attrs = append(t.attrs[:len(t.attrs):len(t.attrs)], attrs...)
	return &out
}

// WithGroup implements slog.Handler. No event is logged in a group.
func (t *Tap) WithGroup(name string) slog.Handler {
	out := *t
	out.next, out.group = t.next.WithGroup(name), true
	return &out
}

// wording is how the log lines with some message become events.
type wording struct {
	event   config.Event
	subject string // the attribute that says what it is about, "" if it is about the balancer
	text    func(facts) string
}

// event makes an event of a log line.
func (t *Tap) event(r slog.Record, w wording) Event {
	e := Event{Name: w.event, Time: r.Time, Subject: r.Message}
	said := facts{}
	add := func(a slog.Attr) bool {
		value := a.Value.Resolve()
		e.Facts = append(e.Facts, Fact{a.Key, plain(value)})
		said[a.Key] = spoken(value)
		return true
	}
	for _, a := range t.attrs {
		add(a)
	}
	r.Attrs(add)
	if w.subject != "" {
		e.Subject += " " + said[w.subject]
	}
	e.Text = oneLine(w.text(said))
	return e
}

// facts are the attributes of a log line as people read them.
type facts map[string]string

// sentence is the wording for a message of the log; it reports false when that is no event.
func sentence(message string) (wording, bool) {
	about := func(event config.Event, subject, format string, names ...string) (wording, bool) {
		return wording{event, subject, func(f facts) string {
			values := make([]any, len(names))
			for i, name := range names {
				values[i] = f[name]
			}
			return fmt.Sprintf(format, values...)
		}}, true
	}
	switch message {
	case telemetry.ServerOut:
		return about(config.EventServerOut, telemetry.Server, "Server %s is out for %s: %s.", telemetry.Server, telemetry.Cooldown, telemetry.Reason)
	case telemetry.ProbeFailed:
		return about(config.EventServerOut, telemetry.Server, "Server %s is out: its health check failed (%s).", telemetry.Server, telemetry.Reason)
	case telemetry.ServerBack:
		return about(config.EventServerBack, telemetry.Server, "Server %s is back.", telemetry.Server)
	case telemetry.AllServersOut:
		return about(config.EventAllServersOut, "", "All servers are out: no request can be served.")
	case telemetry.BalanceLow:
		return about(config.EventBalanceLow, telemetry.Server, "The balance of server %s is low: %s, at or below %s. It gets no requests.", telemetry.Server, telemetry.Balance, telemetry.Threshold)
	case telemetry.BalanceRestored:
		return about(config.EventBalanceRestored, telemetry.Server, "The balance of server %s is restored: %s.", telemetry.Server, telemetry.Balance)
	case telemetry.BudgetNear:
		return about(config.EventBudget80, telemetry.Client, "Client key %s has nearly spent its budget (%s): $%s of $%s. It begins anew: %s.", telemetry.Client, telemetry.Window, telemetry.Spent, telemetry.Limit, telemetry.Resets)
	case telemetry.BudgetSpent:
		return about(config.EventBudget100, telemetry.Client, "Client key %s has spent its budget (%s): $%s of $%s. It begins anew: %s.", telemetry.Client, telemetry.Window, telemetry.Spent, telemetry.Limit, telemetry.Resets)
	case telemetry.CacheCollapsed:
		return about(config.EventCacheCollapsed, telemetry.Server, "The prompt cache hardly hits any more (%s): %s of a prompt is read from it, usually %s.", telemetry.Server, telemetry.HitRate, telemetry.UsualHitRate)
	case telemetry.CacheRecovered:
		return about(config.EventCacheCollapsed, telemetry.Server, "The prompt cache hits again (%s): %s of a prompt is read from it, usually %s.", telemetry.Server, telemetry.HitRate, telemetry.UsualHitRate)
	case telemetry.ReloadFailed:
		return about(config.EventReloadFailed, "", "The configuration could not be reloaded, the old one stays in force: %s.", telemetry.Err)
	case telemetry.LedgerLate:
		return about(config.EventLedgerDegraded, "", "The ledger cannot be written: %s rows are kept in memory (%s).", telemetry.Rows, telemetry.Err)
	case telemetry.LedgerCaughtUp:
		return about(config.EventLedgerDegraded, "", "The ledger is written again: it has caught up (%s rows).", telemetry.Rows)
	default:
		return wording{}, false
	}
}

// plain is a value as programs want it: durations in seconds, as in the log.
func plain(v slog.Value) any {
	switch v.Kind() {
	case slog.KindBool, slog.KindInt64, slog.KindUint64, slog.KindFloat64:
		return v.Any()
	case slog.KindDuration:
		return v.Duration().Seconds()
	default:
		return clip(spoken(v))
	}
}

// spoken is a value as people read it.
func spoken(v slog.Value) string {
	if v.Kind() == slog.KindTime {
		return v.Time().Format(time.RFC3339)
	}
	return v.String()
}
