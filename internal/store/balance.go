package store

import (
	"context"
	"slices"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/ledger"
)

// Reading is the output of a balance_check, taken as dollars.
type Reading struct {
	Server string
	At     time.Time
	Value  float64
}

// AddReading stores a reading.
func (s *Store) AddReading(ctx context.Context, r Reading) error {
	_, err := s.db.ExecContext(ctx, s.rebind(`INSERT INTO balances (time, server, value) VALUES (?, ?, ?) ON CONFLICT (time, server) DO NOTHING`),
		r.At.UnixMilli(), text(r.Server), r.Value)
	return err
}

// Reconciliation compares the decrease of a server's balance with the ledger's cost at that server.
type Reconciliation struct {
	Server   string
	Readings int
	From, To time.Time    // first and last reading
	Lost     float64      // decrease of the balance between readings that did not rise
	Spent    ledger.Money // the ledger's cost in the same intervals
	Raised   float64      // increase of the balance; those intervals are not part of Lost and Spent
	Unpriced int64        // attempts without a known price in those intervals, which Spent lacks
}

// Drift returns how much more the balance lost than the ledger has, as a part of the ledger's cost.
// It is 0 if the cost is 0.
func (r *Reconciliation) Drift() float64 {
	if r.Spent <= 0 {
		return 0
	}
	return r.Lost/r.Spent.Dollars() - 1
}

const (
	// tolerated is the drift that rounding and responses in progress at a reading explain.
	tolerated = 0.05
	// pennies is the amount below which drift is irrelevant.
	pennies = 0.05
)

// Drifts reports whether the two differ by more than can be explained.
func (r *Reconciliation) Drifts() bool {
	gap := r.Lost - r.Spent.Dollars()
	return max(gap, -gap) > max(pennies, tolerated*r.Spent.Dollars())
}

// Reconcile compares every server with at least two readings in [since, until).
func (s *Store) Reconcile(ctx context.Context, since, until time.Time) ([]Reconciliation, error) {
	readings, err := s.readings(ctx, since, until)
	if err != nil {
		return nil, err
	}
	var out []Reconciliation
	for len(readings) > 0 {
		server := readings[0].Server
		n := slices.IndexFunc(readings, func(r Reading) bool { return r.Server != server })
		if n < 0 {
			n = len(readings)
		}
		if n > 1 {
			r, err := s.reconcile(ctx, readings[:n])
			if err != nil {
				return nil, err
			}
			out = append(out, r)
		}
		readings = readings[n:]
	}
	return out, nil
}

func (s *Store) readings(ctx context.Context, since, until time.Time) ([]Reading, error) {
	rows, err := s.db.QueryContext(ctx, s.rebind(`SELECT server, time, value FROM balances WHERE time >= ? AND time < ? ORDER BY server, time`),
		since.UnixMilli(), until.UnixMilli())
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []Reading
	for rows.Next() {
		var r Reading
		var at int64
		if err := rows.Scan(&r.Server, &at, &r.Value); err != nil {
			return nil, err
		}
		r.At = time.UnixMilli(at)
		list = append(list, r)
	}
	return list, rows.Err()
}

// reconcile compares the readings of one server, which are ordered by time.
func (s *Store) reconcile(ctx context.Context, list []Reading) (Reconciliation, error) {
	first, last := list[0], list[len(list)-1]
	r := Reconciliation{Server: first.Server, Readings: len(list), From: first.At, To: last.At}
	begin := first
	for i := 1; i < len(list); i++ {
		before, now := list[i-1], list[i]
		if now.Value <= before.Value {
			continue
		}
		r.Raised += now.Value - before.Value
		if err := s.compare(ctx, &r, begin, before); err != nil {
			return r, err
		}
		begin = now
	}
	return r, s.compare(ctx, &r, begin, last)
}

// compare adds an interval in which the balance did not rise.
func (s *Store) compare(ctx context.Context, r *Reconciliation, from, to Reading) error {
	if !from.At.Before(to.At) {
		return nil
	}
	r.Lost += from.Value - to.Value
	for e, err := range s.Entries(ctx, from.At.Add(-day), to.At) {
		if err != nil {
			return err
		}
		for i := range e.Attempts {
			r.charge(&e.Attempts[i], from.At, to.At)
		}
	}
	return nil
}

// charge adds an attempt at the server if its response ended in [from, to), because it is paid at
// its end.
func (r *Reconciliation) charge(a *ledger.Attempt, from, to time.Time) {
	ended := a.Start.Add(a.Duration)
	if a.Server != r.Server || !a.Known() || ended.Before(from) || !ended.Before(to) {
		return
	}
	r.Spent += a.Cost.Sum
	if !a.Cost.Known {
		r.Unpriced++
	}
}
