package store

import (
	"context"
	"crypto/rand"
	"database/sql"
	"fmt"
	"math"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/9bingyin/claude-code-lb/internal/claude"
	"github.com/9bingyin/claude-code-lb/internal/ledger"
)

// backends runs a test with every database, each time with a new ledger. open may be called several
// times.
func backends(t *testing.T, test func(t *testing.T, where string)) {
	t.Run("SQLite", func(t *testing.T) { test(t, filepath.Join(t.TempDir(), "a?b#c%20d", "ledger.db")) })
	t.Run("PostgreSQL", func(t *testing.T) { test(t, newDatabase(t)) })
}

// newDatabase creates an empty database for one test.
func newDatabase(t *testing.T) string {
	t.Helper()
	server := os.Getenv("TEST_POSTGRES")
	if server == "" {
		t.Skip("no PostgreSQL server: go run ./tools/test starts one")
	}
	admin, err := sql.Open("pgx", server)
	if err != nil {
		t.Fatal(err)
	}
	name := "ledger_" + strings.ToLower(rand.Text()[:12])
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

func open(t *testing.T, where string) *Store {
	t.Helper()
	s, err := Open(t.Context(), where)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// noon is the reference time of the tests.
var noon = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

// sample returns a request that one server refused and another one answered.
func sample(at time.Time) ledger.Entry {
	return ledger.Entry{
		ID: "req_lb_1", Start: at, Client: "ann", Session: "s1", Agent: "a1", Method: "POST", Path: "/v1/messages", Model: "claude-opus-4-5", Stream: true, Sent: 4096,
		Status: 200, Outcome: ledger.Answered, TimeToFirstByte: 300 * time.Millisecond, Duration: 2 * time.Second, Waited: time.Millisecond, Bytes: 900,
		Routed: ledger.Warm, Prompt: ledger.OutlineOf(&claude.Prompt{System: claude.Boundary{Fingerprint: 1 << 63, Bytes: 70}}),
		Attempts: []ledger.Attempt{
			{Server: "west", Status: 529, Scope: "capacity", Reason: "status 529 overloaded_error", RequestID: "req_1", Start: at, TimeToOutcome: time.Millisecond, Duration: time.Millisecond},
			{
				Server: "east", Status: 200, Scope: "none", RequestID: "req_2", Start: at.Add(time.Millisecond), TimeToOutcome: 299 * time.Millisecond, Duration: 1999 * time.Millisecond,
				Served: true, ExpectedCached: 5000, MaxExpectedCached: 6000, EstimatedInput: 10_000,
				Answer: claude.Message{
					Started: true, Delta: true, Model: "claude-opus-4-5-20251101", StopReason: "end_turn",
					Usage: claude.Usage{InputTokens: 10, OutputTokens: 20, CacheReadTokens: 9000, CacheCreation5mTokens: 30, CacheCreation1hTokens: 40, WebSearchRequests: 1, ServiceTier: "standard"},
				},
				Cost: ledger.Cost{Sum: 1_000_000_007, Saved: 50, Wasted: 7, Known: true},
			},
		},
	}
}

// rich returns a request whose response has all dimensions of a price, and calls of further models.
func rich(at time.Time) ledger.Entry {
	e := sample(at)
	a := &e.Attempts[1]
	a.Answer.Usage.Speed, a.Answer.Usage.InferenceGeo, a.Answer.Usage.CodeRequests, a.Answer.Usage.OtherToolRequests = "fast", "us", 3, 4
	a.Answer.Delta, a.Estimated = false, true
	a.Answer.Iterations = []claude.Iteration{{Type: claude.IterationFallback}}
	a.Cost.Known, a.Cost.Unpriced = false, "speed turbo"
	a.Extra = []ledger.Extra{
		{Type: "advisor_message", Model: "claude-opus-4-8", Sum: 500_000_003, Usage: claude.Usage{
			InputTokens: 1, OutputTokens: 2, CacheReadTokens: 3, CacheCreation5mTokens: 4, CacheCreation1hTokens: 5, ServiceTier: "batch", Speed: "standard", InferenceGeo: "us",
		}},
		{Type: "compaction", Model: e.Model, Sum: 4, Usage: claude.Usage{InputTokens: 7, WebSearchRequests: 1}},
	}
	e.Steps = []ledger.Step{
		{Kind: ledger.StepSkipped, At: time.Millisecond, Server: "b", State: "rate_limited", Ready: 12 * time.Second, Reason: "status 429"},
		{Kind: ledger.StepWait, Took: 250 * time.Millisecond},
		{Kind: ledger.StepChoice, Candidates: []ledger.Candidate{{Server: "a", Result: "chosen", Cached: 3, Score: -1.25}, {Server: "b", Result: "unfit", State: "rate_limited"}}},
	}
	return e
}

// answers ignores the state of a running stream when messages are compared.
var answers = cmpopts.IgnoreUnexported(claude.Message{})

// write appends entries in one batch.
func write(t *testing.T, s *Store, entries ...ledger.Entry) {
	t.Helper()
	if err := s.append(t.Context(), batchOf(newNumbering(), entries...)); err != nil {
		t.Fatal(err)
	}
}

func batchOf(ids *numbering, entries ...ledger.Entry) *batch {
	sums, rows := tally{}, []row(nil)
	for i := range entries {
		sums.add(&entries[i], &unknownModels{})
		rows = append(rows, row{ids.next(entries[i].Start), string(appendEntry(nil, &entries[i])), entries[i].Prompt})
	}
	return newBatch(rows, sums)
}

func TestEntriesComeBackAsTheyWere(t *testing.T) {
	backends(t, func(t *testing.T, where string) {
		s := open(t, where)
		bare := ledger.Entry{ID: "req_lb_2", Start: noon.Add(time.Second), Client: "bob", Outcome: ledger.Refused, Status: 429, Reason: "budget"}
		torn := sample(noon.Add(2 * time.Second))
		torn.Attempts[1].Answer.Delta, torn.Attempts[1].Estimated = false, true
		want := []ledger.Entry{sample(noon), bare, torn, rich(noon.Add(3 * time.Second))}
		write(t, s, want...)
		if got := all(t, s); !cmp.Equal(want, got, answers) {
			t.Error(cmp.Diff(want, got, answers))
		}
	})
}

func all(t *testing.T, s *Store) []ledger.Entry {
	t.Helper()
	var got []ledger.Entry
	for e, err := range s.Entries(t.Context(), time.Time{}, noon.Add(1000*day)) {
		if err != nil {
			t.Fatal(err)
		}
		e.Start = e.Start.UTC()
		for i := range e.Attempts {
			e.Attempts[i].Start = e.Attempts[i].Start.UTC()
		}
		got = append(got, *e)
	}
	return got
}

func TestHostileTextIsKeptAsFarAsItCanBe(t *testing.T) {
	backends(t, func(t *testing.T, where string) {
		s := open(t, where)
		e := sample(noon)
		e.Model, e.Session, e.Path = "a\x00b\xff'; DROP TABLE requests; --", strings.Repeat("ü", 400), "/v1/\x00"
		write(t, s, e)
		got := all(t, s)
		if len(got) != 1 || got[0].Model != "a�b�'; DROP TABLE requests; --" || len(got[0].Session) > longestText+2 {
			t.Errorf("%+v", got)
		}
	})
}

func TestABatchIsWrittenOnce(t *testing.T) {
	backends(t, func(t *testing.T, where string) {
		s := open(t, where)
		b := batchOf(newNumbering(), sample(noon), sample(noon))
		for range 3 {
			if err := s.append(t.Context(), b); err != nil {
				t.Fatal(err)
			}
		}
		if n := len(all(t, s)); n != 2 {
			t.Errorf("%d rows", n)
		}
		if total := totalOf(t, s, Question{Since: noon.Add(-day), Until: noon.Add(day)}); total.Requests != 2 || total.Cost != 2*1_000_000_007 {
			t.Errorf("%+v", total)
		}
	})
}

// totalOf returns a report without dimensions.
func totalOf(t *testing.T, s *Store, q Question) ledger.Sums {
	t.Helper()
	q.Zone = time.UTC
	lines, err := s.Report(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	var sums ledger.Sums
	for _, line := range lines {
		sums.Add(line.Sums)
	}
	return sums
}

func TestSeveralWritersAddUp(t *testing.T) {
	backends(t, func(t *testing.T, where string) {
		const writers, batches, size = 4, 5, 20
		var wg sync.WaitGroup
		for range writers {
			s := open(t, where)
			wg.Go(func() {
				ids := newNumbering()
				for i := range batches {
					var entries []ledger.Entry
					for k := range size {
						e := sample(noon.Add(time.Duration(i*size+k) * time.Minute))
						e.Client = fmt.Sprint("client-", k%3)
						entries = append(entries, e)
					}
					if err := s.append(context.Background(), batchOf(ids, entries...)); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		s := open(t, where)
		total := totalOf(t, s, Question{Since: noon.Add(-day), Until: noon.Add(day)})
		if want := int64(writers * batches * size); total.Requests != want || total.Attempts != 2*want || total.Output != 20*want || total.Cost != ledger.Money(want)*1_000_000_007 {
			t.Errorf("%+v", total)
		}
		if n := len(all(t, s)); n != writers*batches*size {
			t.Errorf("%d rows", n)
		}
	})
}

// TestReportsAddUp compares every kind of query with a plain count over all entries.
func TestReportsAddUp(t *testing.T) {
	backends(t, func(t *testing.T, where string) {
		s := open(t, where)
		var entries []ledger.Entry
		for i := range 400 {
			e := sample(noon.Add(time.Duration(i) * 37 * time.Minute)) // ten days
			if i%5 == 0 {
				e = rich(e.Start)
			}
			e.Client, e.Model, e.Session = fmt.Sprint("client-", i%3), []string{"claude-opus-4-5", "claude-sonnet-5"}[i%2], fmt.Sprint("session-", i%7)
			e.Attempts[1].Server = fmt.Sprint("server-", i%4)
			entries = append(entries, e)
		}
		write(t, s, entries...)
		berlin := time.FixedZone("berlin", 2*3600)
		for _, by := range [][]Dimension{nil, {Day}, {Hour}, {Key}, {Model, Upstream}, {Day, Key}, {Session}, {Hour, Session, Upstream}} {
			for _, edges := range [][2]time.Duration{{0, 400 * time.Hour}, {17 * time.Minute, 99*time.Hour + 3*time.Minute}, {61 * time.Minute, 62 * time.Minute}, {5 * time.Minute, 100 * time.Minute}, {30 * time.Hour, 30 * time.Hour}} {
				for _, zone := range []*time.Location{time.UTC, berlin} {
					q := Question{Since: noon.Add(edges[0]), Until: noon.Add(edges[1]), By: by, Zone: zone}
					got, err := s.Report(t.Context(), q)
					if err != nil {
						t.Fatal(err)
					}
					if want := counted(entries, q); !cmp.Equal(want, got) {
						t.Errorf("%v from %s to %s in %s: %s", by, edges[0], edges[1], zone, cmp.Diff(want, got))
					}
				}
			}
		}
		spent, err := s.Spent(t.Context(), "client-1", noon.Add(time.Hour), noon.Add(400*hour))
		if want := ledger.Money(133-1) * 1_000_000_007; err != nil || spent != want {
			t.Errorf("spent %d, %v, want %d", spent, err, want)
		}
	})
}

func counted(entries []ledger.Entry, q Question) []Line {
	a := answer{q: q, lines: map[string]*Line{}}
	for i := range entries {
		e := &entries[i]
		if e.Start.Before(q.Since) || !e.Start.Before(q.Until) {
			continue
		}
		for at, share := range e.Shares() {
			a.add(e.Start, map[Dimension]string{Key: e.Client, Model: at.Model, Upstream: at.Server, Session: e.Session}, &share)
		}
	}
	return a.sorted()
}

func TestSumsOutliveRows(t *testing.T) {
	backends(t, func(t *testing.T, where string) {
		s := open(t, where)
		var entries []ledger.Entry
		for i := range 100 {
			entries = append(entries, sample(noon.Add(time.Duration(i)*time.Hour+time.Minute)))
		}
		old := sample(noon.Add(-500 * day))
		write(t, s, append(entries, old)...)
		now := noon.Add(100 * time.Hour)
		deleted, err := s.Prune(t.Context(), Bounds{Age: 10 * time.Hour}, now)
		if err != nil || deleted != 91 {
			t.Errorf("deleted %d, %v", deleted, err)
		}
		if n := len(all(t, s)); n != 10 {
			t.Errorf("%d rows left", n)
		}
		for _, by := range [][]Dimension{nil, {Day}, {Key}} {
			if total := totalOf(t, s, Question{Since: noon.Add(-1000 * day), Until: now, By: by}); total.Requests != 101 || total.Output != 101*20 {
				t.Errorf("%v: %+v", by, total)
			}
		}
		// An hour whose rows are deleted counts in full.
		if total := totalOf(t, s, Question{Since: noon.Add(30*time.Hour + 30*time.Minute), Until: now}); total.Requests != 70 {
			t.Errorf("%+v", total)
		}
	})
}

func TestTheLedgerStaysBelowItsSize(t *testing.T) {
	backends(t, func(t *testing.T, where string) {
		s := open(t, where)
		for i := range 30 {
			var entries []ledger.Entry
			for k := range 250 {
				entries = append(entries, sample(noon.Add(time.Duration(i*250+k)*time.Second)))
			}
			write(t, s, entries...)
		}
		if s.numbered {
			if _, err := s.db.Exec(`ANALYZE`); err != nil {
				t.Fatal(err)
			}
		}
		const limit = 4 << 20
		if size, err := s.size(t.Context(), s.db); err != nil || size < limit {
			t.Fatalf("%d bytes, %v: too little to test with", size, err)
		}
		deleted, err := s.Prune(t.Context(), Bounds{Size: limit}, noon)
		if err != nil || deleted == 0 {
			t.Fatalf("deleted %d, %v", deleted, err)
		}
		rest := all(t, s)
		if len(rest) == 0 && !s.numbered || len(rest) > 6000 {
			t.Errorf("%d rows left", len(rest))
		}
		if len(rest) > 0 && rest[len(rest)-1].Start.Before(noon.Add(7499*time.Second)) {
			t.Error("it is not the oldest that were deleted")
		}
		if total := totalOf(t, s, Question{Since: noon.Add(-day), Until: noon.Add(10 * day)}); total.Requests != 7500 {
			t.Errorf("%+v", total)
		}
	})
}

func TestReconcile(t *testing.T) {
	backends(t, func(t *testing.T, where string) {
		s := open(t, where)
		add := func(minutes int, value float64) {
			t.Helper()
			if err := s.AddReading(t.Context(), Reading{"east", noon.Add(time.Duration(minutes) * time.Minute), value}); err != nil {
				t.Fatal(err)
			}
		}
		write(t, s, sample(noon.Add(time.Minute)), sample(noon.Add(6*time.Minute)), sample(noon.Add(11*time.Minute)), sample(noon.Add(16*time.Minute)))
		add(0, 10)
		add(5, 9)  // one was spent
		add(10, 8) // one was spent
		add(15, 20)
		add(20, 15) // one was spent, five are gone
		got, err := s.Reconcile(t.Context(), noon.Add(-time.Hour), noon.Add(time.Hour))
		if err != nil || len(got) != 1 {
			t.Fatalf("%+v, %v", got, err)
		}
		r := got[0]
		if r.Readings != 5 || r.Lost != 7 || r.Spent != 3*1_000_000_007 || r.Raised != 12 || math.Abs(r.Drift()-4.0/3) > 0.001 || !r.Drifts() {
			t.Errorf("%+v, drift %g", r, r.Drift())
		}
		honest := Reconciliation{Lost: 3.01, Spent: 3e9}
		if honest.Drifts() {
			t.Error("a third of a percent is no drift")
		}
	})
}

func TestANewerLedgerIsLeftAlone(t *testing.T) {
	backends(t, func(t *testing.T, where string) {
		s := open(t, where)
		if _, err := s.db.Exec(s.rebind(`INSERT INTO ledger_version (version, applied) VALUES (?, 0)`), 99); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(t.Context(), where); err == nil || !strings.Contains(err.Error(), "version 99") {
			t.Errorf("%v", err)
		}
	})
}

func TestManyOpenAtOnce(t *testing.T) {
	backends(t, func(t *testing.T, where string) {
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				s, err := Open(t.Context(), where)
				if err != nil {
					t.Error(err)
					return
				}
				s.Close()
			})
		}
		wg.Wait()
	})
}

// TestTheFirstHourIsExact queries parts of the first hour of a ledger.
func TestTheFirstHourIsExact(t *testing.T) {
	backends(t, func(t *testing.T, where string) {
		s := open(t, where)
		ids := newNumbering()
		first, second := sample(noon.Add(10*time.Minute)), sample(noon.Add(20*time.Minute))
		if err := s.append(t.Context(), batchOf(ids, first, second)); err != nil {
			t.Fatal(err)
		}
		f := func(since, until time.Duration, want int64) {
			t.Helper()
			lines, err := s.Report(t.Context(), Question{Since: noon.Add(since), Until: noon.Add(until), Zone: time.UTC})
			var got int64
			for _, each := range lines {
				got += each.Sums.Requests
			}
			if err != nil || got != want {
				t.Errorf("from %s to %s: %d, %v, want %d", since, until, got, err, want)
			}
		}
		f(-24*time.Hour, 15*time.Minute, 1)
		f(5*time.Minute, 15*time.Minute, 1)
		f(15*time.Minute, 24*time.Hour, 1)
		f(-24*time.Hour, 5*time.Minute, 0)
		f(-24*time.Hour, 24*time.Hour, 2)
		if _, err := s.deleteBefore(t.Context(), idFloor(noon.Add(15*time.Minute))); err != nil {
			t.Fatal(err)
		}
		f(-24*time.Hour, 24*time.Hour, 2) // the sums outlive the row
	})
}
