package store

import (
	"context"
	"fmt"
)

// index is an index of the requests by a field of their JSON.
type index struct{ name, field, where string }

// indexes lists the indexes. They only make look-ups faster, so they are not part of the schema: a
// ledger without them works, and earlier versions of the program can write to a ledger with them.
func (d *dialect) indexes() []index {
	session, outcome := d.field("session"), d.field("outcome")
	return []index{
		{"requests_by_session", session + ", id", session + " IS NOT NULL"},
		{"requests_by_request_id", d.field("request_id"), ""},
		{"requests_failed", "id", outcome + " <> 'answered'"},
	}
}

// BuildIndexes creates the missing indexes. That takes seconds per million rows. PostgreSQL accepts
// writes in the meantime, SQLite does not; so the goroutine that writes calls it. If another balancer
// is building the indexes of the same database, BuildIndexes leaves them to it.
func (s *Store) BuildIndexes(ctx context.Context) error {
	conn, err := s.db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	concurrently := ""
	if s.numbered {
		concurrently = "CONCURRENTLY"
		var locked bool
		if err := conn.QueryRowContext(ctx, `SELECT pg_try_advisory_lock($1)`, migrationLock+1).Scan(&locked); err != nil || !locked {
			return err
		}
		defer conn.ExecContext(context.WithoutCancel(ctx), `SELECT pg_advisory_unlock($1)`, migrationLock+1) //nolint:errcheck // the end of the connection unlocks too
	}
	for _, x := range s.indexes() {
		if s.numbered {
			// An interrupted build leaves an index that is not valid.
			var invalid bool
			const question = `SELECT EXISTS (SELECT 1 FROM pg_index WHERE indexrelid = to_regclass($1) AND NOT indisvalid)`
			if err := conn.QueryRowContext(ctx, question, x.name).Scan(&invalid); err != nil {
				return err
			}
			if invalid {
				if _, err := conn.ExecContext(ctx, `DROP INDEX `+x.name); err != nil {
					return err
				}
			}
		}
		where := ""
		if x.where != "" {
			where = " WHERE " + x.where
		}
		statement := fmt.Sprintf(`CREATE INDEX %s IF NOT EXISTS %s ON requests (%s)%s`, concurrently, x.name, x.field, where)
		if _, err := conn.ExecContext(ctx, statement); err != nil {
			return fmt.Errorf("create the index %s: %w", x.name, err)
		}
	}
	return nil
}
