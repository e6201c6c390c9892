package report

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/ledger"
	"github.com/9bingyin/claude-code-lb/internal/store"
)

func TestParseTime(t *testing.T) {
	now := time.Date(2026, 5, 10, 12, 0, 0, 0, time.UTC)
	f := func(s string, want time.Time) {
		t.Helper()
		if got, err := ParseTime(s, now, time.UTC); err != nil || !got.Equal(want) {
			t.Errorf("%s: %s, %v", s, got, err)
		}
	}
	f("2026-05-01", time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC))
	f("2026-05-01T08:30", time.Date(2026, 5, 1, 8, 30, 0, 0, time.UTC))
	f("2026-05-01T08:30:00+02:00", time.Date(2026, 5, 1, 6, 30, 0, 0, time.UTC))
	f("24h", now.Add(-24*time.Hour))
	f("7d", now.Add(-7*24*time.Hour))
	f("0.5d", now.Add(-12*time.Hour))
	f("now", now)
	f("today", time.Date(2026, 5, 10, 0, 0, 0, 0, time.UTC))
	f("Yesterday", time.Date(2026, 5, 9, 0, 0, 0, 0, time.UTC))
	for _, s := range []string{"", "tomorrow", "-1h", "-3d", "2026-13-01", "1e9d"} {
		if got, err := ParseTime(s, now, time.UTC); err == nil {
			t.Errorf("%q: %s", s, got)
		}
	}
}

func reportLines() []store.Line {
	return []store.Line{
		{At: []string{"2026-05-01", "a\x1b[31m"}, Sums: ledger.Sums{Requests: 2, Attempts: 3, Failures: 1, Errors: 1, Input: 10, Output: 5, CacheRead: 90, Cost: 1_500_000_001, Saved: 2e9, Wasted: 1, Warm: 2, Cold: 1, Estimable: 1}},
		{At: []string{"2026-05-02", "=1+1"}, Sums: ledger.Sums{Requests: 1, Attempts: 1, Unpriced: 1, FirstBytes: 1, FirstByteTime: 1234567 * time.Microsecond}},
	}
}

func TestFormats(t *testing.T) {
	by := []store.Dimension{store.Day, store.Upstream}
	f := func(format string, want ...string) {
		t.Helper()
		var out bytes.Buffer
		if err := Write(&out, format, store.Question{By: by, Zone: time.UTC}, reportLines()); err != nil {
			t.Fatal(err)
		}
		for _, w := range want {
			if !strings.Contains(out.String(), w) {
				t.Errorf("%s lacks %q:\n%s", format, w, out.String())
			}
		}
		if strings.Contains(out.String(), "\x1b") && format != "json" {
			if format == "table" {
				t.Errorf("%s has control characters", format)
			}
		}
	}
	f("table", `a\x1b[31m`, "1.5000", "90.0 %", "1.235s", "0.0000+?", "+? the price of a model", "1/2", "1.5000+?", "0/3", "days and hours of UTC\n")
	f("json", `{"rows":[`, `"day":"2026-05-01"`, `"cost_usd":1.500000001`, `"total":{"requests":3,"errors":1,`, `"input_tokens":10,"output_tokens":5,"cache_read_tokens":90,"cache_creation_tokens":0`, `"time_zone":"UTC"`)
	f("ndjson", "}\n{\"day\":\"2026-05-02\"")
	f("csv", "2026-05-01,a [31m,", "day,upstream,requests,errors", "2026-05-02,'=1+1,1,0")
}

func TestNoLines(t *testing.T) {
	f := func(format, want string) {
		t.Helper()
		var out bytes.Buffer
		if err := Write(&out, format, store.Question{Zone: time.UTC}, nil); err != nil || !strings.HasPrefix(out.String(), want) {
			t.Errorf("%s: %q, %v", format, out.String(), err)
		}
	}
	f("table", "no requests in that time\n")
	f("json", "{\"rows\":[],\n\"total\":{\"requests\":0")
	f("ndjson", "")
	f("csv", "requests,errors")
}
