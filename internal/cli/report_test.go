package cli

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/service"
	"github.com/9bingyin/claude-code-lb/internal/store"
)

func TestReconciliationNamesDrift(t *testing.T) {
	at := time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)
	list := []store.Reconciliation{
		{Server: "fair", Readings: 3, From: at, To: at.Add(time.Hour), Lost: 2, Spent: 1.99e9},
		{Server: "greedy", Readings: 3, From: at, To: at.Add(time.Hour), Lost: 3, Spent: 2e9},
	}
	f := func(format string, want ...string) {
		t.Helper()
		var out bytes.Buffer
		status, err := writeReconciliation(&out, format, list)
		if err != nil || status != service.ExitError {
			t.Errorf("status %d, %v", status, err)
		}
		for _, w := range want {
			if !strings.Contains(out.String(), w) {
				t.Errorf("%s lacks %q:\n%s", format, w, out.String())
			}
		}
	}
	f("table", "+50.0 %", "DIFFERS", "ok")
	f("json", `"server":"greedy"`, `"drift":0.5,"differs":true`, `"ledger_usd":2`)
	f("csv", "greedy,3,", ",0.5,true,0")
	f("ndjson", "}\n{")
	if status, err := writeReconciliation(new(bytes.Buffer), "table", list[:1]); status != service.ExitOK || err != nil {
		t.Errorf("status %d, %v", status, err)
	}
}

func TestReportCountsUnwrittenRows(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, `{"status":"ok","ledger_waiting":28}`)
	}))
	defer s.Close()
	file := filepath.Join(t.TempDir(), "config.json")
	text := fmt.Sprintf(`{"listen": %q, "servers": [{"url": "${UNSET}", "token": "${UNSET}"}]}`, s.Listener.Addr())
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	std := service.Std{Out: &out, Err: &errs, Env: func(string) (string, bool) { return "", false }}
	runReport(t.Context(), std, []string{"-c", file})
	if !strings.Contains(errs.String(), "28 requests wait in the memory of the running balancer") || strings.Contains(out.String(), "no requests") {
		t.Errorf("%s\n%s", &out, &errs)
	}
}

func TestLedgerImport(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "config.json")
	if err := os.WriteFile(file, []byte(`{"servers": [{"url": "https://a.example", "token": "${UNSET}"}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	rows := "INFO stopped\n" +
		`{"ledger":"batch","batch":"b","version":1,"lines":2}` + "\n" +
		`{"ledger":"sums","batch":"b","slot":494000,"client":"ann","model":"m","server":"a","figures":{"requests":1}}` + "\n" +
		`{"ledger":"row","batch":"b","row":1860000000000000000,"entry":{"request_id":"req_lb_1","time":1778400000000,"client":"ann"}}` + "\n"
	f := func(status int, input, want string, args ...string) {
		t.Helper()
		var out, errs bytes.Buffer
		std := service.Std{In: strings.NewReader(input), Out: &out, Err: &errs, Env: func(string) (string, bool) { return "", false }}
		if got := runLedger(t.Context(), std, args); got != status || !strings.Contains(out.String()+errs.String(), want) {
			t.Errorf("%v: %d\n%s%s", args, got, &out, &errs)
		}
	}
	f(service.ExitOK, rows, "1 requests imported, 0 were in the ledger already", "-c", file, "import", "-")
	f(service.ExitOK, rows, "0 requests imported, 1 were in the ledger already", "import", "-c", file, "-")
	f(service.ExitError, rows[:len(rows)-40], "1 lines are damaged or missing", "import", "-c", file, "-")
	f(service.ExitError, "", "no such file", "import", "-c", file, filepath.Join(dir, "none.jsonl"))
	f(service.ExitUsage, "", "want import", "export", "-")
	f(service.ExitUsage, "", "want import", "import")
}

// TestReportsShareTheCalendarOfBudgets checks the days of reports without -zone, also across a
// change of daylight saving time.
func TestReportsShareTheCalendarOfBudgets(t *testing.T) {
	now := time.Date(2026, 10, 25, 22, 30, 0, 0, time.UTC) // 23:30 in Berlin, on the day the clocks go back
	f := func(r reportCommand, calendar, wantSince, wantZone string) {
		t.Helper()
		q, err := r.question(now, calendar)
		if err != nil || q.Since.Format(time.RFC3339) != wantSince || q.Zone.String() != wantZone {
			t.Errorf("%+v: %s in %s, %v", r, q.Since.Format(time.RFC3339), q.Zone, err)
		}
	}
	f(reportCommand{since: "today"}, "", "2026-10-25T00:00:00Z", "UTC")
	f(reportCommand{since: "today"}, "Europe/Berlin", "2026-10-25T00:00:00+02:00", "Europe/Berlin")
	f(reportCommand{since: "yesterday"}, "Europe/Berlin", "2026-10-24T00:00:00+02:00", "Europe/Berlin")
	f(reportCommand{since: "2026-10-20"}, "Europe/Berlin", "2026-10-20T00:00:00+02:00", "Europe/Berlin")
	f(reportCommand{since: "today", zone: "Asia/Tokyo"}, "Europe/Berlin", "2026-10-26T00:00:00+09:00", "Asia/Tokyo")
	if _, err := (&reportCommand{since: "today", zone: "Europe/Berln"}).question(now, ""); err == nil || !strings.Contains(err.Error(), "did you mean Europe/Berlin?") {
		t.Error(err)
	}
}
