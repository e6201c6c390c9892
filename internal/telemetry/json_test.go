package telemetry

import (
	"io"
	"log/slog"
	"testing"
	"time"
)

// requestLine returns a record like the one that every request logs.
func requestLine() slog.Record {
	r := slog.NewRecord(time.Date(2026, 1, 2, 3, 4, 5, 60_000, time.UTC), slog.LevelInfo, Request, 0)
	r.AddAttrs(
		slog.String(ID, "req_01K7ABCDEFGHJKMNPQRSTVWXYZ"), slog.String(Client, "ci"), slog.String(Method, "POST"), slog.String(Path, "/v1/messages"),
		slog.String(Model, "claude-sonnet-4-5-20250929"), slog.Bool(Stream, true), slog.String(Server, "primary"), slog.Int(Attempts, 1),
		slog.Int(Status, 200), slog.String(Outcome, "answered"),
		slog.Duration(FirstByte, 812*time.Millisecond), slog.Duration(Duration, 12345*time.Millisecond),
		slog.Int64(TokensIn, 123456), slog.Int64(TokensOut, 789), slog.Int64(CacheRead, 120000), slog.Int64(CacheCreated, 3000),
		slog.String(Cost, "0.057123"), slog.String(Routed, "warm"), slog.String(Session, "0b7c2b0e-6e0f-4d53-9a55-0d6a9a6b8f10"),
		slog.String(UpstreamRequest, "req_011CSHoEeqs5C35K2UUqR7Fy"))
	return r
}

// TestJSONLineAllocations keeps the cost of a request's line low: about one allocation for each
// duration. The race detector makes pools drop some buffers, which causes a few more.
func TestJSONLineAllocations(t *testing.T) {
	h := newJSONHandler(io.Discard, slog.LevelInfo)
	r := requestLine()
	if n := testing.AllocsPerRun(1000, func() { _ = h.Handle(t.Context(), r) }); n > 16 {
		t.Errorf("%v allocations per line", n)
	}
}

func BenchmarkJSONLine(b *testing.B) {
	h := newJSONHandler(io.Discard, slog.LevelInfo)
	r := requestLine()
	b.ReportAllocs()
	for b.Loop() {
		_ = h.Handle(b.Context(), r)
	}
}
