package event

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/config"
	"github.com/9bingyin/claude-code-lb/internal/telemetry"
)

// ServerOut reports that a server gets no requests for a time.
type ServerOut struct {
	Server, Reason, Scope string
	Cooldown              time.Duration
	Failures              int    // consecutive ones
	Model                 string // if the cooldown is only for its class of models, else ""
}

// Describe implements Event.
func (e ServerOut) Describe() Description {
	d := Description{
		Kind: config.EventServerOut, Level: slog.LevelWarn, Message: telemetry.ServerOut, Subject: e.Server,
		Text: fmt.Sprintf("Server %s is out for %s: %s.", e.Server, e.Cooldown, e.Reason),
		Attrs: []slog.Attr{
			slog.String(telemetry.Server, e.Server), slog.String(telemetry.Reason, e.Reason), slog.String(telemetry.Scope, e.Scope),
			slog.Duration(telemetry.Cooldown, e.Cooldown), slog.Int(telemetry.Failures, e.Failures),
		},
	}
	if e.Model != "" {
		d.Attrs = append(d.Attrs, slog.String(telemetry.Model, e.Model))
	}
	return d
}

// HealthCheckFailed reports that a health check has taken a server out.
type HealthCheckFailed struct{ Server, Reason string }

// Describe implements Event.
func (e HealthCheckFailed) Describe() Description {
	return Description{
		Kind: config.EventServerOut, Level: slog.LevelWarn, Message: telemetry.ProbeFailed, Subject: e.Server,
		Text:  fmt.Sprintf("Server %s is out: its health check failed (%s).", e.Server, e.Reason),
		Attrs: []slog.Attr{slog.String(telemetry.Server, e.Server), slog.String(telemetry.Reason, e.Reason)},
	}
}

// ServerBack reports that the probe of a server succeeded.
type ServerBack struct{ Server string }

// Describe implements Event.
func (e ServerBack) Describe() Description {
	return Description{
		Kind: config.EventServerBack, Message: telemetry.ServerBack, Subject: e.Server,
		Text:  fmt.Sprintf("Server %s is back.", e.Server),
		Attrs: []slog.Attr{slog.String(telemetry.Server, e.Server)},
	}
}

// AllServersOut reports that no server is available.
type AllServersOut struct{}

// Describe implements Event.
func (AllServersOut) Describe() Description {
	return Description{
		Kind: config.EventAllServersOut, Level: slog.LevelWarn, Message: telemetry.AllServersOut,
		Text: "All servers are out: no request can be served.",
	}
}

// BalanceChanged reports that the balance of a server has fallen to its threshold or below, or has risen above it.
type BalanceChanged struct {
	Server             string
	Balance, Threshold float64
	Low                bool
}

// Describe implements Event.
func (e BalanceChanged) Describe() Description {
	d := Description{
		Kind: config.EventBalanceRestored, Message: telemetry.BalanceRestored, Subject: e.Server,
		Text:  fmt.Sprintf("The balance of server %s is restored: %v.", e.Server, e.Balance),
		Attrs: []slog.Attr{slog.String(telemetry.Server, e.Server), slog.Float64(telemetry.Balance, e.Balance), slog.Float64(telemetry.Threshold, e.Threshold)},
	}
	if e.Low {
		d.Kind, d.Level, d.Message = config.EventBalanceLow, slog.LevelWarn, telemetry.BalanceLow
		d.Text = fmt.Sprintf("The balance of server %s is low: %v, at or below %v. It gets no requests.", e.Server, e.Balance, e.Threshold)
	}
	return d
}

// BudgetUsed reports that a client key has used 80 % of a budget, or all of it.
type BudgetUsed struct {
	Client, Window string
	Spent, Limit   string    // in dollars
	Resets         time.Time // zero: never
	Exhausted      bool      // all of it
}

// Describe implements Event.
func (e BudgetUsed) Describe() Description {
	resets, sentence := "never", "It is never renewed."
	if !e.Resets.IsZero() {
		resets = e.Resets.Format(time.RFC3339)
		sentence = "It is renewed at " + resets + "."
	}
	d := Description{
		Kind: config.EventBudget80, Level: slog.LevelWarn, Message: telemetry.BudgetNear, Subject: e.Client,
		Attrs: []slog.Attr{
			slog.String(telemetry.Client, e.Client), slog.String(telemetry.Window, e.Window), slog.String(telemetry.Spent, e.Spent),
			slog.String(telemetry.Limit, e.Limit), slog.String(telemetry.Resets, resets),
		},
	}
	used := "nearly spent"
	if e.Exhausted {
		d.Kind, d.Message, used = config.EventBudget100, telemetry.BudgetSpent, "spent"
	}
	d.Text = fmt.Sprintf("Client key %s has %s its budget (%s): $%s of $%s. %s", e.Client, used, e.Window, e.Spent, e.Limit, sentence)
	return d
}

// CacheRateChanged reports that the share of prompts that is read from the prompt cache has collapsed or recovered.
type CacheRateChanged struct {
	Server        string // or the name for all servers
	Recent, Usual string // in percent
	Recovered     bool
}

// Describe implements Event.
func (e CacheRateChanged) Describe() Description {
	d := Description{
		Kind: config.EventCacheCollapsed, Level: slog.LevelWarn, Message: telemetry.CacheCollapsed, Subject: e.Server,
		Text: fmt.Sprintf("The prompt cache hardly hits any more (%s): %s of a prompt is read from it, usually %s.", e.Server, e.Recent, e.Usual),
		Attrs: []slog.Attr{
			slog.String(telemetry.Server, e.Server), slog.String(telemetry.HitRate, e.Recent), slog.String(telemetry.UsualHitRate, e.Usual),
		},
	}
	if e.Recovered {
		d.Level, d.Message = slog.LevelInfo, telemetry.CacheRecovered
		d.Text = fmt.Sprintf("The prompt cache hits again (%s): %s of a prompt is read from it, usually %s.", e.Server, e.Recent, e.Usual)
	}
	return d
}

// ReloadFailed reports that a changed configuration could not be put in force.
type ReloadFailed struct {
	File string
	Err  error
}

// Describe implements Event.
func (e ReloadFailed) Describe() Description {
	return Description{
		Kind: config.EventReloadFailed, Level: slog.LevelError, Message: telemetry.ReloadFailed,
		Text:  fmt.Sprintf("The configuration could not be reloaded; the previous one stays active: %v.", e.Err),
		Attrs: []slog.Attr{slog.String(telemetry.Config, e.File), slog.Any(telemetry.Err, e.Err)},
	}
}

// Reloaded reports that a configuration was put in force.
type Reloaded struct {
	File       string
	Generation uint64
	Servers    int
}

// Describe implements Event.
func (e Reloaded) Describe() Description {
	return Description{
		Message: telemetry.Reloaded, Text: fmt.Sprintf("The configuration was reloaded: %d servers.", e.Servers),
		Attrs: []slog.Attr{slog.String(telemetry.Config, e.File), slog.Uint64(telemetry.Generation, e.Generation), slog.Int(telemetry.Servers, e.Servers)},
	}
}

// LedgerLate reports that the ledger cannot be written.
type LedgerLate struct {
	Rows   int   // kept in memory
	Folded int64 // kept only as sums
	Err    error
}

// Describe implements Event.
func (e LedgerLate) Describe() Description {
	return Description{
		Kind: config.EventLedgerDegraded, Level: slog.LevelError, Message: telemetry.LedgerLate,
		Text:  fmt.Sprintf("The ledger cannot be written: %d rows are kept in memory (%v).", e.Rows, e.Err),
		Attrs: []slog.Attr{slog.Int(telemetry.Rows, e.Rows), slog.Int64(telemetry.Aggregated, e.Folded), slog.Any(telemetry.Err, e.Err)},
	}
}

// LedgerCaughtUp reports that the ledger is written again.
type LedgerCaughtUp struct{ Rows int64 }

// Describe implements Event.
func (e LedgerCaughtUp) Describe() Description {
	return Description{
		Kind: config.EventLedgerDegraded, Message: telemetry.LedgerCaughtUp,
		Text:  fmt.Sprintf("The ledger is written again: it has caught up (%d rows).", e.Rows),
		Attrs: []slog.Attr{slog.Int64(telemetry.Rows, e.Rows)},
	}
}

// Draining reports that the process stops: it takes no new requests, and open ones may finish within a time.
type Draining struct {
	Signal string
	Open   int64 // requests
	Limit  time.Duration
}

// Describe implements Event.
func (e Draining) Describe() Description {
	return Description{
		Message: telemetry.Draining, Text: fmt.Sprintf("The balancer stops: %d open requests may finish within %s.", e.Open, e.Limit),
		Attrs: []slog.Attr{slog.String(telemetry.Signal, e.Signal), slog.Int64(telemetry.Open, e.Open), slog.Duration(telemetry.DrainTimeout, e.Limit)},
	}
}
