package store

import (
	"context"
	"database/sql"
	"iter"
	"time"

	"claude-code-lb/internal/ledger"
)

// Entries reads the requests that began in [since, until) with their attempts, oldest first. It
// ends after the first error.
func (s *Store) Entries(ctx context.Context, since, until time.Time) iter.Seq2[*ledger.Entry, error] {
	return func(yield func(*ledger.Entry, error) bool) {
		low, high := idFloor(since), idFloor(until)
		requests, err := s.db.QueryContext(ctx, s.rebind(`SELECT `+requestColumns+` FROM requests WHERE id >= ? AND id < ? ORDER BY id`), low, high)
		if err != nil {
			yield(nil, err)
			return
		}
		defer requests.Close()
		attempts := &attemptCursor{}
		attempts.rows, err = s.db.QueryContext(ctx, s.rebind(`SELECT `+attemptColumns+` FROM attempts WHERE request >= ? AND request < ? ORDER BY request, n`), low, high)
		if err != nil {
			yield(nil, err)
			return
		}
		defer attempts.rows.Close()
		for requests.Next() {
			id, e, err := scanRequest(requests)
			if err == nil {
				e.Attempts, err = attempts.of(id)
			}
			if err != nil {
				yield(nil, err)
				return
			}
			if !yield(e, nil) {
				return
			}
		}
		if err := requests.Err(); err != nil {
			yield(nil, err)
		}
	}
}

func scanRequest(rows *sql.Rows) (id int64, e *ledger.Entry, err error) {
	e = &ledger.Entry{}
	var at, stream int64
	var server, outcome, routed string
	err = rows.Scan(&id, &e.ID, &at, &e.Client, &e.Session, &e.Agent, &e.Method, &e.Path, &e.Model, &server, &outcome, &e.Status, &stream, &routed, &e.Reason,
		(*int64)(&e.TimeToFirstByte), (*int64)(&e.Duration), (*int64)(&e.Waited), &e.Sent, &e.Bytes, (*[]byte)(&e.Prompt))
	e.Start, e.Stream, e.Outcome, e.Routed = time.UnixMilli(at), stream != 0, ledger.Outcome(outcome), ledger.Routed(routed)
	if len(e.Prompt) == 0 {
		e.Prompt = nil
	}
	return id, e, err
}

// attemptCursor walks over attempts in the order of their requests.
type attemptCursor struct {
	rows    *sql.Rows
	request int64 // of next
	next    ledger.Attempt
	ahead   bool // next has been read and not been taken
}

// of takes the attempts of a request; those of earlier ones are passed over.
func (c *attemptCursor) of(request int64) ([]ledger.Attempt, error) {
	var list []ledger.Attempt
	for {
		if !c.ahead {
			if !c.rows.Next() {
				return list, c.rows.Err()
			}
			if err := c.scan(); err != nil {
				return nil, err
			}
		}
		if c.request > request {
			return list, nil
		}
		if c.ahead = false; c.request == request {
			list = append(list, c.next)
		}
	}
}

func (c *attemptCursor) scan() error {
	c.ahead, c.next = true, ledger.Attempt{}
	a := &c.next
	u := &a.Answer.Usage
	var n, at, served, known, estimated, priced int64
	err := c.rows.Scan(&c.request, &n, &at, &a.Server, &a.Status, &a.Scope, &a.Reason, &a.RequestID, (*int64)(&a.Verdict), (*int64)(&a.Duration),
		&served, &a.Answer.Model, &a.Answer.StopReason, &u.ServiceTier, &known, &estimated,
		&u.InputTokens, &u.OutputTokens, &u.CacheReadTokens, &u.CacheCreation5mTokens, &u.CacheCreation1hTokens, &u.WebSearchRequests,
		&priced, (*int64)(&a.Cost.Sum), (*int64)(&a.Cost.Saved), (*int64)(&a.Cost.Wasted), &a.Warm, &a.Warmest, &a.Guess)
	a.Start, a.Served, a.Cost.Known = time.UnixMilli(at), served != 0, priced != 0
	a.Answer.Started, a.Answer.Delta = known != 0, known != 0 && estimated == 0
	return err
}
