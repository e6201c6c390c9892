package store

import (
	"context"
	"crypto/rand"
	"slices"
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
		if n, err := tx.exec(ctx, s.statements.batch, []any{b.id, time.Now().UnixMilli()}); err != nil || n == 0 {
			return err
		}
		if err := s.insertRows(ctx, tx, b.rows); err != nil {
			return err
		}
		if err := addSums(ctx, tx, s.statements.hourly, b.sums); err != nil {
			return err
		}
		return addSums(ctx, tx, s.statements.daily, b.sums.days())
	})
}

func (s *Store) insertRows(ctx context.Context, tx transaction, rows []row) error {
	requests := newInserter(tx, s.statements.requests, len(rows))
	attempts := newInserter(tx, s.statements.attempts, len(rows))
	for i := range rows {
		rows[i].request(&requests.cells)
		if err := requests.next(ctx); err != nil {
			return err
		}
	}
	if err := requests.finish(ctx); err != nil {
		return err
	}
	for i := range rows {
		for n := range rows[i].entry.Attempts {
			rows[i].attempt(n, &attempts.cells)
			if err := attempts.next(ctx); err != nil {
				return err
			}
		}
	}
	return attempts.finish(ctx)
}

// inserter puts lines into a table, many by one statement.
type inserter struct {
	cells
	tx     transaction
	into   *insertion
	values []any // of a statement
}

func newInserter(tx transaction, into *insertion, lines int) *inserter {
	width := len(into.columns)
	return &inserter{tx: tx, into: into, cells: cells{width: width, list: make([]any, 0, width*min(lines, chunk))}}
}

// next notes that a line is complete.
func (i *inserter) next(ctx context.Context) error {
	if len(i.list) < chunk*i.width {
		return nil
	}
	own, statement := i.into.form(i.differ)
	i.values = i.values[:0]
	for place := range i.width {
		if !own.has(place) {
			i.values = append(i.values, i.list[place])
		}
	}
	for line := range slices.Chunk(i.list, i.width) {
		for place, value := range line {
			if own.has(place) {
				i.values = append(i.values, value)
			}
		}
	}
	i.list, i.differ = i.list[:0], 0
	_, err := i.tx.exec(ctx, statement, i.values)
	return err
}

// finish inserts what is left.
func (i *inserter) finish(ctx context.Context) error {
	for len(i.list) > 0 {
		statement, n := i.into.one, i.width
		if len(i.list) >= crumb*i.width {
			statement, n = i.into.crumb, crumb*i.width
		}
		if _, err := i.tx.exec(ctx, statement, i.list[:n]); err != nil {
			return err
		}
		i.list = i.list[n:]
	}
	return nil
}
