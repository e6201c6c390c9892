package store

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/ledger"
	"github.com/9bingyin/claude-code-lb/internal/telemetry"
)

// parked is a spill of an earlier process that is not in the ledger yet. Its rows stay in the file.
type parked struct {
	file string
	sums map[string]tally // by batch
}

// searchSpills looks for spills of earlier processes.
func (w *Writer) searchSpills(now time.Time) {
	w.searched = now
	for _, file := range w.spill.files() {
		if slices.ContainsFunc(w.parked, func(p parked) bool { return p.file == file }) {
			continue
		}
		all, err := readSpill(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			w.log.Error(telemetry.LedgerNotImported, telemetry.File, file, telemetry.Err, err)
			continue
		}
		p := parked{file: file, sums: map[string]tally{}}
		for _, b := range all.batches {
			p.sums[b.id] = b.sums
		}
		w.lockParked(context.Background()) //nolint:errcheck // it ends by itself
		w.parked = append(w.parked, p)
		w.unlockParked()
	}
}

// lockParked waits until no spill is being imported: then neither the ledger nor the list of spills
// changes.
func (w *Writer) lockParked(ctx context.Context) error {
	select {
	case w.restoring <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (w *Writer) unlockParked() { <-w.restoring }

// restore opens the ledger and imports the known spills. The error is temporary.
func (w *Writer) restore(ctx context.Context) error {
	s, err := w.opened(ctx)
	if err != nil {
		return err
	}
	for len(w.parked) > 0 {
		if err := w.restoreFirst(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// restoreFirst imports the first spill.
func (w *Writer) restoreFirst(ctx context.Context, s *Store) error {
	if err := w.lockParked(ctx); err != nil {
		return err
	}
	defer w.unlockParked()
	file := w.parked[0].file
	all, err := readSpill(file)
	if errors.Is(err, fs.ErrNotExist) { // another process has imported it
		w.parked = w.parked[1:]
		return nil
	}
	if err != nil {
		return err
	}
	done, err := s.restore(ctx, all)
	if err != nil {
		return err
	}
	w.parked = w.parked[1:]
	if done.Damaged > 0 {
		w.log.Error(telemetry.LedgerDamaged, telemetry.File, file+damagedSuffix, telemetry.Lines, done.Damaged)
	}
	w.log.Info(telemetry.LedgerImported, telemetry.File, file, telemetry.Rows, done.Requests)
	if err := discardSpill(file, done.Damaged > 0); err != nil { // a later start will find its batches in the ledger
		w.log.Warn(telemetry.LedgerNotImported, telemetry.File, file, telemetry.Err, err)
	}
	return nil
}

// restoreLater imports spills while the balancer runs: those that could not be imported at the
// start, and those of other processes that have ended since.
func (w *Writer) restoreLater(ctx context.Context) {
	now := time.Now()
	failing, _ := w.Trouble()
	pending := len(w.parked) > 0 || failing != ""
	if since := now.Sub(w.searched); since < longestPause || since < prunePeriod && !pending {
		return
	}
	w.searchSpills(now)
	if !pending && len(w.parked) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, writeTime)
	defer cancel()
	err := w.restore(ctx)
	if err == nil {
		w.recordRecovery()
	} else if ctx.Err() == nil {
		w.logOccasionally(err)
	}
}

// recordRecovery records that the ledger can be written to. If rows wait, their write shows that instead.
func (w *Writer) recordRecovery() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.counted == 0 {
		w.reason = ""
	}
}

// Spent returns what a client has spent on requests that began in [since, until), according to the
// ledger and the spills of earlier processes. Spills have hourly sums only, so their hours count in
// full.
func (w *Writer) Spent(ctx context.Context, client string, since, until time.Time) (ledger.Money, error) {
	if err := w.lockParked(ctx); err != nil {
		return 0, err
	}
	defer w.unlockParked()
	s := w.ready()
	if s == nil && w.read != nil { // a full disk can still be read
		var err error
		if s, err = w.read(ctx); err != nil {
			return 0, err
		}
		defer s.Close()
	}
	if s == nil {
		return 0, errNotOpen
	}
	spent, err := s.Spent(ctx, client, since, until)
	if err != nil {
		return 0, err
	}
	for _, p := range w.parked {
		for id, sums := range p.sums {
			known, err := s.hasBatch(ctx, id)
			if err != nil {
				return 0, err
			}
			if !known {
				spent += sums.cost(client, since, until)
			}
		}
	}
	return spent, nil
}

// cost returns what a client has spent in the hours that overlap [since, until).
func (t tally) cost(client string, since, until time.Time) ledger.Money {
	var spent ledger.Money
	for at, sums := range t {
		begin := time.Unix(at.n*int64(hour/time.Second), 0)
		if at.client == text(client) && begin.Add(hour).After(since) && begin.Before(until) {
			spent += sums.Cost
		}
	}
	return spent
}
