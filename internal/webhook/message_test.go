package webhook

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/9bingyin/claude-code-lb/internal/config"
	"github.com/9bingyin/claude-code-lb/internal/event"
	"github.com/9bingyin/claude-code-lb/internal/telemetry"
)

// TestEvents publishes every event and checks its log line and message.
func TestEvents(t *testing.T) {
	var log bytes.Buffer
	var messages []Message
	bus := event.NewBus(slog.New(slog.NewTextHandler(&log, nil)))
	bus.Subscribe(func(r event.Record) { messages = append(messages, newMessage(r)) })
	missing := map[config.Event]bool{
		config.EventServerOut: true, config.EventServerBack: true, config.EventAllServersOut: true, config.EventBalanceLow: true, config.EventBalanceRestored: true,
		config.EventBudget80: true, config.EventBudget100: true, config.EventCacheCollapsed: true, config.EventReloadFailed: true, config.EventLedgerDegraded: true,
	}
	f := func(e event.Event, name config.Event, subject, text, line string) {
		t.Helper()
		messages = nil
		log.Reset()
		bus.Publish(t.Context(), e)
		if len(messages) != 1 || messages[0].Name != name || !strings.HasSuffix(messages[0].Subject, subject) || messages[0].Text != text || messages[0].Time.IsZero() {
			t.Errorf("%T: %+v", e, messages)
		}
		if !strings.Contains(log.String(), line) {
			t.Errorf("%T: the log has %s, want %s", e, &log, line)
		}
		delete(missing, name)
	}
	f(event.ServerOut{Server: "a", Reason: "status 500", Scope: "endpoint", Cooldown: 90 * time.Second, Failures: 2}, config.EventServerOut, " a", "Server a is out for 1m30s: status 500.",
		`level=WARN msg="server out" server=a reason="status 500" scope=endpoint cooldown=1m30s failures=2`+"\n")
	f(event.ServerOut{Server: "a", Reason: "status 529", Scope: "capacity", Cooldown: time.Second, Failures: 1, Model: "m"}, config.EventServerOut, " a", "Server a is out for 1s: status 529.", "failures=1 model=m\n")
	f(event.HealthCheckFailed{Server: "a", Reason: "status 500"}, config.EventServerOut, " a", "Server a is out: its health check failed (status 500).", telemetry.ProbeFailed)
	f(event.ServerBack{Server: "a"}, config.EventServerBack, " a", "Server a is back.", `level=INFO msg="server back" server=a`)
	f(event.AllServersOut{}, config.EventAllServersOut, telemetry.AllServersOut, "All servers are out: no request can be served.", "level=WARN")
	f(event.BalanceChanged{Server: "a", Balance: 1.5, Threshold: 2, Low: true}, config.EventBalanceLow, " a", "The balance of server a is low: 1.5, at or below 2. It gets no requests.", "balance=1.5 threshold=2")
	f(event.BalanceChanged{Server: "a", Balance: 20, Threshold: 2}, config.EventBalanceRestored, " a", "The balance of server a is restored: 20.", telemetry.BalanceRestored)
	budget := event.BudgetUsed{Client: "ci", Window: "day", Spent: "8.10", Limit: "10.00", Resets: time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)}
	f(budget, config.EventBudget80, " ci", "Client key ci has nearly spent its budget (day): $8.10 of $10.00. It is renewed at 2026-01-02T00:00:00Z.", "spent=8.10 limit=10.00 resets=2026-01-02T00:00:00Z")
	budget.Exhausted, budget.Resets = true, time.Time{}
	f(budget, config.EventBudget100, " ci", "Client key ci has spent its budget (day): $8.10 of $10.00. It is never renewed.", "resets=never")
	f(event.CacheRateChanged{Server: "a", Recent: "10%", Usual: "90%"}, config.EventCacheCollapsed, " a", "The prompt cache hardly hits any more (a): 10% of a prompt is read from it, usually 90%.", "level=WARN")
	f(event.CacheRateChanged{Server: "a", Recent: "90%", Usual: "90%", Recovered: true}, config.EventCacheCollapsed, " a", "The prompt cache hits again (a): 90% of a prompt is read from it, usually 90%.", "level=INFO")
	f(event.ReloadFailed{File: "c.json", Err: errors.New("two\nlines")}, config.EventReloadFailed, telemetry.ReloadFailed, "The configuration could not be reloaded; the previous one stays active: two lines.", "level=ERROR")
	f(event.LedgerLate{Rows: 12, Err: errors.New("disk full")}, config.EventLedgerDegraded, telemetry.LedgerLate, "The ledger cannot be written: 12 rows are kept in memory (disk full).", "rows=12 folded=0")
	f(event.LedgerCaughtUp{Rows: 12}, config.EventLedgerDegraded, telemetry.LedgerCaughtUp, "The ledger is written again: it has caught up (12 rows).", "rows=12")
	if len(missing) > 0 {
		t.Errorf("no event is named %v", missing)
	}
	f(event.Reloaded{File: "c.json", Generation: 3, Servers: 2}, "", telemetry.Reloaded, "The configuration was reloaded: 2 servers.", "generation=3 servers=2")
	f(event.Draining{Signal: "terminated", Open: 4, Limit: time.Minute}, "", telemetry.Draining, "The balancer stops: 4 open requests may finish within 1m0s.", "open_requests=4 drain_timeout=1m0s")
}

func TestFacts(t *testing.T) {
	got := newMessage(event.Record{Description: event.ServerOut{Server: "a", Reason: "x", Scope: "endpoint", Cooldown: time.Minute}.Describe()}).Facts
	want := []Fact{{telemetry.Server, "a"}, {telemetry.Reason, "x"}, {telemetry.Scope, "endpoint"}, {telemetry.Cooldown, 60.0}, {telemetry.Failures, int64(0)}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
