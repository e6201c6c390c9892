package store

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/ledger"
)

// Dimension is a property by which sums are grouped.
type Dimension string

// The dimensions.
const (
	Day      Dimension = "day"
	Hour     Dimension = "hour"
	Key      Dimension = "key"
	Model    Dimension = "model"
	Upstream Dimension = "upstream"
	Session  Dimension = "session"
)

// Dimensions lists all of them.
func Dimensions() []Dimension { return []Dimension{Day, Hour, Key, Model, Upstream, Session} }

// column returns the dimension's column in the tables of sums.
func (d Dimension) column() string {
	switch d {
	case Key:
		return "client"
	case Upstream:
		return "server"
	default:
		return string(d)
	}
}

// Question is the query of a report.
type Question struct {
	Since, Until time.Time // requests that began in [Since, Until)
	By           []Dimension
	Zone         *time.Location       // of days and hours
	Only         map[Dimension]string // filter by key, model or upstream
}

// Line is the sums of one combination of dimensions.
type Line struct {
	At   []string // values of Question.By
	Sums ledger.Sums
}

// Report sums up the ledger. Lines are ordered by their dimensions. Most of the result comes from
// hourly and daily sums. Rows are read only for partial hours at both ends, if they still exist,
// and for sessions, which have no sums.
func (s *Store) Report(ctx context.Context, q Question) ([]Line, error) {
	a := answer{q: q, lines: map[string]*Line{}}
	if slices.Contains(q.By, Session) {
		err := s.fromRows(ctx, &a, q.Since, q.Until)
		return a.sorted(), err
	}
	p, err := s.plan(ctx, q)
	if err != nil {
		return nil, err
	}
	for _, each := range p.rows {
		if err := s.fromRows(ctx, &a, each.from, each.to); err != nil {
			return nil, err
		}
	}
	for _, each := range p.hours {
		if err := s.fromSums(ctx, &a, "hourly", hour, each); err != nil {
			return nil, err
		}
	}
	for _, each := range p.days {
		if err := s.fromSums(ctx, &a, "daily", day, each); err != nil {
			return nil, err
		}
	}
	return a.sorted(), nil
}

// Spent returns what a client has spent on requests that began in [since, until).
func (s *Store) Spent(ctx context.Context, client string, since, until time.Time) (ledger.Money, error) {
	lines, err := s.Report(ctx, Question{Since: since, Until: until, Zone: time.UTC, Only: map[Dimension]string{Key: client}})
	if err != nil || len(lines) == 0 {
		return 0, err
	}
	return lines[0].Sums.Cost, nil
}

// span is an interval, including from, excluding to.
type span struct{ from, to time.Time }

// plan lists the intervals that are read from rows, hourly and daily sums.
type plan struct{ rows, hours, days []span }

func (p *plan) add(list *[]span, from, to time.Time) {
	if from.Before(to) {
		*list = append(*list, span{from, to})
	}
}

func (s *Store) plan(ctx context.Context, q Question) (plan, error) {
	firstRow, firstHour, err := s.firstTimes(ctx)
	if err != nil {
		return plan{}, err
	}
	return planOf(q, firstRow, firstHour), nil
}

// planOf prefers the coarsest sums. If finer data was deleted, coarser sums count for their whole
// slot.
func planOf(q Question, firstRow, firstHour time.Time) plan {
	var p plan
	since, until := q.Since.UTC(), q.Until.UTC()
	from, to := up(since, hour), until.Truncate(hour)
	switch {
	case !since.Before(until):
		return p
	case from.After(to) && !firstRow.After(since): // within one hour
		p.add(&p.rows, since, until)
		return p
	case from.After(to):
		from, to = since.Truncate(hour), up(until, hour)
	}
	if firstRow.After(since) {
		from = since.Truncate(hour)
	}
	if firstRow.After(to) {
		to = up(until, hour)
	}
	p.add(&p.rows, since, from)
	p.split(q, from, to, firstHour)
	p.add(&p.rows, to, until)
	return p
}

// split divides whole hours between the hourly and the daily sums.
func (p *plan) split(q Question, from, to, firstHour time.Time) {
	first, last := up(from, day), to.Truncate(day)
	if !first.Before(last) {
		first, last = to, to
	}
	if !q.isDaily() { // days before the first hourly sum are still better than nothing
		last = minTime(last, firstHour.Truncate(day))
		if !first.Before(last) {
			first, last = from, from
		}
	}
	p.add(&p.hours, from, first)
	p.add(&p.days, first, last)
	p.add(&p.hours, last, to)
}

// isDaily reports whether daily sums, which are those of UTC, are fine enough.
func (q *Question) isDaily() bool {
	switch {
	case slices.Contains(q.By, Hour):
		return false
	case slices.Contains(q.By, Day):
		_, offset := q.Since.In(q.Zone).Zone()
		_, later := q.Until.In(q.Zone).Zone()
		return offset == 0 && later == 0
	}
	return true
}

func up(t time.Time, unit time.Duration) time.Time {
	if down := t.Truncate(unit); !down.Equal(t) {
		return down.Add(unit)
	}
	return t
}

func minTime(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// firstTimes returns the times of the first row and of the first hourly sum, or a time far in the
// future if there is none. If the oldest sum consists of existing rows only, the first row's time
// is the beginning of time.
func (s *Store) firstTimes(ctx context.Context) (row, hours time.Time, err error) {
	var id, n int64
	if err := s.db.QueryRowContext(ctx, `SELECT COALESCE(MIN(id), 0) FROM requests`).Scan(&id); err != nil {
		return row, hours, err
	}
	if err := s.db.QueryRowContext(ctx, `SELECT COALESCE(MIN(slot), 0) FROM hourly`).Scan(&n); err != nil {
		return row, hours, err
	}
	row, hours = time.UnixMilli(id>>idBits), time.Unix(n*int64(hour/time.Second), 0)
	never := time.Unix(1<<40, 0)
	if id == 0 {
		row = never
	}
	if n == 0 {
		hours = never
	}
	if id == 0 || !row.Truncate(hour).Equal(hours) {
		return row, hours, nil
	}
	var kept, counted int64
	err = s.db.QueryRowContext(ctx, s.rebind(`SELECT (SELECT COUNT(*) FROM requests WHERE id < ?), (SELECT SUM(requests) FROM hourly WHERE slot = ?)`),
		idFloor(hours.Add(hour)), n).Scan(&kept, &counted)
	if err == nil && kept == counted {
		row = time.Time{}
	}
	return row, hours, err
}

// fromRows adds the sums of requests in an interval.
func (s *Store) fromRows(ctx context.Context, a *answer, from, to time.Time) error {
	for e, err := range s.Entries(ctx, from, to) {
		if err != nil {
			return err
		}
		for at, share := range e.Shares() {
			a.add(e.Start, map[Dimension]string{Key: e.Client, Model: at.Model, Upstream: at.Server, Session: e.Session}, &share)
		}
	}
	return nil
}

// fromSums adds an interval of the hourly or daily sums.
func (s *Store) fromSums(ctx context.Context, a *answer, table string, unit time.Duration, over span) error {
	group := []string{"slot"}
	if !slices.Contains(a.q.By, Day) && !slices.Contains(a.q.By, Hour) {
		group[0] = "MIN(slot)"
	}
	var dimensions []Dimension
	for _, d := range a.q.By {
		if d == Key || d == Model || d == Upstream {
			dimensions = append(dimensions, d)
			group = append(group, d.column())
		}
	}
	where, values := "slot >= ? AND slot < ?", []any{over.from.Unix() / int64(unit/time.Second), over.to.Unix() / int64(unit/time.Second)}
	for d, value := range a.q.Only {
		where += " AND " + d.column() + " = ?"
		values = append(values, value)
	}
	statement := `SELECT ` + strings.Join(group, ", ") + ", " + sumNames(", ", s.sum) + ` FROM ` + table + ` WHERE ` + where
	if by := strings.TrimPrefix(strings.TrimPrefix(strings.Join(group, ", "), "MIN(slot)"), ", "); by != "" {
		statement += ` GROUP BY ` + by
	} else {
		statement += ` HAVING COUNT(*) > 0`
	}
	rows, err := s.db.QueryContext(ctx, s.rebind(statement), values...)
	if err != nil {
		return fmt.Errorf("read the %s sums: %w", table, err)
	}
	defer rows.Close()
	for rows.Next() {
		var n int64
		texts := make([]string, len(dimensions))
		var sums ledger.Sums
		into := []any{&n}
		for i := range texts {
			into = append(into, &texts[i])
		}
		for _, f := range sums.Fields() {
			into = append(into, f.Value)
		}
		if err := rows.Scan(into...); err != nil {
			return err
		}
		at := map[Dimension]string{}
		for i, d := range dimensions {
			at[d] = texts[i]
		}
		a.put(time.Unix(n*int64(unit/time.Second), 0), at, &sums)
	}
	return rows.Err()
}

// sum returns the SQL expression for the sum of a column as a whole number.
func (d *dialect) sum(name string) string {
	if d.numbered {
		return "SUM(" + name + ")::bigint"
	}
	return "SUM(" + name + ")"
}

// answer is a report under construction.
type answer struct {
	q     Question
	lines map[string]*Line
}

// add filters and then calls put.
func (a *answer) add(when time.Time, at map[Dimension]string, sums *ledger.Sums) {
	for d, value := range a.q.Only {
		if at[d] != value {
			return
		}
	}
	a.put(when, at, sums)
}

func (a *answer) put(when time.Time, at map[Dimension]string, sums *ledger.Sums) {
	values := make([]string, len(a.q.By))
	for i, d := range a.q.By {
		switch d {
		case Day:
			values[i] = when.In(a.q.Zone).Format(time.DateOnly)
		case Hour:
			values[i] = when.In(a.q.Zone).Format("2006-01-02T15:00Z07:00")
		default:
			values[i] = at[d]
		}
	}
	id := strings.Join(values, "\x00")
	line := a.lines[id]
	if line == nil {
		line = &Line{At: values}
		a.lines[id] = line
	}
	line.Sums.Add(*sums)
}

func (a *answer) sorted() []Line {
	out := make([]Line, 0, len(a.lines))
	for _, line := range a.lines {
		out = append(out, *line)
	}
	slices.SortFunc(out, func(x, y Line) int { return slices.Compare(x.At, y.At) })
	return out
}
