package store

import (
	"context"
	"crypto/rand"
	"database/sql"
	"time"
)

// batch is what is written in one step: rows and the sums that they, and entries that have no rows any more, add up to.
type batch struct {
	id   string // the same however often it is tried
	rows []row
	sums tally
}

func newBatch(rows []row, sums tally) *batch { return &batch{id: rand.Text(), rows: rows, sums: sums} }

// append writes a batch, or does nothing if it has been written before. All of it is there afterwards, or nothing.
func (s *Store) append(ctx context.Context, b *batch) error {
	if err := s.prepare(ctx); err != nil {
		return err
	}
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() //nolint:errcheck // after a commit it does nothing
	result, err := tx.ExecContext(ctx, s.rebind(`INSERT INTO batches (id, time) VALUES (?, ?) ON CONFLICT (id) DO NOTHING`), b.id, time.Now().UnixMilli())
	if err != nil {
		return err
	}
	if n, err := result.RowsAffected(); err != nil || n == 0 {
		return err
	}
	if err := s.insertRows(ctx, tx, b.rows); err != nil {
		return err
	}
	if err := s.addSums(ctx, tx, "hourly", b.sums); err != nil {
		return err
	}
	if err := s.addSums(ctx, tx, "daily", b.sums.days()); err != nil {
		return err
	}
	return tx.Commit()
}

// chunk is how many rows a statement inserts, where there are as many.
const chunk = 25

func (s *Store) insertRows(ctx context.Context, tx *sql.Tx, rows []row) error {
	requests, attempts := make([]any, 0, min(len(rows), chunk)*requestWidth), make([]any, 0, min(len(rows), chunk)*attemptWidth)
	for i := range rows {
		requests = rows[i].request(requests)
		for n := range rows[i].entry.Attempts {
			attempts = rows[i].attempt(n, attempts)
		}
	}
	if err := s.insert(ctx, tx, requestsInto, requestWidth, requests); err != nil {
		return err
	}
	return s.insert(ctx, tx, attemptsInto, attemptWidth, attempts)
}

const (
	requestsInto = `requests (` + requestColumns + `)`
	attemptsInto = `attempts (` + attemptColumns + `)`
)

// insertion is the statement that inserts so many rows.
func insertion(into string, width, rows int) string {
	return `INSERT INTO ` + into + ` VALUES ` + placeholders(rows, width)
}

func (s *Store) insert(ctx context.Context, tx *sql.Tx, into string, width int, values []any) error {
	many, one := tx.StmtContext(ctx, s.statements[insertion(into, width, chunk)]), tx.StmtContext(ctx, s.statements[insertion(into, width, 1)])
	for len(values) > 0 {
		statement, n := one, width
		if len(values) >= chunk*width {
			statement, n = many, chunk*width
		}
		if _, err := statement.ExecContext(ctx, values[:n]...); err != nil {
			return err
		}
		values = values[n:]
	}
	return nil
}
