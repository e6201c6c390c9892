package store

import (
	"context"
	"database/sql"
	"runtime"
)

// insertion is an INSERT of any number of rows with several rows per statement, because another
// statement costs more than another row.
type insertion struct {
	width int    // columns
	forms []form // from many rows down to one
}

// form is the parsed statement for a number of rows.
type form struct {
	rows      int
	statement *sql.Stmt
}

// prepareInsertion parses the statements with the text head, rows, tail.
func (s *Store) prepareInsertion(ctx context.Context, head, tail string, width int, sizes ...int) (*insertion, error) {
	i := &insertion{width: width}
	for _, rows := range sizes {
		statement, err := s.db.PrepareContext(ctx, s.rebind(head+placeholders(rows, width)+tail))
		if err != nil {
			return nil, err
		}
		i.forms = append(i.forms, form{rows, statement})
	}
	return i, nil
}

// exec inserts rows 0 to n-1. values appends those of a row.
func (i *insertion) exec(ctx context.Context, tx *sql.Tx, n int, values func(out []any, row int) []any) error {
	out, row := make([]any, 0, min(n, i.forms[0].rows)*i.width), 0
	for size, f := range i.forms {
		if n-row < f.rows {
			continue
		}
		statement := tx.StmtContext(ctx, f.statement)
		for n-row >= f.rows {
			out = out[:0]
			for range f.rows {
				out = values(out, row)
				row++
			}
			if _, err := statement.ExecContext(ctx, out...); err != nil {
				return err
			}
			if size == 0 { // a whole batch at once would block this processor for milliseconds
				runtime.Gosched()
			}
		}
	}
	return nil
}

// writes are the statements for writing. Immutable.
type writes struct{ rows, hourly, daily *insertion }

// prepare parses the statements for writing, once. It uses a separate connection, so it cannot run
// inside a transaction.
func (s *Store) prepare(ctx context.Context) (*writes, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.writes != nil {
		return s.writes, nil
	}
	rows, err := s.prepareInsertion(ctx, `INSERT INTO requests (id, entry, prompt) VALUES `, "", rowWidth, 25, 5, 1)
	if err != nil {
		return nil, err
	}
	hourly, err := s.prepareAddition(ctx, "hourly")
	if err != nil {
		return nil, err
	}
	daily, err := s.prepareAddition(ctx, "daily")
	if err != nil {
		return nil, err
	}
	s.writes = &writes{rows, hourly, daily}
	return s.writes, nil
}
