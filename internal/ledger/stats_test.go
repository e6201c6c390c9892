package ledger

import (
	"testing"
	"time"
)

func TestStatsCountsEveryAttempt(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	s := NewStats(start)
	s.Record(Entry{Start: start, Outcome: Answered, TimeToFirstByte: 300 * time.Millisecond, Attempts: []Attempt{
		{Server: "b", Reason: "529", Start: start},
		{Server: "a", Start: start.Add(100 * time.Millisecond)},
	}})
	s.Record(Entry{Start: start, Outcome: Truncated, TimeToFirstByte: time.Second, Attempts: []Attempt{{Server: "a", Start: start}}})
	s.Record(Entry{Start: start, Outcome: ClientGone, Attempts: []Attempt{{Server: "b", Reason: "client left", Start: start}}})

	got, period := s.Take(start.Add(time.Minute))
	if period != time.Minute || len(got) != 2 {
		t.Fatalf("Take = %v over %v", got, period)
	}
	if a := got[0]; a.Server != "a" || a.Requests != 2 || a.Errors != 1 || a.MeanFirstByte != 200*time.Millisecond || a.FirstByteCount != 1 {
		t.Errorf("a: %+v", a)
	}
	if b := got[1]; b.Server != "b" || b.Requests != 2 || b.Errors != 1 || b.P95FirstByte != 0 {
		t.Errorf("b: %+v", b)
	}
	if again, _ := s.Take(start); len(again) != 0 {
		t.Errorf("sums survived Take: %v", again)
	}
}

func TestLatencyQuantile(t *testing.T) {
	f := func(q float64, want time.Duration) {
		t.Helper()
		var l latencies
		for ms := range 1000 {
			l.add(time.Duration(ms+1) * time.Millisecond)
		}
		got := l.quantile(q)
		if diff := (got - want).Abs(); diff > want*3/100 {
			t.Errorf("quantile(%v) = %v, want about %v", q, got, want)
		}
	}
	f(0.5, 500*time.Millisecond)
	f(0.95, 950*time.Millisecond)
	f(1, time.Second)

	var empty latencies
	if empty.mean() != 0 || empty.quantile(0.95) != 0 {
		t.Error("an empty histogram is not zero")
	}
	var huge latencies
	huge.add(48 * time.Hour)
	if huge.quantile(0.95) > 48*time.Hour {
		t.Error("quantile beyond the largest value")
	}
}
