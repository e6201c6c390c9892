package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/claude"
	"github.com/9bingyin/claude-code-lb/internal/event"
	"github.com/9bingyin/claude-code-lb/internal/ledger"
	"github.com/9bingyin/claude-code-lb/internal/store"
)

// ledgerOf returns a ledger with ten requests, one per second before now.
func ledgerOf(t *testing.T, now time.Time) *store.Store {
	t.Helper()
	file := filepath.Join(t.TempDir(), "ledger.db")
	open := func(ctx context.Context) (*store.Store, error) { return store.Open(ctx, file) }
	w := store.NewWriter(open, event.NewBus(slog.New(slog.DiscardHandler)), store.Bounds{})
	w.Open(t.Context())
	for i := range 10 {
		e := ledger.Entry{
			ID: fmt.Sprintf("req_lb_%d", i), Start: now.Add(time.Duration(i-10) * time.Second), Client: []string{"ann", "=bob"}[i%2], Session: "s", Method: "POST", Path: "/v1/messages",
			Model: "claude-opus-4-5", Status: 200, Outcome: ledger.Answered, Routed: ledger.Placed,
			Attempts: []ledger.Attempt{{Server: "a", Status: 200, Scope: "none", Served: true, Start: now, Answer: claude.Message{Model: "claude-opus-4-5", Started: true, Usage: claude.Usage{InputTokens: 10, OutputTokens: 5}}, Cost: ledger.Cost{Sum: 1_500_000_001, Known: true}}},
		}
		if i == 3 {
			e.Outcome, e.Status = ledger.Failed, 503
			e.Steps = []ledger.Step{
				{Kind: ledger.StepSkipped, Server: "b", State: "rate_limited", Ready: 12 * time.Second, Reason: "status 429"},
				{Kind: ledger.StepChoice, Candidates: []ledger.Candidate{{Server: "a", Result: "chosen", Cached: 3, Score: -1.5}, {Server: "b", Result: "unfit", State: "rate_limited"}}},
				{Kind: ledger.StepAttempt, Server: "a", Took: time.Second, Reason: "status 503"},
			}
		}
		w.Record(e)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	w.Run(ended) // writes what waits and closes the ledger
	s, err := store.Open(t.Context(), file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = errors.Join(s.Close()) })
	return s
}

func TestLogPages(t *testing.T) {
	r := newFixture(t, "")
	f := func(query, want string) {
		t.Helper()
		var got []string
		for before := ""; ; {
			page := r.expect(200, "GET", "/admin/api/log?limit=4"+query+before, "")
			for _, e := range page["requests"].([]any) {
				got = append(got, strings.TrimPrefix(e.(map[string]any)["request_id"].(string), "req_lb_"))
			}
			next, more := page["next"].(string)
			if !more {
				break
			}
			before = "&before=" + next
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %v, want %s", query, got, want)
		}
	}
	f("", "9 8 7 6 5 4 3 2 1 0")
	f("&client=ann", "8 6 4 2 0")
	f("&failed=true", "3")
	f("&outcome=failed&client=ann", "")
	f("&since=2025-12-31T23:59:55&until=2025-12-31T23:59:57", "6 5")
	f("&session=s&model=claude-opus-4-5&server=a&client=%3Dbob", "9 7 5 3 1")
}

func TestLogParameters(t *testing.T) {
	r := newFixture(t, "")
	for _, query := range []string{"limit=0", "limit=x", "before=x", "before=-1", "since=never", "outcome=good", "failed=maybe", "order=asc"} {
		r.expect(400, "GET", "/admin/api/log?"+query, "")
	}
	for _, query := range []string{"by=colour", "since=never", "tz=Mars", "until=1999-01-01", "x=1"} {
		r.expect(400, "GET", "/admin/api/report?"+query, "")
	}
}

func TestLogExport(t *testing.T) {
	r := newFixture(t, "")
	table := r.request("GET", "/admin/api/log?client=%3Dbob&limit=2", "", "Accept", "text/csv").Body.String()
	if lines := strings.Split(strings.TrimSpace(table), "\n"); len(lines) != 3 || !strings.HasPrefix(lines[0], "id,request_id,time,client,") || !strings.Contains(lines[1], ",'=bob,") {
		t.Errorf("%s", table)
	}
	rows := strings.Split(strings.TrimSpace(r.request("GET", "/admin/api/log", "", "Accept", "application/x-ndjson").Body.String()), "\n")
	var last logEntry
	if err := json.Unmarshal([]byte(rows[len(rows)-1]), &last); err != nil || len(rows) != 10 || last.RequestID != "req_lb_0" || last.Cost != "1.500000001" {
		t.Errorf("%d rows, %+v, %v", len(rows), last, err)
	}
}

func TestLogDetail(t *testing.T) {
	r := newFixture(t, "")
	byName := r.expect(200, "GET", "/admin/api/log/req_lb_3", "")
	byID := r.expect(200, "GET", "/admin/api/log/"+byName["id"].(string), "")
	if byID["request_id"] != "req_lb_3" || byID["outcome"] != "failed" || len(byID["each_attempt"].([]any)) != 1 || len(byID["steps"].([]any)) != 3 {
		t.Errorf("%v", byID)
	}
	r.expect(404, "GET", "/admin/api/log/99", "")
}

func TestReportAPI(t *testing.T) {
	r := newFixture(t, "")
	got := r.expect(200, "GET", "/admin/api/report?by=key&since=2025-12-01&until=2026-02-01&tz=Asia/Kolkata", "")
	if rows := got["rows"].([]any); len(rows) != 2 || got["total"].(map[string]any)["requests"] != 10.0 || got["time_zone"] != "Asia/Kolkata" {
		t.Errorf("%v", got)
	}
	if text := r.request("GET", "/admin/api/report?by=key&since=2025-12-01", "", "Accept", "text/csv").Body.String(); !strings.HasPrefix(text, "key,requests,") || !strings.Contains(text, "\n'=bob,5,") {
		t.Errorf("%s", text)
	}
}
