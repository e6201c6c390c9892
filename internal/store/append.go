package store

import (
	"cmp"
	"context"
	"crypto/rand"
	"slices"
	"time"
)

// batch is written in one transaction: rows, and the sums of these rows and of entries without a
// row.
type batch struct {
	id   string // the same for every try
	rows []row
	sums tally

	restored bool // from a spill: its id is kept as long as the spill may be found again
}

// restoredAge is how long the ids of restored batches are kept beyond batchAge.
const restoredAge = 400 * day

// storedTime returns the time that is stored with the id of a batch. Prune deletes the id by it.
func (b *batch) storedTime(now time.Time) int64 {
	if b.restored {
		now = now.Add(restoredAge)
	}
	return now.UnixMilli()
}

// newBatch takes over the rows and sorts them by id. Requests end in another order than they begin,
// and rows that are inserted between others split the pages of a table.
func newBatch(rows []row, sums tally) *batch {
	slices.SortFunc(rows, func(a, b row) int { return cmp.Compare(a.id, b.id) })
	return &batch{id: rand.Text(), rows: rows, sums: sums}
}

// append writes a batch, or does nothing if it has been written before. It writes all of it or
// nothing.
func (s *Store) append(ctx context.Context, b *batch) error {
	to, err := s.prepare(ctx)
	if err != nil {
		return err
	}
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() //nolint:errcheck // after a commit it does nothing
	if s.local {        // the transaction ends with ctx anyway
		ctx = context.WithoutCancel(ctx)
	}
	result, err := tx.ExecContext(ctx, s.rebind(`INSERT INTO batches (id, time) VALUES (?, ?) ON CONFLICT (id) DO NOTHING`), b.id, b.storedTime(time.Now()))
	if err != nil {
		return err
	}
	if n, err := result.RowsAffected(); err != nil || n == 0 {
		return err
	}
	if err := to.rows.exec(ctx, tx, len(b.rows), func(out []any, i int) []any {
		return append(out, b.rows[i].id, b.rows[i].entry, b.rows[i].prompt)
	}); err != nil {
		return err
	}
	if err := b.sums.addTo(ctx, tx, to.hourly); err != nil {
		return err
	}
	if err := b.sums.days().addTo(ctx, tx, to.daily); err != nil {
		return err
	}
	return tx.Commit()
}

// rowWidth is the number of columns of a row: id, entry, prompt.
const rowWidth = 3
