// Package store keeps the ledger: in SQLite beside the configuration, or in
// PostgreSQL when several balancers write into one. What is asked of it is plain
// enough that one set of statements does for both; a dialect holds the rest.
//
// Invariants. An entry is in the store once, with its attempts, and every token and
// nano-dollar of it once in the hourly and once in the daily sums: rows and sums
// are written in one transaction, and a batch whose commit was in doubt is not
// written again. Sums outlive rows.
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
	writes *writes // nil until they are needed
}

// dialect is what the two databases do not have in common.
type dialect struct {
	name       string
	migrations []string                                      // in order; never changed once released
	numbered   bool                                          // parameters are $1, $2, … and not ?
	local      bool                                          // statements wait for nobody: their contexts need not be watched, which takes a goroutine each
	lock       string                                        // statement that keeps others from migrating, "" where opening does
	size       func(context.Context, *sql.DB) (int64, error) // bytes that the rows and sums take
	shrink     func(context.Context, *sql.DB) error          // gives back what deleted rows took
	faulty     func(error) bool                              // the statement is at fault: trying again is of no use
	gone       func() bool                                   // what is written from now on would not be found; nil: that cannot be
}

// ErrMissing says that there is no ledger yet.
var ErrMissing = errors.New("nothing has been recorded yet")

// Open opens a ledger, making or migrating it where needed: a postgres:// URL, or the path of a SQLite file.
// Its error never holds a password.
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

// OpenReader opens a ledger for reports. It writes nothing if that can be avoided, so that it works
// on a full disk; an older schema is migrated.
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

// IsURL says whether a ledger is a PostgreSQL database and not a file.
func IsURL(where string) bool {
	return strings.HasPrefix(where, "postgres://") || strings.HasPrefix(where, "postgresql://")
}

// Address is where a ledger is, without what is secret of it.
func Address(where string) string {
	if IsURL(where) {
		return hostOf(where)
	}
	return where
}

// Close ends all use of the ledger.
func (s *Store) Close() error { return s.db.Close() }

// Kind names the database, as "SQLite" or "PostgreSQL".
func (s *Store) Kind() string { return s.name }

// migrate brings the schema up to date, step by step. A newer schema than this program knows is refused: an older
// program would write wrong sums into it.
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

// rebind writes the parameters of a statement the way the database wants them.
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

// placeholders are n rows of parameters, width each.
func placeholders(rows, width int) string {
	row := "(" + strings.TrimSuffix(strings.Repeat("?,", width), ",") + ")"
	return strings.TrimSuffix(strings.Repeat(row+",", rows), ",")
}
