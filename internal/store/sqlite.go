package store

import (
	"context"
	"database/sql"
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

//go:embed schema/sqlite_1.sql
var sqliteSchema1 string

//go:embed schema/sqlite_2.sql
var sqliteSchema2 string

// openSQLite opens the file at path. It creates the file readable only by its owner.
func openSQLite(ctx context.Context, path string) (*Store, error) {
	full, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(full), 0o700); err != nil {
		return nil, err
	}
	// SQLite gives its write-ahead log the mode of the file.
	f, err := os.OpenFile(full, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	made, err := f.Stat()
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	db, err := sql.Open("sqlite", dsn(full))
	if err != nil {
		return nil, err
	}
	if err := db.PingContext(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", full, err), db.Close())
	}
	return &Store{db: db, dialect: dialect{
		name: "SQLite", migrations: sqliteMigrations(), local: true, size: sqliteSize, shrink: sqliteShrink, faulty: sqliteFaulty,
		gone: func() bool { // deleted or replaced: SQLite would continue to write into the old file
			there, err := os.Stat(full)
			return errors.Is(err, fs.ErrNotExist) || err == nil && !os.SameFile(made, there)
		},
	}}, nil
}

// dsn sets a write-ahead log, so that reports can read while the balancer writes. Without a sync at
// every commit, a crash of the process loses nothing; a crash of the machine may lose the last
// moments, but does not damage the file.
func dsn(path string) string {
	return sqliteURL(path, url.Values{
		"_pragma": {"busy_timeout(10000)", "auto_vacuum(incremental)", "journal_mode(wal)", "synchronous(normal)", "journal_size_limit(67108864)"},
		"_txlock": {"immediate"},
	})
}

func sqliteURL(path string, query url.Values) string {
	slashed := filepath.ToSlash(path)
	if slashed[0] != '/' {
		slashed = "/" + slashed // C:/…
	}
	u := url.URL{Scheme: "file", Path: slashed, RawQuery: query.Encode()}
	return u.String()
}

// openSQLiteReader opens the file at path without writing anything, so that it works on a full
// disk. It fails if the schema is older.
func openSQLiteReader(ctx context.Context, path string) (*Store, error) {
	full, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	reading := []string{"busy_timeout(10000)", "query_only(1)", "temp_store(memory)"}
	var errs []error
	for _, query := range []url.Values{
		{"mode": {"ro"}, "_pragma": reading},
		// A reader without other processes writes an index of the write-ahead log next to it. With
		// an exclusive lock it keeps the index in memory.
		{"mode": {"rw"}, "_pragma": append([]string{"locking_mode(exclusive)"}, reading...)},
	} {
		s, err := tryReader(ctx, sqliteURL(full, query))
		if err == nil {
			return s, nil
		}
		errs = append(errs, err)
	}
	return nil, fmt.Errorf("open %s: %w", full, errors.Join(errs...))
}

func tryReader(ctx context.Context, dsn string) (*Store, error) {
	db, err := sql.Open("sqlite", dsn)
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1) // several would block each other
	var version int
	err = db.QueryRowContext(ctx, `SELECT COALESCE(MAX(version), 0) FROM ledger_version`).Scan(&version)
	if err == nil && version != len(sqliteMigrations()) {
		err = fmt.Errorf("the schema has version %d", version)
	}
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return &Store{db: db, dialect: dialect{name: "SQLite", migrations: sqliteMigrations(), local: true, size: sqliteSize, shrink: sqliteShrink, faulty: sqliteFaulty}}, nil
}

func sqliteMigrations() []string { return []string{sqliteSchema1, sqliteSchema2} }

// Exists reports whether there is a ledger to read, because opening a SQLite file would create it.
func Exists(where string) error {
	if IsURL(where) {
		return nil
	}
	_, err := os.Stat(where)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: %w", where, ErrMissing)
	}
	return err
}

// sqliteFaulty reports whether an error is about values, not about the file.
func sqliteFaulty(err error) bool {
	e, ok := errors.AsType[*sqlite.Error](err)
	if !ok {
		return false
	}
	switch e.Code() & 0xff {
	case sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_RANGE:
		return true
	}
	return false
}

func sqliteSize(ctx context.Context, db *sql.DB) (int64, error) {
	var pages, free, size int64
	err := errors.Join(
		db.QueryRowContext(ctx, `PRAGMA page_count`).Scan(&pages),
		db.QueryRowContext(ctx, `PRAGMA freelist_count`).Scan(&free),
		db.QueryRowContext(ctx, `PRAGMA page_size`).Scan(&size),
	)
	return (pages - free) * size, err
}

func sqliteShrink(ctx context.Context, db *sql.DB) error {
	_, err := db.ExecContext(ctx, `PRAGMA incremental_vacuum(20000)`)
	return err
}
