package proxy

import (
	"log/slog"
	"slices"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/claude"
	"github.com/9bingyin/claude-code-lb/internal/ledger"
	"github.com/9bingyin/claude-code-lb/internal/telemetry"
)

// report logs a request that has ended. It builds the record itself, because a logger would look up
// the line of code that it comes from, which is not shown.
func (x *exchange) report(e *ledger.Entry) {
	level := slog.LevelInfo
	if e.Outcome == ledger.Failed || e.Outcome == ledger.Truncated {
		level = slog.LevelWarn
	}
	handler := x.p.log.Handler()
	if !handler.Enabled(x.ctx, level) {
		return
	}
	record := slog.NewRecord(time.Now(), level, telemetry.Request, 0)
	record.AddAttrs(slog.Any("", line(e)))
	_ = handler.Handle(x.ctx, record) // loggers ignore the error, too
}

// line returns the attributes of the log line of a request that has ended.
func line(e *ledger.Entry) telemetry.Listing {
	return func(add func(slog.Attr)) {
		u := e.Usage()
		add(slog.String(telemetry.ID, e.ID))
		add(slog.String(telemetry.Client, e.Client))
		add(slog.String(telemetry.Method, e.Method))
		add(slog.String(telemetry.Path, claude.ShortenIDs(e.Path)))
		add(slog.String(telemetry.Model, e.Model))
		add(slog.Bool(telemetry.Stream, e.Stream))
		add(slog.String(telemetry.Server, e.Server()))
		add(slog.Int(telemetry.Attempts, len(e.Attempts)))
		add(slog.Int(telemetry.Status, e.Status))
		add(slog.String(telemetry.Outcome, string(e.Outcome)))
		add(slog.Duration(telemetry.FirstByte, e.TimeToFirstByte.Round(time.Millisecond)))
		add(slog.Duration(telemetry.Duration, e.Duration.Round(time.Millisecond)))
		add(slog.Int64(telemetry.TokensIn, u.TotalInputTokens()))
		add(slog.Int64(telemetry.TokensOut, u.OutputTokens))
		add(slog.Int64(telemetry.CacheRead, u.CacheReadTokens))
		add(slog.Int64(telemetry.CacheCreated, u.CacheCreationTokens()))
		if slices.ContainsFunc(e.Attempts, func(a ledger.Attempt) bool { return a.Known() }) {
			cost := e.Cost()
			add(costOf(cost))
			if cost.Unpriced != "" {
				add(slog.String(telemetry.Unpriced, cost.Unpriced))
			}
		}
		if e.Estimated() {
			add(slog.Bool(telemetry.Estimated, true))
		}
		if e.Routed != "" {
			add(slog.String(telemetry.Routed, string(e.Routed)))
		}
		if e.Session != "" {
			add(slog.String(telemetry.Session, e.Session))
		}
		if a := e.Final(); a != nil && a.Served && a.RequestID != "" {
			add(slog.String(telemetry.UpstreamRequest, a.RequestID))
		}
		if e.Reason != "" {
			add(slog.String(telemetry.Reason, e.Reason))
		}
	}
}

// costOf returns the cost of a request. An unknown price is not shown as 0.
func costOf(c ledger.Cost) slog.Attr {
	if !c.Known {
		return slog.String(telemetry.Cost, "unknown")
	}
	return slog.String(telemetry.Cost, c.Sum.String())
}
