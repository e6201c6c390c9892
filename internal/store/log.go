package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/ledger"
)

const (
	// maxScan and maxScanTime bound the search for one page of the log, so that a filter that matches
	// few requests does not occupy the database.
	maxScan     = 200_000
	maxScanTime = 300 * time.Millisecond
	// maxNameTime bounds the search for a request id.
	maxNameTime = 5 * time.Second
	// scanStep is the number of rows that are searched by one statement.
	scanStep = 10_000
	// MaxLogPage is the largest page of the log.
	MaxLogPage = 1000
)

// LogFilter selects requests. Empty fields match all.
type LogFilter struct {
	Since, Until time.Time // requests that began in [Since, Until)
	Client       string
	Session      string
	RequestID    string
	Model        string // of the request
	Server       string // of the final response
	Outcome      ledger.Outcome
	Failed       bool // outcomes other than answered
}

// LogRow is a request with its id in the ledger. Ids grow with time.
type LogRow struct {
	ID    int64
	Entry *ledger.Entry
}

// LogPage is a part of the log, the newest request first.
type LogPage struct {
	Rows []LogRow
	// Next is the id before which the next page begins, 0 at the end of the log.
	Next int64
	// Partial reports that the search stopped at its limit before the page was full.
	Partial bool
}

// Log returns the requests that match, beginning with the newest one whose id is below before; 0
// means the newest of all. It searches a bounded number of rows for a bounded time: a page may be
// Partial and even empty, although further pages have rows.
func (s *Store) Log(ctx context.Context, f LogFilter, before int64, limit int) (LogPage, error) {
	limit = min(max(limit, 1), MaxLogPage)
	first, last := int64(0), int64(1)<<62
	if !f.Since.IsZero() {
		first = idFloor(f.Since)
	}
	if !f.Until.IsZero() {
		last = idFloor(f.Until)
	}
	if before > 0 {
		last = min(last, before)
	}
	where, args := s.conditions(f)
	var page LogPage
	began := time.Now()
	for scanned := 0; len(page.Rows) < limit; scanned += scanStep {
		if scanned >= maxScan || scanned > 0 && time.Since(began) > maxScanTime {
			page.Next, page.Partial = last, true
			return page, nil
		}
		from, err := s.stepBack(ctx, first, last)
		if err != nil {
			return page, err
		}
		part, err := s.logPage(ctx, where, args, from, last, limit-len(page.Rows))
		if err != nil {
			return page, err
		}
		page.Rows = append(page.Rows, part.Rows...)
		if part.Next > 0 {
			page.Next = part.Next
			return page, nil
		}
		if last = from; last <= first {
			return page, nil
		}
	}
	page.Next = last
	return page, nil
}

// conditions returns the SQL conditions of a filter, each with a leading AND, and their arguments.
func (s *Store) conditions(f LogFilter) (where string, args []any) {
	var b strings.Builder
	for _, c := range [...]struct{ field, value string }{
		{"client", f.Client}, {"session", f.Session}, {"request_id", f.RequestID}, {"model", f.Model}, {"server", f.Server}, {"outcome", string(f.Outcome)},
	} {
		if c.value != "" {
			fmt.Fprintf(&b, " AND %s = ?", s.field(c.field))
			args = append(args, c.value)
		}
	}
	if f.Failed {
		fmt.Fprintf(&b, " AND %s <> 'answered'", s.field("outcome"))
	}
	return b.String(), args
}

// field returns the SQL expression for a field of a request. There are no indexes of such expressions:
// three of them cost 19 µs per written request, a third of what the balancer needs for a small one.
func (d *dialect) field(name string) string {
	if d.numbered {
		return "(entry ->> '" + name + "')"
	}
	return "json_extract(entry, '$." + name + "')"
}

// stepBack returns the id at which the scanStep rows before last begin, at least first.
func (s *Store) stepBack(ctx context.Context, first, last int64) (int64, error) {
	var from int64
	err := s.db.QueryRowContext(ctx, s.rebind(`SELECT id FROM requests WHERE id >= ? AND id < ? ORDER BY id DESC LIMIT 1 OFFSET ?`), first, last, scanStep-1).Scan(&from)
	if errors.Is(err, sql.ErrNoRows) {
		return first, nil
	}
	return from, err
}

// logPage returns the newest matching rows with ids from first, below last. Next is 0 if there are no
// others in that range.
func (s *Store) logPage(ctx context.Context, where string, args []any, first, last int64, limit int) (LogPage, error) {
	var page LogPage
	query := `SELECT id, entry, prompt FROM requests WHERE id >= ? AND id < ?` + where + ` ORDER BY id DESC LIMIT ?`
	all := append(append([]any{first, last}, args...), limit+1)
	rows, err := s.db.QueryContext(ctx, s.rebind(query), all...)
	if err != nil {
		return page, err
	}
	defer rows.Close()
	for rows.Next() {
		row, err := scanLogRow(rows)
		if err != nil {
			return page, err
		}
		if len(page.Rows) == limit {
			page.Next = page.Rows[limit-1].ID
			break
		}
		page.Rows = append(page.Rows, row)
	}
	return page, rows.Err()
}

// RequestByName returns one request by its request id, such as req_lb_…, or nil if there is none. It
// searches the newest requests first, for maxNameTime at most: complete is false if older ones are left.
func (s *Store) RequestByName(ctx context.Context, name string) (row *LogRow, complete bool, err error) {
	began := time.Now()
	for before := int64(0); ; {
		page, err := s.Log(ctx, LogFilter{RequestID: name}, before, 1)
		switch {
		case err != nil:
			return nil, false, err
		case len(page.Rows) > 0:
			return &page.Rows[0], true, nil
		case page.Next == 0:
			return nil, true, nil
		case time.Since(began) > maxNameTime:
			return nil, false, nil
		}
		before = page.Next
	}
}

// Request returns one request by its id in the ledger, or nil if there is none.
func (s *Store) Request(ctx context.Context, id int64) (*LogRow, error) {
	rows, err := s.db.QueryContext(ctx, s.rebind(`SELECT id, entry, prompt FROM requests WHERE id = ?`), id)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	if !rows.Next() {
		return nil, rows.Err()
	}
	row, err := scanLogRow(rows)
	return &row, err
}

func scanLogRow(rows *sql.Rows) (LogRow, error) {
	var row LogRow
	var written sql.RawBytes
	var prompt []byte
	if err := rows.Scan(&row.ID, &written, &prompt); err != nil {
		return row, err
	}
	e, err := decode(written, prompt)
	if err != nil {
		return row, fmt.Errorf("request %d of the ledger: %w", row.ID, err)
	}
	row.Entry = e
	return row, nil
}
