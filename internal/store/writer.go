package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"claude-code-lb/internal/ledger"
	"claude-code-lb/internal/telemetry"
)

const (
	// gather is how long an entry waits at most for others to be written with.
	gather = 200 * time.Millisecond
	// most is how many are written in one step, and so many are written without waiting for more.
	most = 1000
	// usualRoom is the memory for entries that cannot be written at the moment.
	usualRoom = 64 << 20
	// writeTime is how long one step may take.
	writeTime = 30 * time.Second
	// firstPause and longestPause are between two tries of what failed.
	firstPause, longestPause = time.Second, 30 * time.Second
	// complaints is the time between two log lines on the same trouble.
	complaints = 10 * time.Minute
	// prunePeriod is how often the ledger is cut to its bounds.
	prunePeriod = 10 * time.Minute
)

// Writer brings entries into the ledger, off the way of requests. While that cannot be written to, as on a full disk or
// with a database that is down, they wait in memory; when that is full, newer ones are only added to
// the sums, which take no room: then no token and no money is lost, but their rows are. Safe for concurrent use.
type Writer struct {
	open func(context.Context) (*Store, error)
	log  *slog.Logger
	wake chan struct{}
	ids  *numbering
	room int

	mu       sync.Mutex
	rows     []row
	scratch  []byte // to encode into
	bytes    int    // that they take, about
	readings []Reading
	sums     tally // of all that waits
	late     int64 // entries that had to wait for more than one try
	folded   int64 // entries without a row
	strange  strangers
	bounds   Bounds
	store    *Store // nil until it could be opened
	current  *load  // being written
	oldest   time.Time

	// Of the goroutine that writes.
	complained time.Time
	failing    bool
	pruned     time.Time
}

// NewWriter makes a writer into the ledger that open opens. It does nothing before Run.
func NewWriter(open func(context.Context) (*Store, error), log *slog.Logger, b Bounds) *Writer {
	return &Writer{open: open, log: log, wake: make(chan struct{}, 1), ids: newNumbering(), room: usualRoom, sums: tally{}, bounds: b}
}

// Open opens the ledger ahead of the first entry, so that what has been spent is known before more is. An error is
// logged; Run tries again.
func (w *Writer) Open(ctx context.Context) {
	if _, err := w.opened(ctx); err != nil {
		w.complain(err)
	}
}

// Bound changes what is kept.
func (w *Writer) Bound(b Bounds) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.bounds = b
}

// Record takes a finished request over. It never blocks on the ledger.
func (w *Writer) Record(e ledger.Entry) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sums.add(&e, &w.strange)
	if w.bytes >= w.room {
		w.folded++
		return
	}
	if len(w.rows) == 0 {
		w.oldest = time.Now()
	}
	w.scratch = appendEntry(w.scratch[:0], &e)
	r := row{id: w.ids.next(e.Start), entry: string(w.scratch), prompt: e.Prompt}
	w.rows = append(w.rows, r)
	w.bytes += r.size()
	if len(w.rows) >= most {
		w.nudge()
	}
}

// Balance takes a reading of a server's balance.
func (w *Writer) Balance(server string, value float64, at time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.readings) < most {
		w.readings = append(w.readings, Reading{server, at, value})
	}
}

func (w *Writer) nudge() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// Backlog tells what is not in the ledger yet: how many entries, how long the oldest has waited, how many
// had to wait because writing failed, and how many have no row because memory was full.
func (w *Writer) Backlog() (rows int, oldest time.Duration, late, folded int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if rows = len(w.rows); rows > 0 {
		oldest = time.Since(w.oldest)
	}
	if w.current != nil && len(w.current.rows) > 0 {
		rows += len(w.current.rows)
		oldest = time.Since(w.current.since)
	}
	return rows, oldest, w.late, w.folded
}

// Spent is what a client has spent on requests that began in [since, until), as far as it is in the ledger.
func (w *Writer) Spent(ctx context.Context, client string, since, until time.Time) (ledger.Money, error) {
	s := w.ready()
	if s == nil {
		return 0, errNotOpen
	}
	return s.Spent(ctx, client, since, until)
}

var errNotOpen = errors.New("the ledger is not open yet")

// Run writes until ctx ends, and then what is left, as far as that goes at once.
func (w *Writer) Run(ctx context.Context) {
	tick := time.NewTicker(gather)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			w.finish(context.WithoutCancel(ctx))
			return
		case <-w.wake:
		case <-tick.C:
		}
		w.flush(ctx)
		w.prune(ctx)
	}
}

// finish writes what is left, in one try.
func (w *Writer) finish(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, writeTime)
	defer cancel()
	for b := w.take(); b != nil; b = w.take() {
		if err := w.try(ctx, b); err != nil {
			rows, _, _, _ := w.Backlog()
			w.log.Error(telemetry.LedgerLost, telemetry.Rows, rows, telemetry.Err, err)
			break
		}
		w.written(b)
	}
	if s := w.ready(); s != nil {
		_ = s.Close() // all is committed
	}
}

// flush writes what waits, trying again for as long as it takes. What comes meanwhile is left to be written with more.
func (w *Writer) flush(ctx context.Context) {
	for more := true; more; more = w.full() {
		b := w.take()
		if b == nil {
			return
		}
		pause := firstPause
		for err := w.try(ctx, b); err != nil; err = w.try(ctx, b) {
			if ctx.Err() != nil {
				return
			}
			w.complain(err)
			if !sleep(ctx, pause) {
				return
			}
			pause = min(2*pause, longestPause)
		}
		w.written(b)
	}
}

// full says whether as many entries wait as are written in one step.
func (w *Writer) full() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.rows) >= most
}

func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// load is a batch with what else is written beside it.
type load struct {
	*batch
	readings []Reading
	since    time.Time // the oldest entry is waiting
	size     int
	tries    int
}

// take takes what is written next, nil when nothing waits: the batch that was not written yet, with its id, for its
// commit may be in doubt; else the oldest rows with the sums of all that waits.
func (w *Writer) take() *load {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.current != nil {
		return w.current
	}
	if len(w.rows) == 0 && len(w.sums) == 0 && len(w.readings) == 0 {
		return nil
	}
	n := min(len(w.rows), most)
	b := &load{batch: newBatch(w.rows[:n:n], w.sums), readings: w.readings, since: w.oldest}
	for i := range b.rows {
		b.size += b.rows[i].size()
	}
	w.rows, w.sums, w.readings, w.current, w.oldest = w.rows[n:], tally{}, nil, b, time.Now()
	if len(w.rows) == 0 {
		w.rows = nil // gives the array back
	}
	return b
}

// written notes that a batch is in the ledger.
func (w *Writer) written(b *load) {
	w.mu.Lock()
	w.bytes -= b.size
	w.current = nil
	if b.tries > 1 {
		w.late += int64(len(b.rows))
	}
	w.mu.Unlock()
	if w.failing {
		w.failing, w.complained = false, time.Time{}
		w.log.Info(telemetry.LedgerCaughtUp, telemetry.Rows, len(b.rows))
	}
}

func (w *Writer) complain(err error) {
	w.failing = true
	if now := time.Now(); now.Sub(w.complained) > complaints {
		w.complained = now
		rows, _, _, folded := w.Backlog()
		w.log.Error(telemetry.LedgerLate, telemetry.Rows, rows, telemetry.Folded, folded, telemetry.Err, err)
	}
}

// try writes a batch once. The same batch may be tried again after any error.
func (w *Writer) try(ctx context.Context, b *load) error {
	b.tries++
	ctx, cancel := context.WithTimeout(ctx, writeTime)
	defer cancel()
	s, err := w.opened(ctx)
	if err != nil {
		return err
	}
	if err = s.append(ctx, b.batch); err != nil && s.faulty(err) {
		err = w.salvage(ctx, s, b, err)
	}
	if err != nil {
		return err
	}
	for len(b.readings) > 0 {
		if err := s.AddReading(ctx, b.readings[0]); err != nil {
			return err
		}
		b.readings = b.readings[1:]
	}
	return nil
}

// opened is the store, opened if it could not be so far, or if its file is not the one any more.
func (w *Writer) opened(ctx context.Context) (*Store, error) {
	if s := w.ready(); s != nil {
		if s.gone == nil || !s.gone() {
			return s, nil
		}
		w.log.Error(telemetry.LedgerGone)
		w.mu.Lock()
		w.store = nil
		w.mu.Unlock()
		_ = s.Close() // nobody will find what is in it
	}
	s, err := w.open(ctx)
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.store = s
	return s, nil
}

func (w *Writer) ready() *Store {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.store
}

// salvage writes one by one what the database does not take together. A row that it will never take is given up.
func (w *Writer) salvage(ctx context.Context, s *Store, b *load, because error) error {
	if err := s.append(ctx, &batch{id: b.id + " sums", sums: b.sums}); err != nil {
		if !s.faulty(err) {
			return err
		}
		w.log.Error(telemetry.LedgerLost, telemetry.Rows, 0, telemetry.Err, err)
	}
	lost := 0
	for i := range b.rows {
		err := s.append(ctx, &batch{id: fmt.Sprint(b.id, " ", i), rows: b.rows[i : i+1]})
		switch {
		case err != nil && !s.faulty(err):
			return err
		case err != nil:
			lost++
		}
	}
	if lost > 0 {
		w.log.Error(telemetry.LedgerLost, telemetry.Rows, lost, telemetry.Err, because)
	}
	return nil
}

// prune cuts the ledger to its bounds now and again.
func (w *Writer) prune(ctx context.Context) {
	now := time.Now()
	w.mu.Lock()
	s, b := w.store, w.bounds
	w.mu.Unlock()
	if s == nil || now.Sub(w.pruned) < prunePeriod {
		return
	}
	w.pruned = now
	deleted, err := s.Prune(ctx, b, now)
	switch {
	case err != nil && !errors.Is(err, context.Canceled):
		w.log.Warn(telemetry.LedgerNotPruned, telemetry.Err, err)
	case deleted > 0:
		w.log.Info(telemetry.LedgerPruned, telemetry.Rows, deleted)
	}
}
