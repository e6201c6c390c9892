package store

import (
	"context"
	"database/sql"
	_ "embed"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	_ "github.com/jackc/pgx/v5/stdlib" // the driver
)

//go:embed schema/postgres_1.sql
var postgresSchema1 string

//go:embed schema/postgres_2.sql
var postgresSchema2 string

// migrationLock is an arbitrary number, the same in all balancers.
const migrationLock = 7_031_964_551

func openPostgres(ctx context.Context, where string) (*Store, error) {
	db, err := sql.Open("pgx", where)
	if err == nil {
		db.SetMaxOpenConns(8)
		err = db.PingContext(ctx)
	}
	if err != nil {
		if db != nil {
			err = errors.Join(err, db.Close())
		}
		return nil, fmt.Errorf("open the PostgreSQL ledger at %s: %w", hostOf(where), plain(err))
	}
	return &Store{db: db, dialect: dialect{
		name: "PostgreSQL", migrations: []string{postgresSchema1, postgresSchema2}, numbered: true,
		lock: fmt.Sprintf(`SELECT pg_advisory_xact_lock(%d)`, migrationLock),
		size: postgresSize, faulty: postgresFaulty, shrink: func(context.Context, *sql.DB) error { return nil }, // autovacuum does it
	}}, nil
}

// hostOf returns the part of a database's URL that is not secret.
func hostOf(where string) string {
	u, err := url.Parse(where)
	if err != nil {
		return "an address that is no URL"
	}
	return u.Host + u.Path
}

// plain removes the settings that pgx quotes in an error.
func plain(err error) error {
	if _, ok := errors.AsType[*pgconn.ParseConfigError](err); ok {
		return errors.New("the address cannot be understood: want postgres://user:password@host:port/database")
	}
	if refused, ok := errors.AsType[*pgconn.PgError](err); ok {
		return errors.New(refused.Message)
	}
	if failed, ok := errors.AsType[*pgconn.ConnectError](err); ok {
		return errors.New("cannot connect: " + rootOf(failed).Error())
	}
	return err
}

// withoutSettings removes the user and the database, which pgx puts into its errors.
func (d *dialect) withoutSettings(err error) error {
	if d.numbered {
		return plain(err)
	}
	return err
}

// rootOf returns the innermost cause, because the outer errors contain the user and the database.
func rootOf(err error) error {
	for {
		inner := errors.Unwrap(err)
		if many, ok := err.(interface{ Unwrap() []error }); ok && len(many.Unwrap()) > 0 {
			inner = many.Unwrap()[0]
		}
		if inner == nil {
			return err
		}
		err = inner
	}
}

// postgresFaulty reports whether an error is about values (classes 22 and 23), not about the
// database.
func postgresFaulty(err error) bool {
	e, ok := errors.AsType[*pgconn.PgError](err)
	return ok && (strings.HasPrefix(e.Code, "22") || strings.HasPrefix(e.Code, "23"))
}

// postgresSize estimates the size of live rows: after a deletion a table keeps its size and reuses
// the space.
func postgresSize(ctx context.Context, db *sql.DB) (int64, error) {
	var size sql.NullFloat64
	err := db.QueryRowContext(ctx, `
		SELECT SUM(pg_total_relation_size(relid) * n_live_tup::float8 / GREATEST(n_live_tup + n_dead_tup, 1))
		FROM pg_stat_user_tables WHERE relname IN ('requests', 'attempts', 'hourly', 'daily', 'balances')`).Scan(&size)
	return int64(size.Float64), err
}
