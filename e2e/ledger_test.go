package e2e

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib"

	"github.com/9bingyin/claude-code-lb/internal/fakeclaude"
	"github.com/9bingyin/claude-code-lb/internal/fakeclaude/fault"
)

// sums are the figures of a report that a simulated upstream also has.
type sums struct {
	Requests      int64       `json:"requests"`
	Errors        int64       `json:"errors"`
	Attempts      int64       `json:"attempts"`
	Input         int64       `json:"input_tokens"`
	Output        int64       `json:"output_tokens"`
	CacheRead     int64       `json:"cache_read_tokens"`
	CacheCreation int64       `json:"cache_creation_tokens"`
	Cost          json.Number `json:"cost_usd"`
	Saved         json.Number `json:"saved_usd"`

	Upstream, Session, Key string
}

type ledgerReport struct {
	Rows  []sums `json:"rows"`
	Total sums   `json:"total"`
}

// reported runs the report command, while the balancer runs, until the given number of requests is
// in the ledger.
func reported(t *testing.T, file string, requests int64, args ...string) ledgerReport {
	t.Helper()
	var r ledgerReport
	eventually(t, "all requests are in the ledger", func() bool {
		got := run(t, invocation{args: append([]string{"report", "-c", file, "-format", "json", "-tz", "UTC"}, args...)})
		r = ledgerReport{}
		return got.status == 0 && json.Unmarshal([]byte(got.stdout), &r) == nil && r.Total.Requests >= requests
	})
	return r
}

// ledgers runs a test with both kinds of ledger.
func ledgers(t *testing.T, test func(t *testing.T, cfg object) object) {
	t.Run("SQLite", func(t *testing.T) {
		t.Parallel()
		test(t, object{})
	})
	t.Run("PostgreSQL", func(t *testing.T) {
		t.Parallel()
		test(t, object{"ledger": newDatabase(t)})
	})
}

// newDatabase creates an empty database on the PostgreSQL server of the test command.
func newDatabase(t *testing.T) string {
	t.Helper()
	server := os.Getenv("TEST_POSTGRES")
	if server == "" {
		t.Skip("SKIPPED: no PostgreSQL server: go run ./tools/test starts one")
	}
	admin, err := sql.Open("pgx", server)
	if err != nil {
		t.Fatal(err)
	}
	name := "e2e_" + strings.ToLower(rand.Text()[:12])
	if _, err := admin.Exec("CREATE DATABASE " + name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_, _ = admin.Exec("DROP DATABASE " + name + " WITH (FORCE)")
		admin.Close()
	})
	u, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	u.Path = name
	return u.String()
}

func TestTheLedgerAgreesWithTheUpstreams(t *testing.T) {
	t.Parallel()
	ledgers(t, func(t *testing.T, cfg object) object {
		fakes := newFakes(t, "a", "b")
		for name, value := range costAware(fakes...) {
			cfg[name] = value
		}
		b := start(t, cfg)
		all := dialogues(b, 3)
		hold(t, 4, 2500, all)
		r := reported(t, b.file, 12, "-by", "upstream,session")
		var served fakeclaude.TokenStats
		for _, f := range fakes {
			s := f.finalStats(b).Tokens
			served.Input += s.Input
			served.Output += s.Output
			served.CacheRead += s.CacheRead
			served.CacheCreation5m += s.CacheCreation5m
			served.CacheCreation1h += s.CacheCreation1h
		}
		got := fakeclaude.TokenStats{Input: r.Total.Input, Output: r.Total.Output, CacheRead: r.Total.CacheRead, CacheCreation5m: r.Total.CacheCreation}
		if got != served || served.CacheRead == 0 {
			t.Errorf("%+v, but served were %+v", got, served)
		}
		if cost, err := r.Total.Cost.Float64(); err != nil || cost <= 0 {
			t.Errorf("cost %s", r.Total.Cost)
		}
		if saved, err := r.Total.Saved.Float64(); err != nil || saved <= 0 {
			t.Errorf("saved %s", r.Total.Saved)
		}
		byDay := reported(t, b.file, 12)
		if len(byDay.Rows) == 0 || byDay.Total.Output != served.Output || byDay.Total.Cost != r.Total.Cost {
			t.Errorf("by day: %+v", byDay)
		}
		return cfg
	})
}

func TestTheLedgerIsALaptopsOwn(t *testing.T) {
	t.Parallel()
	unixOnly(t, "modes of files")
	b := start(t, balanced("round_robin", newFake(t, "a").entry()))
	b.mustServe(false)
	reported(t, b.file, 1)
	for _, name := range []string{"ledger.db", "ledger.db-wal"} {
		info, err := os.Stat(filepath.Join(strings.TrimSuffix(b.file, ".json")+".state", name))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%v, %v", info, err)
		}
	}
}

func TestNoLedgerWhereNoneIsWanted(t *testing.T) {
	t.Parallel()
	b := start(t, balanced("round_robin", newFake(t, "a").entry()).with("ledger", "off"))
	b.mustServe(false)
	if got := run(t, invocation{args: []string{"report", "-c", b.file}}); got.status != 1 || !strings.Contains(got.stderr, "keeps no ledger") {
		t.Errorf("%+v", got)
	}
}

// TestADeadDatabaseDisturbsNobody has a ledger at an address without a server.
func TestADeadDatabaseDisturbsNobody(t *testing.T) {
	t.Parallel()
	const secret = "opensesame"
	b := start(t, balanced("round_robin", newFake(t, "a").entry()).with("ledger", "postgres://me:"+secret+"@127.0.0.1:1/none"))
	for range 3 {
		b.mustServe(true)
	}
	b.waitLog("ledger not written; rows kept in memory", nil)
	b.awaitRecords()
	if strings.Contains(b.log.String(), secret) {
		t.Error("the log shows the database's password")
	}
	if got := run(t, invocation{args: []string{"report", "-c", b.file}}); got.status != 1 || strings.Contains(got.stderr, secret) {
		t.Errorf("%+v", got)
	}
}

// TestADeadDatabaseLosesNothing stops a balancer while its database is down. The next instance has
// another ledger, and still knows the spending.
func TestADeadDatabaseLosesNothing(t *testing.T) {
	t.Parallel()
	f := newFake(t, "a")
	cfg := keyed(f, object{"name": "ann", "key": "k", "budget_usd": object{"total": 100}})
	file := filepath.Join(t.TempDir(), "config.json")
	writeConfig(t, file, cfg.with("ledger", "postgres://me:opensesame@127.0.0.1:1/none"))
	b := startFile(t, file)
	for range 3 {
		b.askAs("k", model, false)
	}
	waits := func(where string) {
		t.Helper()
		eventually(t, "a report says that requests wait "+where, func() bool {
			got := run(t, invocation{args: []string{"report", "-c", file}})
			return strings.Contains(got.stderr, "3 requests wait "+where) && !strings.Contains(got.stdout+got.stderr, "opensesame")
		})
	}
	eventually(t, "the requests wait in memory", func() bool { return strings.Contains(string(b.get("/health").body), `"ledger_waiting":3`) })
	b.awaitRecords()
	spent := b.spent("ann")
	b.signal(os.Interrupt)
	b.exitStatus()
	waits("in " + strings.TrimSuffix(file, ".json") + ".state")
	writeConfig(t, file, cfg)
	again := startFile(t, file)
	if now := again.spent("ann"); spent == 0 || now != spent {
		t.Errorf("%v spent, then %v", spent, now)
	}
	if r := reported(t, file, 3); r.Total.Requests != 3 {
		t.Errorf("%+v", r.Total)
	}
}

// spent returns a key's spending of its only budget.
func (b *balancer) spent(name string) float64 {
	b.t.Helper()
	_, listed := b.admin(http.MethodGet, "/admin/api/keys", "")
	for _, key := range listed["keys"].([]any) {
		if key := key.(map[string]any); key["name"] == name {
			return key["budgets"].([]any)[0].(map[string]any)["spent_usd"].(float64)
		}
	}
	b.t.Fatalf("no key %s in %v", name, listed)
	return 0
}

func TestReportRefusesWhatItCannotUnderstand(t *testing.T) {
	t.Parallel()
	b := start(t, balanced("round_robin", newFake(t, "a").entry()))
	f := func(status int, complaint string, args ...string) {
		t.Helper()
		got := run(t, invocation{args: append([]string{"report", "-c", b.file}, args...)})
		if got.status != status || !strings.Contains(got.stderr, complaint) {
			t.Errorf("%v: %+v", args, got)
		}
	}
	f(2, "-by weekday", "-by", "weekday")
	f(2, "-since tomorrow", "-since", "tomorrow")
	f(2, "-since must be before the end", "-since", "1h", "-until", "2h")
	f(2, "-format xml", "-format", "xml")
	f(2, "-zone Mars", "-tz", "Mars")
	if got := run(t, invocation{args: []string{"report", "-c", filepath.Join(t.TempDir(), "none.json")}}); got.status != 1 || !strings.Contains(got.stderr, "there is no configuration file") {
		t.Errorf("%+v", got)
	}
}

// TestTheHistoryCanBeSimulated exports conversations from the ledger and replays them.
func TestTheHistoryCanBeSimulated(t *testing.T) {
	t.Parallel()
	fakes := newFakes(t, "a", "b")
	b := start(t, costAware(fakes...))
	hold(t, 5, 2500, dialogues(b, 4))
	reported(t, b.file, 20)
	trace := filepath.Join(t.TempDir(), "day.jsonl.gz")
	if got := run(t, invocation{args: []string{"export-trace", "-c", b.file, "-o", trace}}); got.status != 0 || !strings.Contains(got.stderr, "20 requests") {
		t.Fatalf("%+v", got)
	}
	got := run(t, invocation{args: []string{"simulate", "-trace", trace, "-accounts", "2", "-policy", "cost_aware,round_robin", "-format", "json"}})
	if got.status != 0 || !strings.Contains(got.stdout, "cost_aware") {
		t.Fatalf("%+v", got)
	}
	plain := run(t, invocation{args: []string{"export-trace", "-c", b.file}})
	for _, word := range []string{"dialogue", "word", "turn", b.url} {
		if strings.Contains(plain.stdout, word) {
			t.Errorf("the trace says %q:\n%s", word, plain.stdout)
		}
	}
}

// TestABalanceThatFallsTooFastIsNamed has an upstream that takes more than the ledger has.
func TestABalanceThatFallsTooFastIsNamed(t *testing.T) {
	t.Parallel()
	unixOnly(t, "a command that counts")
	counter := filepath.Join(t.TempDir(), "count")
	command := "n=$(cat " + counter + " 2>/dev/null || echo 100); echo $((n-1)) > " + counter + "; echo $n"
	greedy := newFake(t, "greedy").entry().with("balance_check", command).with("balance_check_interval", "100ms")
	b := start(t, balanced("round_robin", greedy))
	b.mustServe(false)
	eventually(t, "the drift is named", func() bool {
		got := run(t, invocation{args: []string{"report", "-reconcile", "-c", b.file}})
		return got.status == 1 && strings.Contains(got.stdout, "greedy") && strings.Contains(got.stdout, "DIFFERS")
	})
}

// TestKilledBalancerKeepsItsLedger kills the program as kill -9 does. Rows that a report has
// contained are in the ledger afterwards.
func TestKilledBalancerKeepsItsLedger(t *testing.T) {
	t.Parallel()
	unixOnly(t, "kill -9")
	b := start(t, balanced("round_robin", newFake(t, "a").entry()))
	for range 20 {
		b.mustServe(false)
	}
	before := reported(t, b.file, 20)
	b.signal(syscall.SIGKILL)
	eventually(t, "it is dead", func() bool { return !b.running() })
	again := startFile(t, b.file)
	again.mustServe(false)
	after := reported(t, b.file, 21)
	if after.Total.Requests != 21 || after.Total.Output <= before.Total.Output {
		t.Errorf("%+v, then %+v", before.Total, after.Total)
	}
}

// TestTwoBalancersShareALedger has two balancers with one database.
func TestTwoBalancersShareALedger(t *testing.T) {
	t.Parallel()
	cfg := balanced("round_robin", newFake(t, "a").entry()).with("ledger", newDatabase(t))
	one, two := start(t, cfg), start(t, cfg)
	for range 5 {
		one.mustServe(true)
		two.mustServe(false)
	}
	r := reported(t, one.file, 10, "-by", "key")
	if r.Total.Requests != 10 || !slices.ContainsFunc(r.Rows, func(s sums) bool { return s.Requests == 10 }) {
		t.Errorf("%+v", r)
	}
	db, err := sql.Open("pgx", cfg["ledger"].(string))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var rows int
	if err := db.QueryRowContext(context.Background(), "SELECT COUNT(*) FROM requests").Scan(&rows); err != nil || rows != 10 {
		t.Errorf("%d rows, %v", rows, err)
	}
}

// TestTheLogIsReadThroughTheAdminAPI finds each request of both ledgers, while the balancer runs.
func TestTheLogIsReadThroughTheAdminAPI(t *testing.T) {
	t.Parallel()
	ledgers(t, func(t *testing.T, cfg object) object {
		f, g := newFake(t, "a"), newFake(t, "b")
		f.fails(fault.Fault{Kind: fault.Status, Status: 529})
		for name, value := range fallback(f.entry(), g.entry()) {
			cfg[name] = value
		}
		b := start(t, cfg)
		for range 3 {
			b.mustServe(true, f, g)
		}
		reported(t, b.file, 3)
		_, page := b.admin(http.MethodGet, "/admin/api/log?limit=2", "")
		rows, _ := page["requests"].([]any)
		if len(rows) != 2 || page["next"] == nil {
			t.Fatalf("%v", page)
		}
		row := rows[0].(map[string]any)
		for _, id := range []string{row["id"].(string), row["request_id"].(string)} {
			status, one := b.admin(http.MethodGet, "/admin/api/log/"+id, "")
			if status != http.StatusOK || one["request_id"] != row["request_id"] || len(one["each_attempt"].([]any)) == 0 {
				t.Errorf("%s: %d %v", id, status, one)
			}
		}
		failed := page["next"].(string)
		_, oldest := b.admin(http.MethodGet, "/admin/api/log?limit=1&before="+failed, "")
		_, detail := b.admin(http.MethodGet, "/admin/api/log/"+oldest["requests"].([]any)[0].(map[string]any)["id"].(string), "")
		if steps := detail["steps"].([]any); len(steps) < 2 || steps[0].(map[string]any)["kind"] != "attempt" {
			t.Errorf("steps of a failover: %v", detail["steps"])
		}
		_, sums := b.admin(http.MethodGet, "/admin/api/report?by=upstream", "")
		if total, _ := sums["total"].(map[string]any); total["requests"] != 3.0 {
			t.Errorf("%v", sums)
		}
		return cfg
	})
}
