package store

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"sync"
)

// pens are the connections that a SQLite file is written through, apart from those that it is read through. They are
// the driver's own: package sql copies all values twice more on their way. Safe for concurrent use.
type pens struct {
	open func() (driver.Conn, error)

	mu     sync.Mutex
	idle   *pen // one is enough: hardly ever do two write at once
	closed bool
}

var errClosed = errors.New("the ledger is closed")

// change makes a change: all of what do does, or nothing.
func (p *pens) change(ctx context.Context, do func(transaction) error) error {
	pen, err := p.take()
	if err != nil {
		return err
	}
	if err := pen.change(ctx, do); err != nil {
		_ = pen.close() // whatever is wrong with it, the next one begins anew
		return err
	}
	return p.put(pen)
}

func (p *pens) take() (*pen, error) {
	p.mu.Lock()
	taken, closed := p.idle, p.closed
	p.idle = nil
	p.mu.Unlock()
	switch {
	case closed:
		return nil, errClosed
	case taken != nil:
		return taken, nil
	}
	return newPen(p.open)
}

func (p *pens) put(used *pen) error {
	p.mu.Lock()
	if p.idle == nil && !p.closed {
		p.idle, used = used, nil
	}
	p.mu.Unlock()
	return used.close()
}

// close ends all use.
func (p *pens) close() error {
	p.mu.Lock()
	idle := p.idle
	p.idle, p.closed = nil, true
	p.mu.Unlock()
	return idle.close()
}

// pen is one connection with the statements that it has parsed. One goroutine uses it at a time.
type pen struct {
	conn       connection
	statements map[string]execution
	values     []driver.NamedValue
}

// connection and execution are what is needed of the driver beyond what every driver has.
type connection interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ConnPrepareContext
}

type execution interface {
	driver.Stmt
	driver.StmtExecContext
}

func newPen(open func() (driver.Conn, error)) (*pen, error) {
	opened, err := open()
	if err != nil {
		return nil, err
	}
	conn, ok := opened.(connection)
	if !ok {
		return nil, errors.Join(fmt.Errorf("the SQLite driver has connections of an unknown kind: %T", opened), opened.Close())
	}
	return &pen{conn: conn, statements: map[string]execution{}}, nil
}

func (p *pen) change(ctx context.Context, do func(transaction) error) error {
	tx, err := p.conn.BeginTx(ctx, driver.TxOptions{})
	if err != nil {
		return err
	}
	if err := do(p); err != nil {
		_ = tx.Rollback() // the connection is closed
		return err
	}
	return tx.Commit()
}

// exec implements transaction. A statement inside a transaction waits for nothing but the disk, so that it is enough to look at
// the context between two of them: the driver would watch it with a goroutine for each.
func (p *pen) exec(ctx context.Context, statement string, values []any) (int64, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	ctx = context.WithoutCancel(ctx)
	parsed, err := p.parsed(ctx, statement)
	if err != nil {
		return 0, err
	}
	for n := len(p.values); n < len(values); n++ {
		p.values = append(p.values, driver.NamedValue{Ordinal: n + 1})
	}
	for i, value := range values {
		p.values[i].Value = value
	}
	result, err := parsed.ExecContext(ctx, p.values[:len(values)])
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

func (p *pen) parsed(ctx context.Context, statement string) (execution, error) {
	if known := p.statements[statement]; known != nil {
		return known, nil
	}
	prepared, err := p.conn.PrepareContext(ctx, statement)
	if err != nil {
		return nil, err
	}
	parsed, ok := prepared.(execution)
	if !ok {
		return nil, errors.Join(fmt.Errorf("the SQLite driver has statements of an unknown kind: %T", prepared), prepared.Close())
	}
	p.statements[statement] = parsed
	return parsed, nil
}

// close closes the connection. Nothing is done without one.
func (p *pen) close() error {
	if p == nil {
		return nil
	}
	var errs []error
	for _, statement := range p.statements {
		errs = append(errs, statement.Close())
	}
	return errors.Join(append(errs, p.conn.Close())...)
}
