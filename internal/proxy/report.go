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
	addLogAttrs(&record, e)
	_ = handler.Handle(x.ctx, record) // loggers ignore the error, too
}

// addLogAttrs adds the attributes of the log line of a request that has ended. They are collected on the
// stack, because the record copies them.
func addLogAttrs(record *slog.Record, e *ledger.Entry) {
	u := e.Usage()
	var buf [24]slog.Attr
	attrs := append(buf[:0],
		slog.String(telemetry.ID, e.ID),
		slog.String(telemetry.Client, e.Client),
		slog.String(telemetry.Method, e.Method),
		slog.String(telemetry.Path, claude.ShortenIDs(e.Path)),
		slog.String(telemetry.Model, e.Model),
		slog.Bool(telemetry.Stream, e.Stream),
		slog.String(telemetry.Server, e.Server()),
		slog.Int(telemetry.Attempts, len(e.Attempts)),
		slog.Int(telemetry.Status, e.Status),
		slog.String(telemetry.Outcome, string(e.Outcome)),
		slog.Duration(telemetry.FirstByte, e.TimeToFirstByte.Round(time.Millisecond)),
		slog.Duration(telemetry.Duration, e.Duration.Round(time.Millisecond)),
		slog.Int64(telemetry.TokensIn, u.TotalInputTokens()),
		slog.Int64(telemetry.TokensOut, u.OutputTokens),
		slog.Int64(telemetry.CacheRead, u.CacheReadTokens),
		slog.Int64(telemetry.CacheCreated, u.CacheCreationTokens()))
	if slices.ContainsFunc(e.Attempts, func(a ledger.Attempt) bool { return a.Known() }) {
		cost := e.Cost()
		attrs = append(attrs, costOf(cost))
		if cost.Unpriced != "" {
			attrs = append(attrs, slog.String(telemetry.Unpriced, cost.Unpriced))
		}
	}
	if e.Estimated() {
		attrs = append(attrs, slog.Bool(telemetry.Estimated, true))
	}
	if e.Routed != "" {
		attrs = append(attrs, slog.String(telemetry.Routed, string(e.Routed)))
	}
	if e.Session != "" {
		attrs = append(attrs, slog.String(telemetry.Session, e.Session))
	}
	if a := e.Final(); a != nil && a.Served && a.RequestID != "" {
		attrs = append(attrs, slog.String(telemetry.UpstreamRequest, a.RequestID))
	}
	if e.Reason != "" {
		attrs = append(attrs, slog.String(telemetry.Reason, e.Reason))
	}
	record.AddAttrs(attrs...)
}

// costOf returns the cost of a request. An unknown price is not shown as 0.
func costOf(c ledger.Cost) slog.Attr {
	if !c.Known {
		return slog.String(telemetry.Cost, "unknown")
	}
	return slog.String(telemetry.Cost, c.Sum.String())
}
