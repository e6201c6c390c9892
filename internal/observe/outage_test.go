package observe

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/9bingyin/claude-code-lb/internal/config"
	"github.com/9bingyin/claude-code-lb/internal/event"
	"github.com/9bingyin/claude-code-lb/internal/ledger"
	"github.com/9bingyin/claude-code-lb/internal/telemetry"
)

func TestOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		o := NewOutage(event.NewBus(slog.New(slog.NewTextHandler(&log, nil))))
		available := 1
		go o.Run(t.Context(), func() int { return available })
		step := func(what string, name config.Event, left, want int) {
			t.Helper()
			available = left
			o.HandleEvent(event.Record{Description: event.Description{Kind: name}})
			synctest.Wait()
			if n := strings.Count(log.String(), telemetry.AllServersOut); n != want {
				t.Errorf("%s: published %d times, want %d", what, n, want)
			}
		}
		step("one of two", config.EventServerOut, 1, 0)
		step("the last", config.EventServerOut, 0, 1)
		step("again", config.EventServerOut, 0, 1)
		step("one came back", config.EventServerBack, 1, 1)
		step("by its balance", config.EventBalanceLow, 0, 2)
		o.Record(ledger.Entry{Outcome: ledger.Failed})
		step("no server responded", config.EventServerOut, 0, 2)
		o.Record(ledger.Entry{Outcome: ledger.Answered, Routed: ledger.Placed})
		step("out again after a successful response", config.EventServerOut, 0, 3)
		step("one had come back unnoticed", config.EventServerOut, 2, 3)
		step("and went out", config.EventServerOut, 0, 4)
	})
}
