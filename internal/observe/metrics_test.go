package observe

import (
	"flag"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/9bingyin/claude-code-lb/internal/claude"
	"github.com/9bingyin/claude-code-lb/internal/config"
	"github.com/9bingyin/claude-code-lb/internal/event"
	"github.com/9bingyin/claude-code-lb/internal/ledger"
	"github.com/9bingyin/claude-code-lb/internal/upstream"
)

var update = flag.Bool("update", false, "write the files in testdata instead of comparing with them")

// fakeBacklog is a ledger with late rows.
type fakeBacklog struct{}

func (fakeBacklog) Backlog() (rows int, oldest time.Duration, late, aggregated int64) {
	return 7, 90 * time.Second, 5, 3
}

// failoverEntry returns a failover: the first server breaks off a stream before the commit, the
// second one responds.
func failoverEntry(client, model string) ledger.Entry {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	return ledger.Entry{
		Start: start, Client: client, Model: model, Path: "/v1/messages", Stream: true, Status: 200, Outcome: ledger.Answered, Routed: ledger.Warm,
		TimeToFirstByte: time.Second, Duration: 3 * time.Second, Waited: 500 * time.Millisecond, Session: "s-1", ID: "req_lb_1",
		Attempts: []ledger.Attempt{
			{
				Server: "a", Status: 200, Scope: "capacity", Reason: "overloaded_error", Start: start, Duration: time.Second,
				Answer: claude.Message{Started: true, Usage: claude.Usage{InputTokens: 5, OutputTokens: 1}}, Estimated: true,
			},
			{
				Server: "b", Status: 200, Scope: "none", Start: start, TimeToOutcome: time.Second, Duration: 3 * time.Second, Served: true,
				Answer: claude.Message{Started: true, Content: true, Delta: true, Stopped: true, Usage: claude.Usage{
					InputTokens: 10, OutputTokens: 101, CacheReadTokens: 1000, CacheCreation5mTokens: 20, CacheCreation1hTokens: 30, WebSearchRequests: 2,
				}},
				Cost: ledger.Cost{Sum: 12_345_678, Saved: 1_000_000, Wasted: 500_000, Known: true},
			},
		},
	}
}

// newFilledMetrics returns metrics that all have a value.
func newFilledMetrics(t *testing.T) *Metrics {
	t.Helper()
	cfg, problems := config.Decode("config.json", []byte(`{"servers": [
		{"name": "a", "url": "http://127.0.0.1:9", "token": "t-1", "rate_limit": {"requests": 10}},
		{"name": "b", "url": "http://127.0.0.1:9", "token": "t-2", "weight": 0, "balance_check": "echo 12.5"},
	]}`), func(string) (string, bool) { return "", false })
	if problems.Failed() {
		t.Fatal(problems)
	}
	pool := upstream.NewPool(t.Context(), event.NewBus(slog.New(slog.DiscardHandler)))
	endpoints, commit := pool.Reconcile(cfg)
	commit()
	pool.AwaitFirstReadings(t.Context())
	lease, ok := endpoints[0].Acquire(time.Now(), upstream.Subject{Model: "claude-opus-4-5"})
	if !ok {
		t.Fatal("server a is not available")
	}
	t.Cleanup(lease.Release)
	m := NewMetrics("1.2.3")
	m.AddSources(Sources{Endpoints: func() []*upstream.Endpoint { return endpoints }, OpenRequests: func() int64 { return 4 }, BodyBytes: func() int64 { return 5 }, Rejections: func() map[int]int64 { return map[int]int64{401: 2} }, WrongKeys: func() map[string]int64 { return map[string]int64{"clients": 1} }, Backlog: fakeBacklog{}})
	m.RecordConfig(2, "fast", time.Unix(1_700_000_000, 0))
	m.Record(failoverEntry("key-1", "claude-opus-4-5"))
	return m
}

// gather returns this project's metrics by name.
func gather(t *testing.T, m *Metrics) map[string]*dto.MetricFamily {
	t.Helper()
	all, err := m.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	ours := map[string]*dto.MetricFamily{}
	for _, f := range all {
		if strings.HasPrefix(f.GetName(), "claude_code_lb_") {
			ours[f.GetName()] = f
		}
	}
	return ours
}

// list returns all families.
func (f families) list() []family {
	return []family{
		f.requests, f.requestDuration, f.firstByte, f.waits, f.routed, f.attempts, f.attemptDuration, f.firstToken, f.interToken, f.failovers,
		f.tokens, f.serverTools, f.cost, f.unpriced, f.estimated, f.saved, f.wasted, f.openRequests, f.rejected, f.turnedAway, f.wrongKeys, f.bodies, f.state, f.inFlight, f.headroom, f.balance,
		f.generation, f.reloadSuccessful, f.reloadTime, f.backlog, f.backlogAge, f.late, f.aggregated, f.folded, f.build, f.engine,
	}
}

// value returns the value of one series. labels are in the order of their names.
func value(t *testing.T, m *Metrics, name, labels string) float64 {
	t.Helper()
	for _, metric := range gather(t, m)[name].GetMetric() {
		if labelText(metric) != labels {
			continue
		}
		switch {
		case metric.Counter != nil:
			return metric.Counter.GetValue()
		case metric.Gauge != nil:
			return metric.Gauge.GetValue()
		default:
			return metric.Histogram.GetSampleSum()
		}
	}
	return -1
}

func labelText(m *dto.Metric) string {
	var parts []string
	for _, l := range m.GetLabel() {
		parts = append(parts, l.GetName()+"="+l.GetValue())
	}
	return strings.Join(parts, ",")
}

// table lists all metrics as docs/observability.md does.
func table(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	b.WriteString("| metric | type | labels | meaning |\n|---|---|---|---|\n")
	ours := gather(t, newFilledMetrics(t))
	labels := map[string][]string{}
	for _, f := range allFamilies().list() {
		labels[f.name] = f.labels
		if ours[f.name] == nil {
			t.Errorf("%s has no value in newFilledMetrics", f.name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(ours)) {
		f := ours[name]
		written := ""
		if l := labels[name]; len(l) > 0 {
			written = "`" + strings.Join(l, "`, `") + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", name, strings.ToLower(f.GetType().String()), written, f.GetHelp())
	}
	return b.String()
}

// TestNames pins names, types, labels and help, because dashboards and alerts depend on them.
func TestNames(t *testing.T) {
	got, file := table(t), filepath.Join("testdata", "metrics.golden")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("-want +got (-update accepts it):\n%s", diff)
	}
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "observability.md"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(page), got) {
		t.Error("docs/observability.md does not have the table of testdata/metrics.golden")
	}
}

func TestConventions(t *testing.T) {
	problems, err := promlint.NewWithMetricFamilies(slices.Collect(maps.Values(gather(t, newFilledMetrics(t))))).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

// expectValue checks the value of one series; -1 means that the series does not exist.
func expectValue(t *testing.T, m *Metrics, name, labels string, want float64) {
	t.Helper()
	if got := value(t, m, "claude_code_lb_"+name, labels); got < want-1e-12 || got > want+1e-12 {
		t.Errorf("%s{%s} = %v, want %v", name, labels, got, want)
	}
}

func TestRecord(t *testing.T) {
	m := newFilledMetrics(t)
	f := func(name, labels string, want float64) { t.Helper(); expectValue(t, m, name, labels, want) }
	f("requests_total", "client=key-1,endpoint=messages,model=claude-opus-4-5,outcome=answered,status=2xx", 1)
	f("request_duration_seconds", "endpoint=messages,outcome=answered", 3)
	f("request_wait_seconds", "outcome=answered", 0.5)
	f("attempts_total", "model=claude-opus-4-5,scope=capacity,server=a", 1)
	f("attempts_total", "model=claude-opus-4-5,scope=none,server=b", 1)
	f("failovers_total", "server=a,stage=before_commit", 1)
	f("failovers_total", "server=b,stage=before_commit", -1)
	f("routed_requests_total", "routed=warm,server=b", 1)
	f("time_to_first_token_seconds", "model=claude-opus-4-5,server=b", 1)
	f("inter_token_seconds", "model=claude-opus-4-5,server=b", 0.02)
	f("tokens_total", "client=key-1,kind=input,model=claude-opus-4-5,server=a", 5)
	f("tokens_total", "client=key-1,kind=output,model=claude-opus-4-5,server=a", 1)
	f("tokens_total", "client=key-1,kind=input,model=claude-opus-4-5,server=b", 10)
	f("tokens_total", "client=key-1,kind=output,model=claude-opus-4-5,server=b", 101)
	f("tokens_total", "client=key-1,kind=cache_read,model=claude-opus-4-5,server=b", 1000)
	f("tokens_total", "client=key-1,kind=cache_creation_5m,model=claude-opus-4-5,server=b", 20)
	f("tokens_total", "client=key-1,kind=cache_creation_1h,model=claude-opus-4-5,server=b", 30)
	f("server_tool_requests_total", "client=key-1,model=claude-opus-4-5,server=b,tool=web_search", 2)
	f("cost_dollars_total", "client=key-1,model=claude-opus-4-5,server=b", 0.012345678)
	f("cache_saved_dollars_total", "client=key-1,model=claude-opus-4-5,server=b", 0.001)
	f("wasted_dollars_total", "client=key-1,model=claude-opus-4-5,server=b", 0.0005)
	f("cost_unknown_total", "model=claude-opus-4-5,server=a", 1)
	f("usage_estimated_total", "model=claude-opus-4-5,server=a", 1)
	f("open_requests", "", 4)
	f("server_state", "server=a,state=fit", 1)
	f("server_state", "server=b,state=draining", 1)
	f("server_state", "server=b,state=fit", 0)
	f("server_in_flight", "server=a", 1)
	f("server_balance", "server=b", 12.5)
	f("config_generation", "", 2)
	f("config_last_reload_successful", "", 1)
	f("ledger_backlog_rows", "", 7)
	f("ledger_backlog_age_seconds", "", 90)
	f("ledger_late_rows_total", "", 5)
	f("ledger_aggregated_rows_total", "", 3)
	f("ledger_folded_rows_total", "", 3)
	if left := value(t, m, "claude_code_lb_server_headroom_ratio", "bucket=requests,class=opus,server=a"); left < 0.9 || left > 1 {
		t.Errorf("%v of the requests are left, want at least 0.9", left)
	}

	m.RecordReloadFailure()
	f("config_last_reload_successful", "", 0)
}

// TestFailoverStages records a response that broke off after the commit, and an attempt that a
// faster one replaced.
func TestFailoverStages(t *testing.T) {
	m := newFilledMetrics(t)
	f := func(name, labels string, want float64) { t.Helper(); expectValue(t, m, name, labels, want) }
	broken := failoverEntry("key-1", "claude-opus-4-5")
	broken.Outcome = ledger.Truncated
	broken.Attempts[1].Scope = "endpoint"
	m.Record(broken)
	f("failovers_total", "server=a,stage=before_commit", 2)
	f("failovers_total", "server=b,stage=after_commit", 1)
	f("inter_token_seconds", "model=claude-opus-4-5,server=b", 0.02) // not of a stream that broke off
	lost := failoverEntry("key-1", "claude-opus-4-5")
	lost.Attempts[0].Scope = "client" // the other attempt was faster
	m.Record(lost)
	f("failovers_total", "server=a,stage=before_commit", 2)
}

// TestFurtherModels checks that further models count with their own labels.
func TestFurtherModels(t *testing.T) {
	m := newFilledMetrics(t)
	e := failoverEntry("ann", "claude-haiku-4-5")
	e.Attempts[1].Cost.Sum += 1_000_000_000
	e.Attempts[1].Extra = []ledger.Extra{{Type: "advisor_message", Model: "claude-opus-4-8", Usage: claude.Usage{InputTokens: 7}, Sum: 1_000_000_000}}
	m.Record(e)
	for labels, want := range map[string]float64{"model=claude-haiku-4-5": 0.012345678, "model=claude-opus-4-8": 1} {
		if got := value(t, m, "claude_code_lb_cost_dollars_total", "client=ann,"+labels+",server=b"); got < want-1e-12 || got > want+1e-12 {
			t.Errorf("%s: %v", labels, got)
		}
	}
	if got := value(t, m, "claude_code_lb_tokens_total", "client=ann,kind=input,model=claude-opus-4-8,server=b"); got != 7 {
		t.Errorf("%v tokens of the advisor", got)
	}
}

// TestBoundedSeries lets clients send arbitrary names.
func TestBoundedSeries(t *testing.T) {
	m := newFilledMetrics(t)
	for n := range 10_000 {
		e := failoverEntry(fmt.Sprintf("10.0.%d.%d", n/250, n%250), fmt.Sprintf("model-%d", n))
		e.ID, e.Session, e.Path = fmt.Sprint("req_lb_", n), fmt.Sprint("session-", n), fmt.Sprint("/v1/files/file_", n)
		if n%2 == 0 { // a name that no server knows
			e.Status, e.Attempts = 404, []ledger.Attempt{{Server: "a", Status: 404, Scope: "request"}}
		}
		m.Record(e)
	}
	series := 0
	for name, f := range gather(t, m) {
		series += len(f.GetMetric())
		for _, metric := range f.GetMetric() {
			if text := labelText(metric); strings.Contains(text, "session-") || strings.Contains(text, "req_lb") || strings.Contains(text, "10.0.") || strings.Contains(text, "file_") {
				t.Fatalf("%s{%s}", name, text)
			}
		}
	}
	if series > 30*maxModels {
		t.Errorf("%d series", series)
	}
	if got := value(t, m, "claude_code_lb_requests_total", "client=-,endpoint=files,model=other,outcome=answered,status=2xx"); got != 5000-maxModels+1 {
		t.Errorf("%v requests of other models", got)
	}
	for n := range 5000 {
		m.Record(failoverEntry(fmt.Sprint("key-", n), fmt.Sprintf("model-%d", 2*(n%90)+1)))
	}
	requesters := map[string]bool{}
	for _, metric := range gather(t, m)["claude_code_lb_cost_dollars_total"].GetMetric() {
		requesters[labelText(metric)] = true
	}
	if len(requesters) > maxPairs+maxClients {
		t.Errorf("%d clients with their models", len(requesters))
	}
}

// TestInvalidNames checks names that are not valid as label values.
func TestInvalidNames(t *testing.T) {
	m := NewMetrics("\xff")
	m.Record(failoverEntry("\xff\xfe", "mo\xffdel"))
	m.Record(failoverEntry("", strings.Repeat("é", 200)))
	m.Record(ledger.Entry{Status: 99, Attempts: []ledger.Attempt{{Server: "\xff", Answer: claude.Message{Started: true}, Cost: ledger.Cost{Known: true, Saved: -5}}}})
	if got := value(t, m, "claude_code_lb_requests_total", "client=-,endpoint=messages,model=model,outcome=answered,status=2xx"); got != 1 {
		t.Errorf("%v", got)
	}
}

func TestEndpointOf(t *testing.T) {
	f := func(path, want string) {
		t.Helper()
		if got := endpointOf(path); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
	f("/v1/messages", "messages")
	f("/v1/messages/count_tokens", "count_tokens")
	f("/v1/messages/batches", "batches")
	f("/v1/messages/batches/msgbatch_1/results", "batches")
	f("/v1/models", "models")
	f("/v1/models/claude-opus-4-5", "models")
	f("/v1/modelsx", "other")
	f("/v1/files/file_1/content", "files")
	f("/v1/messages/", "other")
	f("", "other")
}

// TestExposition reads what is served in both text formats.
func TestExposition(t *testing.T) {
	m := newFilledMetrics(t)
	serve := func(accept string) (string, string) {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil)
		r.Header.Set("Accept", accept)
		w := httptest.NewRecorder()
		m.Handler().ServeHTTP(w, r)
		return w.Body.String(), w.Header().Get("Content-Type")
	}
	text, _ := serve("text/plain")
	parser := expfmt.NewTextParser(model.UTF8Validation)
	parsed, err := parser.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	if h := parsed["claude_code_lb_time_to_first_token_seconds"]; h.GetType() != dto.MetricType_HISTOGRAM || len(h.GetMetric()[0].GetHistogram().GetBucket()) < 10 {
		t.Errorf("classic buckets: %v", h)
	}
	open, contentType := serve("application/openmetrics-text; version=1.0.0")
	if !strings.HasPrefix(contentType, "application/openmetrics-text") || !strings.HasSuffix(open, "\n# EOF\n") {
		t.Errorf("%s does not end as OpenMetrics requires", contentType)
	}
	if strings.Contains(open, " # {") {
		t.Error("there are exemplars")
	}
	for _, f := range allFamilies().list() {
		if name, counter := strings.CutSuffix(f.name, "_total"); counter && !strings.Contains(open, "# TYPE "+name+" counter\n") {
			t.Errorf("%s does not have the type that OpenMetrics requires", f.name)
		}
	}
	for line := range strings.Lines(open) {
		if line != "# EOF\n" && !strings.HasPrefix(line, "# HELP ") && !strings.HasPrefix(line, "# TYPE ") && !strings.HasPrefix(line, "# UNIT ") && strings.HasPrefix(line, "#") {
			t.Errorf("a comment that is invalid in OpenMetrics: %s", line)
		}
	}
	if h := gather(t, m)["claude_code_lb_time_to_first_token_seconds"].GetMetric()[0].GetHistogram(); len(h.GetPositiveSpan()) == 0 {
		t.Error("no native buckets")
	}
}

func BenchmarkRecord(b *testing.B) {
	m, e := NewMetrics("1"), failoverEntry("key-1", "claude-opus-4-5")
	b.ReportAllocs()
	for b.Loop() {
		m.Record(e)
	}
}
