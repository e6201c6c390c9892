package observe

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/9bingyin/claude-code-lb/internal/config"
	"github.com/9bingyin/claude-code-lb/internal/ledger"
	"github.com/9bingyin/claude-code-lb/internal/telemetry"
)

// TestTap logs every line that is an event.
func TestTap(t *testing.T) {
	var log bytes.Buffer
	var events []Event
	logger := slog.New(NewTap(slog.NewTextHandler(&log, nil), func(e Event) { events = append(events, e) }))
	f := func(name config.Event, subject, text, message string, args ...any) {
		t.Helper()
		events = nil
		logger.Warn(message, args...)
		if len(events) != 1 || events[0].Name != name || events[0].Subject != strings.TrimSpace(message+" "+subject) || events[0].Text != text {
			t.Errorf("%s: %+v", message, events)
		}
		if !strings.Contains(log.String(), message) {
			t.Errorf("%s is not in the log", message)
		}
	}
	f(config.EventServerOut, "a", "Server a is out for 1m30s: status 500.",
		telemetry.ServerOut, telemetry.Server, "a", telemetry.Reason, "status 500", telemetry.Cooldown, 90*time.Second)
	f(config.EventServerOut, "a", "Server a is out: its health check failed (status 500).", telemetry.ProbeFailed, telemetry.Server, "a", telemetry.Reason, "status 500")
	f(config.EventServerBack, "a", "Server a is back.", telemetry.ServerBack, telemetry.Server, "a")
	f(config.EventAllServersOut, "", "All servers are out: no request can be served.", telemetry.AllServersOut)
	f(config.EventBalanceLow, "a", "The balance of server a is low: 1.5, at or below 2. It gets no requests.",
		telemetry.BalanceLow, telemetry.Server, "a", telemetry.Balance, 1.5, telemetry.Threshold, 2.0)
	f(config.EventBalanceRestored, "a", "The balance of server a is restored: 20.", telemetry.BalanceRestored, telemetry.Server, "a", telemetry.Balance, 20.0)
	budget := []any{telemetry.Client, "ci", telemetry.Window, "day", telemetry.Spent, "8.10", telemetry.Limit, "10.00", telemetry.Resets, time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)}
	f(config.EventBudget80, "ci", "Client key ci has nearly spent its budget (day): $8.10 of $10.00. It begins anew: 2026-01-02T00:00:00Z.", telemetry.BudgetNear, budget...)
	f(config.EventBudget100, "ci", "Client key ci has spent its budget (day): $8.10 of $10.00. It begins anew: 2026-01-02T00:00:00Z.", telemetry.BudgetSpent, budget...)
	f(config.EventReloadFailed, "", "The configuration could not be reloaded, the old one stays in force: two lines.",
		telemetry.ReloadFailed, telemetry.Err, errors.New("two\nlines"))
	f(config.EventLedgerDegraded, "", "The ledger cannot be written: 12 rows are kept in memory (disk full).", telemetry.LedgerLate, telemetry.Rows, 12, telemetry.Err, errors.New("disk full"))
	f(config.EventLedgerDegraded, "", "The ledger is written again: it has caught up (12 rows).", telemetry.LedgerCaughtUp, telemetry.Rows, 12)

	events = nil
	logger.With(telemetry.Server, "a").Warn(telemetry.ServerBack, telemetry.Cooldown, time.Minute)
	want := []Fact{{telemetry.Server, "a"}, {telemetry.Cooldown, 60.0}}
	if len(events) != 1 || events[0].Text != "Server a is back." || cmp.Diff(want, events[0].Facts) != "" {
		t.Errorf("attributes of the logger: %+v", events)
	}
	events = nil
	logger.Info(telemetry.Request)
	logger.Debug(telemetry.ServerBack)
	logger.WithGroup("g").Info(telemetry.ServerBack)
	if len(events) != 0 {
		t.Errorf("no events: %+v", events)
	}
}

// TestEveryEventHasWords looks up every event that can be asked for.
func TestEveryEventHasWords(t *testing.T) {
	missing := map[config.Event]bool{
		config.EventServerOut: true, config.EventServerBack: true, config.EventAllServersOut: true, config.EventBalanceLow: true, config.EventBalanceRestored: true,
		config.EventBudget80: true, config.EventBudget100: true, config.EventCacheCollapsed: true, config.EventReloadFailed: true, config.EventLedgerDegraded: true,
	}
	for _, message := range []string{telemetry.ServerOut, telemetry.ServerBack, telemetry.AllServersOut, telemetry.BalanceLow, telemetry.BalanceRestored,
		telemetry.BudgetNear, telemetry.BudgetSpent, telemetry.CacheCollapsed, telemetry.CacheRecovered, telemetry.ReloadFailed, telemetry.LedgerLate, telemetry.LedgerCaughtUp, telemetry.ProbeFailed} {
		w, ok := sentence(message)
		if !ok {
			t.Errorf("%s is no event", message)
		}
		delete(missing, w.event)
	}
	if len(missing) > 0 {
		t.Errorf("nothing is logged for %v", missing)
	}
}

func TestOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		o := NewOutage(slog.New(slog.NewTextHandler(&log, nil)))
		available := 1
		go o.Run(t.Context(), func() int { return available })
		step := func(what string, name config.Event, left, want int) {
			t.Helper()
			available = left
			o.Consider(Event{Name: name})
			synctest.Wait()
			if n := strings.Count(log.String(), telemetry.AllServersOut); n != want {
				t.Errorf("%s: told %d times, want %d", what, n, want)
			}
		}
		step("one of two", config.EventServerOut, 1, 0)
		step("the last", config.EventServerOut, 0, 1)
		step("again", config.EventServerOut, 0, 1)
		step("one came back", config.EventServerBack, 1, 1)
		step("by its balance", config.EventBalanceLow, 0, 2)
		o.Record(ledger.Entry{Outcome: ledger.Failed})
		step("nobody answered", config.EventServerOut, 0, 2)
		o.Record(ledger.Entry{Outcome: ledger.Answered, Routed: ledger.Placed})
		step("its rest was over in between", config.EventServerOut, 0, 3)
		step("one had come back unnoticed", config.EventServerOut, 2, 3)
		step("and went out", config.EventServerOut, 0, 4)
	})
}
