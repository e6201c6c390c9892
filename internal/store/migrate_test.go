package store

import (
	"context"
	"database/sql"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/9bingyin/claude-code-lb/internal/ledger"
)

// TestRowsOfTheFirstVersionAreKept checks the migration that merges the columns into one.
func TestRowsOfTheFirstVersionAreKept(t *testing.T) {
	backends(t, func(t *testing.T, where string) {
		connect := openSQLite
		if IsURL(where) {
			connect = openPostgres
		}
		s, err := connect(t.Context(), where)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		steps := s.migrations
		s.migrations = steps[:1]
		if err := s.migrate(t.Context()); err != nil {
			t.Fatal(err)
		}
		refused := ledger.Entry{ID: "req_lb_2", Start: noon.Add(time.Second), Client: `b"o`, Outcome: ledger.Refused, Status: 429, Reason: "budget"}
		want := []ledger.Entry{sample(noon), refused}
		for i := range want {
			asTheFirstVersion(t, s, int64(i), &want[i])
		}
		s.migrations = steps
		if err := s.migrate(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := all(t, s); !cmp.Equal(want, got, answers) {
			t.Error(cmp.Diff(want, got, answers))
		}
	})
}

// asTheFirstVersion writes an entry into the columns of the first version.
func asTheFirstVersion(t *testing.T, s *Store, n int64, e *ledger.Entry) {
	t.Helper()
	insert := func(into string, width int, values ...any) {
		t.Helper()
		if _, err := s.db.ExecContext(context.Background(), s.rebind(`INSERT INTO `+into+` VALUES `+placeholders(1, width)), values...); err != nil {
			t.Fatal(err)
		}
	}
	id := idFloor(e.Start) | n
	bit := func(b bool) int { return int(flagOf(b)) }
	insert("requests", 21, id, e.ID, e.Start.UnixMilli(), e.Client, e.Session, e.Agent, e.Method, e.Path, e.Model, e.Server(), string(e.Outcome), e.Status, bit(e.Stream),
		string(e.Routed), e.Reason, int64(e.TimeToFirstByte), int64(e.Duration), int64(e.Waited), e.Sent, e.Bytes, []byte(e.Prompt))
	for i := range e.Attempts {
		a := &e.Attempts[i]
		u := a.Answer.Usage
		insert("attempts", 29, id, i, a.Start.UnixMilli(), a.Server, a.Status, a.Scope, a.Reason, a.RequestID, int64(a.TimeToOutcome), int64(a.Duration),
			bit(a.Served), a.Answer.Model, a.Answer.StopReason, u.ServiceTier, bit(a.Known()), bit(a.Estimated),
			u.InputTokens, u.OutputTokens, u.CacheReadTokens, u.CacheCreation5mTokens, u.CacheCreation1hTokens, u.WebSearchRequests,
			bit(a.Cost.Known), int64(a.Cost.Sum), int64(a.Cost.Saved), int64(a.Cost.Wasted), a.ExpectedCached, a.MaxExpectedCached, a.EstimatedInput)
	}
}

// TestRowsCanBeAskedFor runs the queries of the documentation.
func TestRowsCanBeAskedFor(t *testing.T) {
	backends(t, func(t *testing.T, where string) {
		s := open(t, where)
		write(t, s, sample(noon), sample(noon.Add(time.Second)))
		var client string
		var n sql.NullInt64
		if err := s.db.QueryRow(`SELECT entry ->> 'client', COUNT(*) FROM requests GROUP BY 1`).Scan(&client, &n); err != nil || client != "ann" || n.Int64 != 2 {
			t.Errorf("%q %d %v", client, n.Int64, err)
		}
	})
}

// TestRowsOfThePreviousProgramAreRead reads rows without further model calls, dimensions and unpriced.
func TestRowsOfThePreviousProgramAreRead(t *testing.T) {
	backends(t, func(t *testing.T, where string) {
		s := open(t, where)
		const row = `{"request_id":"req_lb_1","time":1777636800000,"client":"ann","method":"POST","path":"/v1/messages","model":"claude-opus-4-5","server":"east","outcome":"answered","status":200,` +
			`"attempts":[{"time":1777636800000,"server":"east","status":200,"scope":"none","served":1,"model":"claude-opus-4-5","known":1,"estimated":1,"input":10,"output":20,"searches":1,"cost":7},` +
			`{"time":1777636800000,"server":"east","status":200,"scope":"none","known":1,"input":1,"priced":1,"cost":5,"saved":2,"wasted":1}]}`
		if _, err := s.db.Exec(s.rebind(`INSERT INTO requests (id, entry) VALUES (?, ?)`), idFloor(noon), row); err != nil {
			t.Fatal(err)
		}
		lines, err := s.Report(t.Context(), Question{Since: noon.Add(-time.Minute), Until: noon.Add(time.Minute), By: []Dimension{Session}, Zone: time.UTC})
		want := ledger.Sums{Requests: 1, Attempts: 2, Failures: 1, Input: 11, Output: 20, Searches: 1, Cost: 12, Saved: 2, Wasted: 1, Unpriced: 1, Estimated: 1}
		if err != nil || len(lines) != 1 || lines[0].Sums != want {
			t.Errorf("%+v, %v", lines, err)
		}
	})
}
