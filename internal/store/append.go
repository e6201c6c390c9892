package store

import (
	"cmp"
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

	restored bool // from a spill: its id is kept as long as the spill may be found again
}

// restoredAge is how long the ids of restored batches are kept beyond batchAge.
const restoredAge = 400 * day

// noted is the time that is stored with the id of a batch. Prune deletes the id by it.
func (b *batch) noted(now time.Time) int64 {
	if b.restored {
		now = now.Add(restoredAge)
	}
	return now.UnixMilli()
}

// newBatch brings the rows, which it takes over, in the order of their ids: requests do not end as they began, and what is
// appended to a table fills its pages, while what is put in between splits them.
func newBatch(rows []row, sums tally) *batch {
	slices.SortFunc(rows, func(a, b row) int { return cmp.Compare(a.id, b.id) })
	return &batch{id: rand.Text(), rows: rows, sums: sums}
}

// append writes a batch, or does nothing if it has been written before. All of it is there afterwards, or nothing.
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
	if s.local {        // the transaction ends with ctx all the same
		ctx = context.WithoutCancel(ctx)
	}
	result, err := tx.ExecContext(ctx, s.rebind(`INSERT INTO batches (id, time) VALUES (?, ?) ON CONFLICT (id) DO NOTHING`), b.id, b.noted(time.Now()))
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

// rowWidth is how many columns a row has: id, entry, prompt.
const rowWidth = 3
