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

// rowWidth is how many columns a row has: id, entry, prompt.
const rowWidth = 3

func (s *Store) insertRows(ctx context.Context, tx *sql.Tx, rows []row) error {
	many, one := tx.StmtContext(ctx, s.statements[insertion(chunk)]), tx.StmtContext(ctx, s.statements[insertion(1)])
	values := make([]any, 0, min(len(rows), chunk)*rowWidth)
	for len(rows) > 0 {
		statement, n := one, 1
		if len(rows) >= chunk {
			statement, n = many, chunk
		}
		values = values[:0]
		for i := range rows[:n] {
			values = append(values, rows[i].id, rows[i].entry, rows[i].prompt)
		}
		if _, err := statement.ExecContext(ctx, values...); err != nil {
			return err
		}
		rows = rows[n:]
	}
	return nil
}

// insertion is the statement that inserts so many rows.
func insertion(rows int) string {
	return `INSERT INTO requests (id, entry, prompt) VALUES ` + placeholders(rows, rowWidth)
}
