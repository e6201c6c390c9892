package store

import (
	"context"
	"math"
	"time"
)

// Bounds limit what the ledger keeps.
type Bounds struct {
	Age  time.Duration // of rows; 0: no bound
	Size int64         // of all in bytes; 0: no bound
}

const (
	// hourlyAge is how long hourly sums are kept. Daily sums are kept forever.
	hourlyAge = 400 * day
	// batchAge is how long the commit of a batch may be in doubt.
	batchAge = time.Hour
	// pruneStep is the number of requests that are deleted in one step, so that no writer waits for
	// long.
	pruneStep = 5000
)

// Prune deletes the oldest rows beyond the bounds and returns the number of deleted requests. It
// stops early, without an error, after some time: the next call continues.
func (s *Store) Prune(ctx context.Context, b Bounds, now time.Time) (deleted int64, err error) {
	first := now.Add(-hourlyAge).Unix() / int64(day/time.Second) * int64(day/hour)
	for _, each := range [...]struct {
		statement string
		before    int64
	}{
		{`DELETE FROM batches WHERE time < ?`, now.Add(-batchAge).UnixMilli()},
		{`DELETE FROM hourly WHERE slot < ?`, first},
		{`DELETE FROM balances WHERE time < ?`, now.Add(-hourlyAge).UnixMilli()},
	} {
		if _, err := s.db.ExecContext(ctx, s.rebind(each.statement), each.before); err != nil {
			return 0, err
		}
	}
	if b.Age > 0 {
		if deleted, err = s.deleteBefore(ctx, idFloor(now.Add(-b.Age))); err != nil {
			return deleted, err
		}
	}
	n, err := s.deleteBeyond(ctx, b.Size)
	if deleted += n; err == nil && deleted > 0 {
		err = s.shrink(ctx, s.db)
	}
	return deleted, err
}

// deleteBefore deletes the requests below an id.
func (s *Store) deleteBefore(ctx context.Context, limit int64) (deleted int64, err error) {
	for {
		n, err := s.deleteSome(ctx, limit)
		if deleted += n; err != nil || n < pruneStep {
			return deleted, err
		}
	}
}

// deleteBeyond deletes the oldest requests until the ledger fits the size.
func (s *Store) deleteBeyond(ctx context.Context, most int64) (deleted int64, err error) {
	for most > 0 {
		size, err := s.size(ctx, s.db)
		if err != nil || size <= most {
			return deleted, err
		}
		n, err := s.deleteSome(ctx, math.MaxInt64)
		if deleted += n; err != nil || n == 0 {
			return deleted, err
		}
		if s.numbered && deleted >= 20*pruneStep { // statistics of live rows come late
			return deleted, nil
		}
	}
	return deleted, nil
}

// deleteSome deletes the oldest requests below an id, at most pruneStep of them.
func (s *Store) deleteSome(ctx context.Context, limit int64) (int64, error) {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return 0, err
	}
	defer tx.Rollback() //nolint:errcheck // after a commit it does nothing
	var end *int64
	err = tx.QueryRowContext(ctx, s.rebind(`SELECT MAX(id) FROM (SELECT id FROM requests WHERE id < ? ORDER BY id LIMIT ?) AS oldest`), limit, pruneStep).Scan(&end)
	if err != nil || end == nil {
		return 0, err
	}
	result, err := tx.ExecContext(ctx, s.rebind(`DELETE FROM requests WHERE id <= ?`), *end)
	if err != nil {
		return 0, err
	}
	n, err := result.RowsAffected()
	if err != nil {
		return 0, err
	}
	return n, tx.Commit()
}
