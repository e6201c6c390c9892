package store

import (
	"context"
	"fmt"
	"io"
)

// refused is data that the database rejects permanently.
type refused struct {
	rows    int
	because error
}

// write writes a batch and its readings. The same batch may be written again after any error. lost
// is not nil if the database refuses some of the values themselves.
func (s *Store) write(ctx context.Context, b *load) (lost *refused, err error) {
	if err = s.append(ctx, b.batch); err != nil && s.faulty(err) {
		lost, err = s.writeRowByRow(ctx, b.batch, err)
	}
	if err != nil {
		return nil, err
	}
	for len(b.readings) > 0 {
		if err := s.AddReading(ctx, b.readings[0]); err != nil {
			return lost, err
		}
		b.readings = b.readings[1:]
	}
	return lost, nil
}

// writeRowByRow writes the parts of a batch that the database does not accept as a whole.
func (s *Store) writeRowByRow(ctx context.Context, b *batch, because error) (lost *refused, err error) {
	if err := s.append(ctx, &batch{id: b.id + " sums", sums: b.sums, restored: b.restored}); err != nil {
		if !s.faulty(err) {
			return nil, err
		}
		lost = &refused{because: err}
	}
	for i := range b.rows {
		err := s.append(ctx, &batch{id: fmt.Sprint(b.id, " ", i), rows: b.rows[i : i+1], restored: b.restored})
		switch {
		case err == nil:
		case !s.faulty(err):
			return lost, err
		case lost == nil:
			lost = &refused{1, because}
		default:
			lost.rows++
		}
	}
	return lost, nil
}

// Restored is the result of importing a spill.
type Restored struct {
	Requests int // written now
	Present  int // already in the ledger
	Damaged  int // unusable lines
}

// restore writes the batches of a spill. Repeated calls write each batch once, also if the process
// that wrote the spill had written some of them without knowing that it succeeded.
func (s *Store) restore(ctx context.Context, all *spilled) (Restored, error) {
	done := Restored{Damaged: all.damaged}
	for _, b := range all.batches {
		present, err := s.dropPresent(ctx, b)
		if err != nil {
			return done, err
		}
		rows := len(b.rows)
		lost, err := s.write(ctx, b)
		if err != nil {
			return done, err
		}
		if lost != nil {
			done.Damaged += max(lost.rows, 1)
			rows -= lost.rows
		}
		done.Present += present
		done.Requests += rows
	}
	return done, nil
}

// dropPresent removes from a batch what the ledger has. The id of a batch is kept for a limited
// time only, so it looks for the rows as well. Rows and sums are committed together: if one row is
// present, the sums are.
func (s *Store) dropPresent(ctx context.Context, b *load) (present int, err error) {
	known, err := s.hasBatch(ctx, b.id)
	if err != nil {
		return 0, err
	}
	if known {
		present = len(b.rows)
		b.rows, b.sums = nil, tally{}
		return present, nil
	}
	if b.untried {
		return 0, nil
	}
	missing := b.rows[:0]
	for _, r := range b.rows {
		there, err := s.hasRow(ctx, r)
		if err != nil {
			return 0, err
		}
		if there {
			present++
		} else {
			missing = append(missing, r)
		}
	}
	b.rows = missing
	if present > 0 {
		b.sums = tally{}
	}
	return present, nil
}

func (s *Store) hasBatch(ctx context.Context, id string) (bool, error) {
	var n int
	err := s.db.QueryRowContext(ctx, s.rebind(`SELECT COUNT(*) FROM batches WHERE id = ?`), id).Scan(&n)
	return n > 0, err
}

// hasRow reports whether the ledger has this request, and not another one with the same number.
func (s *Store) hasRow(ctx context.Context, r row) (bool, error) {
	rows, err := s.db.QueryContext(ctx, s.rebind(`SELECT id, entry, prompt FROM requests WHERE id = ?`), r.id)
	if err != nil {
		return false, err
	}
	defer rows.Close()
	if !rows.Next() {
		return false, rows.Err()
	}
	there, err := scanLogRow(rows)
	if err != nil {
		return false, err
	}
	here, err := decode([]byte(r.entry), nil)
	if err != nil {
		return false, err
	}
	return here.ID == there.Entry.ID && here.Start.Equal(there.Entry.Start), nil
}

// Import writes the output of Spill, or the content of one of its files, into the ledger.
func Import(ctx context.Context, s *Store, from io.Reader) (Restored, error) {
	all, err := decodeSpill(from)
	if err != nil {
		return Restored{}, err
	}
	return s.restore(ctx, all)
}
