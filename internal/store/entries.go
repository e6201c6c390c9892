package store

import (
	"context"
	"iter"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/ledger"
)

// Entries reads the requests that began in [since, until) with their attempts, oldest first. It
// ends after the first error.
func (s *Store) Entries(ctx context.Context, since, until time.Time) iter.Seq2[*ledger.Entry, error] {
	return func(yield func(*ledger.Entry, error) bool) {
		rows, err := s.db.QueryContext(ctx, s.rebind(`SELECT id, entry, prompt FROM requests WHERE id >= ? AND id < ? ORDER BY id`), idFloor(since), idFloor(until))
		if err != nil {
			yield(nil, err)
			return
		}
		defer rows.Close()
		for rows.Next() {
			row, err := scanLogRow(rows)
			if !yield(row.Entry, err) || err != nil {
				return
			}
		}
		if err := rows.Err(); err != nil {
			yield(nil, err)
		}
	}
}
