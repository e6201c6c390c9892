package store

import (
	"context"
	"crypto/rand"
	"time"
)

// batch is what is written in one step: rows and the sums that they, and entries that have no rows any more, add up to.
type batch struct {
	id   string // the same however often it is tried
	rows []row
	sums tally
}

func newBatch(rows []row, sums tally) *batch { return &batch{id: rand.Text(), rows: rows, sums: sums} }

// transaction is a change of the ledger under way.
type transaction interface {
	// exec runs a statement, which is kept parsed where that saves something, and reports how many rows it concerned. The values
	// are those of a driver: int64, float64, string and []byte. They belong to the caller again afterwards.
	exec(ctx context.Context, statement string, values []any) (int64, error)
}

// append writes a batch, or does nothing if it has been written before. All of it is there afterwards, or nothing.
func (s *Store) append(ctx context.Context, b *batch) error {
	return s.change(ctx, func(tx transaction) error {
		values := make([]any, 0, chunk*attemptWidth)
		if n, err := tx.exec(ctx, s.statements.batch, append(values, b.id, time.Now().UnixMilli())); err != nil || n == 0 {
			return err
		}
		if err := s.insertRows(ctx, tx, values, b.rows); err != nil {
			return err
		}
		if err := addSums(ctx, tx, s.statements.hourly, values, b.sums); err != nil {
			return err
		}
		return addSums(ctx, tx, s.statements.daily, values, b.sums.days())
	})
}

// insertRows inserts rows with the memory of values.
func (s *Store) insertRows(ctx context.Context, tx transaction, values []any, rows []row) error {
	requests := inserter{tx: tx, into: s.statements.requests, cells: cells{width: requestWidth, values: values}}
	for i := range rows {
		rows[i].request(&requests.cells)
		if err := requests.insert(ctx, chunk); err != nil {
			return err
		}
	}
	if err := requests.insert(ctx, 1); err != nil {
		return err
	}
	attempts := inserter{tx: tx, into: s.statements.attempts, cells: cells{width: attemptWidth, values: values}}
	for i := range rows {
		for n := range rows[i].entry.Attempts {
			rows[i].attempt(n, &attempts.cells)
			if err := attempts.insert(ctx, chunk); err != nil {
				return err
			}
		}
	}
	return attempts.insert(ctx, 1)
}

// inserter puts lines into a table, many by one statement.
type inserter struct {
	cells
	tx   transaction
	into []insertion
}

// insert inserts the lines that there are if they are as many as that.
func (i *inserter) insert(ctx context.Context, least int) error {
	if len(i.values) < least*i.width {
		return nil
	}
	left := i.values
	for _, each := range i.into {
		for n := each.lines * i.width; len(left) >= n; left = left[n:] {
			if _, err := i.tx.exec(ctx, each.statement, left[:n]); err != nil {
				return err
			}
		}
	}
	i.values = i.values[:0]
	return nil
}
