// Package store keeps the ledger: in SQLite next to the configuration, or in PostgreSQL if several
// balancers write into one ledger. The queries are simple enough for one set of statements; a
// dialect contains the differences.
//
// An entry is in the store once, with its attempts, and every token and nano-dollar of it once in
// the hourly and once in the daily sums: rows and sums are written in one transaction, and a batch
// whose commit was in doubt is not written twice. Sums outlive rows.
package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"
)

// Store is an open ledger. Safe for concurrent use.
type Store struct {
	db *sql.DB
	dialect

	mu     sync.Mutex
	writes *writes // nil until first needed
}

// dialect contains the differences between the two databases.
type dialect struct {
	name       string
	migrations []string                                      // in order; immutable once released
	numbered   bool                                          // parameters are $1, $2, … instead of ?
	local      bool                                          // statements do not block: there is no need to watch their contexts, which costs a goroutine each
	lock       string                                        // statement that excludes other migrations, "" if opening does
	size       func(context.Context, *sql.DB) (int64, error) // bytes that the rows and sums take
	shrink     func(context.Context, *sql.DB) error          // releases the space of deleted rows
	faulty     func(error) bool                              // the statement is at fault, so a retry would fail too
	gone       func() bool                                   // reports that further writes would be lost; nil: impossible
}

// ErrMissing means that there is no ledger yet.
var ErrMissing = errors.New("nothing has been recorded yet")

// Open opens a ledger: a postgres:// URL, or the path of a SQLite file. It creates or migrates the
// ledger if needed. The error never contains a password.
func Open(ctx context.Context, where string) (*Store, error) {
	open := openSQLite
	if IsURL(where) {
		open = openPostgres
	}
	s, err := open(ctx, where)
	if err != nil {
		return nil, err
	}
	if err := s.migrate(ctx); err != nil {
		return nil, errors.Join(err, s.db.Close())
	}
	return s, nil
}

// OpenReader opens a ledger for reports. It avoids writes, so that it works on a full disk; it
// migrates an older schema.
func OpenReader(ctx context.Context, where string) (*Store, error) {
	if IsURL(where) {
		return Open(ctx, where)
	}
	s, readErr := openSQLiteReader(ctx, where)
	if readErr == nil {
		return s, nil
	}
	s, err := Open(ctx, where)
	if err != nil {
		return nil, errors.Join(err, readErr)
	}
	return s, nil
}

// IsURL reports whether a ledger is a PostgreSQL database, not a file.
func IsURL(where string) bool {
	return strings.HasPrefix(where, "postgres://") || strings.HasPrefix(where, "postgresql://")
}

// Address returns where a ledger is, without secrets.
func Address(where string) string {
	if IsURL(where) {
		return hostOf(where)
	}
	return where
}

// Close closes the ledger.
func (s *Store) Close() error { return s.db.Close() }

// Kind returns "SQLite" or "PostgreSQL".
func (s *Store) Kind() string { return s.name }

// migrate updates the schema step by step. It rejects a newer schema, because an older program
// would write wrong sums into it.
func (s *Store) migrate(ctx context.Context) error {
	conn, err := s.db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	tx, err := conn.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() //nolint:errcheck // after a commit it does nothing
	if s.lock != "" {
		if _, err := tx.ExecContext(ctx, s.lock); err != nil {
			return err
		}
	}
	if _, err := tx.ExecContext(ctx, `CREATE TABLE IF NOT EXISTS ledger_version (version BIGINT NOT NULL, applied BIGINT NOT NULL)`); err != nil {
		return err
	}
	var version int
	if err := tx.QueryRowContext(ctx, `SELECT COALESCE(MAX(version), 0) FROM ledger_version`).Scan(&version); err != nil {
		return err
	}
	if version > len(s.migrations) {
		return fmt.Errorf("the ledger has version %d, and this program knows only %d: use the newer program that wrote it", version, len(s.migrations))
	}
	for i, step := range s.migrations[version:] {
		if _, err := tx.ExecContext(ctx, step); err != nil {
			return fmt.Errorf("migrate the ledger to version %d: %w", version+i+1, err)
		}
		if _, err := tx.ExecContext(ctx, s.rebind(`INSERT INTO ledger_version (version, applied) VALUES (?, ?)`), version+i+1, time.Now().UnixMilli()); err != nil {
			return err
		}
	}
	return tx.Commit()
}

// rebind writes the parameters of a statement in the database's syntax.
func (d *dialect) rebind(statement string) string {
	if !d.numbered {
		return statement
	}
	var out strings.Builder
	n := 0
	for _, r := range statement {
		if r != '?' {
			out.WriteRune(r)
			continue
		}
		n++
		fmt.Fprintf(&out, "$%d", n)
	}
	return out.String()
}

// placeholders returns rows of parameters, width per row.
func placeholders(rows, width int) string {
	row := "(" + strings.TrimSuffix(strings.Repeat("?,", width), ",") + ")"
	return strings.TrimSuffix(strings.Repeat(row+",", rows), ",")
}
