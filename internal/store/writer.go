package store

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/event"
	"github.com/9bingyin/claude-code-lb/internal/ledger"
	"github.com/9bingyin/claude-code-lb/internal/telemetry"
)

const (
	// flushDelay is the longest wait of an entry for others of its batch.
	flushDelay = 200 * time.Millisecond
	// batchSize is the most rows of one batch. That many rows are written without further wait.
	batchSize = 1000
	// bufferMemory is the memory for entries that cannot be written at the moment.
	bufferMemory = 64 << 20
	// writeTime is the time-out of one write.
	writeTime = 30 * time.Second
	// lastWrite bounds the final write. Rows that are not written by then are spilled. Service
	// managers commonly kill a process 10 s after they stop it.
	lastWrite = 5 * time.Second
	// firstPause and longestPause bound the pause before a retry.
	firstPause, longestPause = time.Second, 30 * time.Second
	// firstRepeat and longestRepeat bound the interval of log lines about the same failure.
	firstRepeat, longestRepeat = 10 * time.Second, time.Minute
	// prunePeriod is the interval of calls of Prune.
	prunePeriod = 10 * time.Minute
)

// Writer writes entries to the ledger in the background. While the ledger is not writable, for
// example because the disk is full or the database is down, entries wait in memory. When that is
// full, newer entries only add to the sums: no token and no money is lost, but their rows are. Safe
// for concurrent use.
type Writer struct {
	open func(context.Context) (*Store, error)
	read func(context.Context) (*Store, error) // nil: only open is used
	log  *event.Bus
	wake chan struct{}
	ids  *numbering
	room int

	mu         sync.Mutex
	rows       []row
	scratch    []byte // buffer for encoding
	bytes      int    // approximate memory of rows
	readings   []Reading
	sums       tally     // of everything that waits
	late       int64     // entries that had to wait because a write failed
	counted    int       // the number of oldest waiting entries that are part of late
	outage     int64     // the part of late that belongs to the current outage
	reason     string    // of the failed write, "" after a success
	since      time.Time // beginning of the failures
	aggregated int64     // entries without a row
	unknown    unknownModels
	bounds     Bounds
	store      *Store // nil until it is open
	current    *load  // being written
	oldest     time.Time

	spill     Spill
	restoring chan struct{} // semaphore: one goroutine imports or counts spills
	parked    []parked      // spills of earlier processes

	// Used by the writing goroutine only.
	lastLogged time.Time
	repeat     time.Duration // until the next log line
	pruned     time.Time
	searched   time.Time // last search for spills
}

// NewWriter returns a writer into the ledger that open opens. It does nothing before Run.
func NewWriter(open func(context.Context) (*Store, error), log *event.Bus, b Bounds) *Writer {
	return &Writer{
		open: open, log: log, wake: make(chan struct{}, 1), ids: newNumbering(), room: bufferMemory, sums: tally{}, bounds: b,
		restoring: make(chan struct{}, 1),
	}
}

// SpillTo sets the places for rows that cannot be written before the process ends, and for those of
// earlier processes. It must be the first call.
func (w *Writer) SpillTo(s Spill) { w.spill = s }

// ReadWith sets how Spent opens the ledger while it cannot be opened for writing. It must be called
// before Open and Run.
func (w *Writer) ReadWith(open func(context.Context) (*Store, error)) { w.read = open }

// Open opens the ledger before the first entry and imports the spills of earlier processes, so that
// past spending is known before new requests add to it. It logs an error; Run retries.
func (w *Writer) Open(ctx context.Context) {
	w.searchSpills(time.Now())
	if err := w.restore(ctx); err != nil {
		w.countLate(err)
		w.logOccasionally(err)
	}
}

// Bound changes the bounds.
func (w *Writer) Bound(b Bounds) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.bounds = b
}

// Record takes over a finished request. It never blocks on the ledger.
func (w *Writer) Record(e ledger.Entry) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sums.add(&e, &w.unknown)
	if w.bytes >= w.room {
		w.aggregated++
		return
	}
	if len(w.rows) == 0 {
		w.oldest = time.Now()
	}
	w.scratch = appendEntry(w.scratch[:0], &e)
	r := row{id: w.ids.next(e.Start), entry: string(w.scratch), prompt: e.Prompt}
	w.rows = append(w.rows, r)
	w.bytes += r.size()
	if len(w.rows) >= batchSize {
		w.nudge()
	}
}

// Balance records a reading of a server's balance.
func (w *Writer) Balance(server string, value float64, at time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.readings) < batchSize {
		w.readings = append(w.readings, Reading{server, at, value})
	}
}

func (w *Writer) nudge() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// Backlog returns what is not in the ledger yet: the number of entries, the age of the oldest, how
// many had to wait because a write failed, and how many have no row because memory was full.
func (w *Writer) Backlog() (rows int, oldest time.Duration, late, aggregated int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if rows = len(w.rows); rows > 0 {
		oldest = time.Since(w.oldest)
	}
	if w.current != nil && len(w.current.rows) > 0 {
		rows = w.waitingLocked()
		oldest = time.Since(w.current.since)
	}
	late = w.late
	if w.reason != "" {
		late += int64(max(w.waitingLocked()-w.counted, 0))
	}
	return rows, oldest, late, w.aggregated
}

var errNotOpen = errors.New("the ledger is not open yet")

// Run writes until ctx ends, then makes one last try.
func (w *Writer) Run(ctx context.Context) {
	tick := time.NewTicker(flushDelay)
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
		w.restoreLater(ctx)
		w.prune(ctx)
	}
}

// finish writes the remaining rows in one try, or spills them.
func (w *Writer) finish(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, lastWrite)
	defer cancel()
	for b := w.take(); b != nil; b = w.take() {
		if err := w.try(ctx, b); err != nil {
			w.spillAll(err)
			break
		}
		w.recordWritten(b)
	}
	if s := w.ready(); s != nil {
		_ = s.Close() // everything is committed
	}
}

// spillAll writes all waiting rows to a spill, because the ledger is not writable.
func (w *Writer) spillAll(because error) {
	var list []*load
	rows := 0
	for b := w.take(); b != nil; b = w.take() {
		list = append(list, b)
		rows += len(b.rows)
		w.mu.Lock()
		w.current = nil
		w.mu.Unlock()
	}
	file, err := w.spill.write(list, time.Now())
	switch {
	case err != nil:
		w.log.Error(telemetry.LedgerLost, telemetry.Rows, rows, telemetry.Err, errors.Join(because, err))
	case file != "":
		w.log.Error(telemetry.LedgerSpilled, telemetry.Rows, rows, telemetry.File, file, telemetry.Err, because)
	default:
		w.log.Error(telemetry.LedgerPrinted, telemetry.Rows, rows, telemetry.Command, w.spill.Command, telemetry.Err, because)
	}
}

// flush writes the waiting rows, with retries. Rows that arrive in the meantime are written later.
func (w *Writer) flush(ctx context.Context) {
	for more := true; more; more = w.isFull() || w.isBehind() {
		b := w.take()
		if b == nil {
			return
		}
		pause := firstPause
		for err := w.try(ctx, b); err != nil; err = w.try(ctx, b) {
			if ctx.Err() != nil {
				return
			}
			w.countLate(err)
			w.logOccasionally(err)
			if !sleep(ctx, pause) {
				return
			}
			pause = min(2*pause, longestPause)
		}
		w.recordWritten(b)
	}
}

// isFull reports whether a whole batch waits.
func (w *Writer) isFull() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.rows) >= batchSize
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

// load is a batch with the readings that are written with it.
type load struct {
	*batch
	readings []Reading
	since    time.Time // when the oldest entry began to wait
	size     int
	tries    int
	untried  bool // from a spill: no process has tried to write it
}

// take returns the next batch, nil if nothing waits: the batch that was not written yet, with its
// id, because its commit may be in doubt; else the oldest rows with the sums of everything that
// waits.
func (w *Writer) take() *load {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.current != nil {
		return w.current
	}
	if len(w.rows) == 0 && len(w.sums) == 0 && len(w.readings) == 0 {
		return nil
	}
	n := min(len(w.rows), batchSize)
	b := &load{batch: newBatch(w.rows[:n:n], w.sums), readings: w.readings, since: w.oldest}
	for i := range b.rows {
		b.size += b.rows[i].size()
	}
	w.rows, w.sums, w.readings, w.current, w.oldest = w.rows[n:], tally{}, nil, b, time.Now()
	if len(w.rows) == 0 {
		w.rows = nil // frees the array
	}
	return b
}

// waitingLocked returns the number of waiting rows.
func (w *Writer) waitingLocked() int {
	n := len(w.rows)
	if w.current != nil {
		n += len(w.current.rows)
	}
	return n
}

// countLateLocked adds all waiting rows to late that are not part of it yet.
func (w *Writer) countLateLocked() {
	waiting := w.waitingLocked()
	more := int64(max(waiting-w.counted, 0))
	w.late += more
	w.outage += more
	w.counted = waiting
}

// countLate records that a write failed.
func (w *Writer) countLate(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.reason == "" {
		w.since = time.Now()
	}
	w.reason = err.Error()
	w.countLateLocked()
}

// isBehind reports whether rows wait that could not be written in time.
func (w *Writer) isBehind() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.reason != "" && w.counted > 0
}

// recordWritten records that a batch is in the ledger.
func (w *Writer) recordWritten(b *load) {
	w.mu.Lock()
	failing := w.reason != ""
	if failing && b.tries > 1 {
		w.countLateLocked() // rows that came since the last failed try
	}
	w.bytes -= b.size
	w.current = nil
	w.counted = max(w.counted-len(b.rows), 0)
	late := w.outage
	over := failing && w.counted == 0
	if over {
		w.reason, w.outage = "", 0
	}
	w.mu.Unlock()
	if over {
		w.lastLogged, w.repeat = time.Time{}, 0
		w.log.Publish(context.Background(), event.LedgerCaughtUp{Rows: late})
	}
}

// Trouble returns why the ledger cannot be written to and since when, "" if it can.
func (w *Writer) Trouble() (reason string, since time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.reason, w.since
}

// Unwritten returns the number of requests that wait because the ledger is not writable, 0 if it
// is.
func (w *Writer) Unwritten() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.reason == "" {
		return 0
	}
	return w.waitingLocked()
}

func (w *Writer) logOccasionally(err error) {
	if now := time.Now(); now.Sub(w.lastLogged) >= w.repeat {
		w.lastLogged, w.repeat = now, min(max(2*w.repeat, firstRepeat), longestRepeat)
		rows, _, _, folded := w.Backlog()
		w.log.Publish(context.Background(), event.LedgerLate{Rows: rows, Folded: folded, Err: err})
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
	lost, err := s.write(ctx, b)
	if lost != nil {
		w.log.Error(telemetry.LedgerLost, telemetry.Rows, lost.rows, telemetry.Err, lost.because)
	}
	return s.withoutSettings(err)
}

// opened returns the store. It opens the ledger if that failed before, or if its file was replaced.
func (w *Writer) opened(ctx context.Context) (*Store, error) {
	if s := w.ready(); s != nil {
		if s.gone == nil || !s.gone() {
			return s, nil
		}
		w.log.Error(telemetry.LedgerReplaced)
		w.mu.Lock()
		w.store = nil
		w.mu.Unlock()
		_ = s.Close() // its content is lost for readers
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

// Store returns the open ledger for readers, nil while it is not open.
func (w *Writer) Store() *Store { return w.ready() }

// prune calls Prune from time to time.
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
