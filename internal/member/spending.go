package member

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/ledger"
	"github.com/9bingyin/claude-code-lb/internal/store"
)

const (
	// spendingAge is how long sums of a key are used before the ledger is asked again.
	spendingAge = 3 * time.Second
	// maxRestored bounds the earlier requests of a session that are read from the ledger.
	maxRestored = 5000
)

var (
	errNoLedger     = errors.New("the ledger is off")
	errLedgerClosed = errors.New("the ledger is not open")
)

// spent is what a key has used today and this month.
type spent struct {
	at           time.Time
	zone         string
	today, month ledger.Sums
}

// spending remembers what keys have used for a moment. Safe for concurrent use.
type spending struct {
	mu sync.Mutex
	by map[string]spent
}

func newSpending() *spending { return &spending{by: map[string]spent{}} }

// query runs a query of the ledger. Few of them run at the same time.
func (v *View) query(ctx context.Context, ask func(context.Context, *store.Store) error) error {
	if v.Ledger == nil {
		return errNoLedger
	}
	s := v.Ledger()
	if s == nil {
		return errLedgerClosed
	}
	ctx, cancel := context.WithTimeout(ctx, readTime)
	defer cancel()
	select {
	case v.reads <- struct{}{}:
		defer func() { <-v.reads }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return ask(ctx, s)
}

// spent returns what the key has used, at most spendingAge old.
func (c *call) spent(ctx context.Context) (spent, error) {
	zone := c.Key.Zone()
	c.spending.mu.Lock()
	s, ok := c.spending.by[c.Client]
	c.spending.mu.Unlock()
	if ok && c.now.Sub(s.at) < spendingAge && s.zone == zone.String() {
		return s, nil
	}
	y, m, d := c.now.In(zone).Date()
	s = spent{at: c.now, zone: zone.String()}
	err := c.query(ctx, func(ctx context.Context, from *store.Store) error {
		for _, each := range [...]struct {
			since time.Time
			into  *ledger.Sums
		}{{time.Date(y, m, d, 0, 0, 0, 0, zone), &s.today}, {time.Date(y, m, 1, 0, 0, 0, 0, zone), &s.month}} {
			lines, err := from.Report(ctx, store.Question{
				Since: each.since, Until: nextHour(c.now), Zone: zone, Only: map[store.Dimension]string{store.Key: c.Client},
			})
			if err != nil {
				return err
			}
			for i := range lines {
				each.into.Add(lines[i].Sums)
			}
		}
		return nil
	})
	if err != nil {
		return spent{}, err
	}
	c.spending.mu.Lock()
	defer c.spending.mu.Unlock()
	if len(c.spending.by) >= maxClients {
		clear(c.spending.by)
	}
	c.spending.by[c.Client] = s
	return s, nil
}

// nextHour returns the end of the hour, so that a report needs hourly sums alone: reading the rows
// of all keys in a part of an hour would cost more with every request.
func nextHour(t time.Time) time.Time { return t.UTC().Truncate(time.Hour).Add(time.Hour) }

// session returns the sums of a session of the client. The first call for a session adds the requests
// that an earlier process recorded in the ledger. If the ledger cannot be read, the next call tries
// that again.
func (c *call) session(ctx context.Context, id string) session {
	name := sessionName{c.Client, id}
	s := c.sessions.get(name, c.now)
	if s.restored || id == "" {
		return s
	}
	earlier := session{name: name, since: s.since}
	err := c.query(ctx, func(ctx context.Context, from *store.Store) error {
		f := store.LogFilter{Client: c.Client, Session: id, Until: s.since}
		for before, read := int64(0), 0; read < maxRestored; {
			page, err := from.Log(ctx, f, before, store.MaxLogPage)
			if err != nil {
				return err
			}
			for i := range page.Rows {
				earlier.add(page.Rows[i].Entry)
			}
			if read += len(page.Rows); page.Next == 0 {
				return nil
			}
			before = page.Next
		}
		return nil
	})
	if err != nil {
		return s
	}
	c.sessions.restore(&earlier)
	if s = c.sessions.get(name, c.now); s.sums.Requests == 0 {
		return earlier
	}
	return s
}
