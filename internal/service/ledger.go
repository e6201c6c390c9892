package service

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/config"
	"github.com/9bingyin/claude-code-lb/internal/event"
	"github.com/9bingyin/claude-code-lb/internal/store"
	"github.com/9bingyin/claude-code-lb/internal/telemetry"
)

const ledgerFile = "ledger.db"

// LedgerAt returns the file or URL of a configuration's ledger, "" without a ledger.
func LedgerAt(path string, cfg *config.Config, state State) string {
	switch given := cfg.Ledger.Reveal(); {
	case given == config.Off:
		return ""
	case given == "" && state.dir == "":
		return ""
	case given == "":
		return filepath.Join(state.dir, ledgerFile)
	case store.IsURL(given), filepath.IsAbs(given):
		return given
	default:
		return filepath.Join(filepath.Dir(path), given)
	}
}

// newLedger returns the writer of the ledger at a file or URL, nil for "". If the ledger cannot be
// opened, the balancer serves requests anyway, and the writer tries again until the process ends.
func newLedger(where string, cfg *config.Config, log *event.Bus, spill store.Spill) *store.Writer {
	if where == "" {
		return nil
	}
	w := store.NewWriter(func(ctx context.Context) (*store.Store, error) {
		s, err := store.Open(ctx, where)
		if err == nil {
			log.Info(telemetry.LedgerOpen, telemetry.Ledger, s.Kind(), telemetry.Address, store.Address(where))
		}
		return s, err
	}, log, ledgerBounds(cfg))
	w.SpillTo(spill)
	if !store.IsURL(where) {
		w.ReadWith(func(ctx context.Context) (*store.Store, error) { return store.OpenReader(ctx, where) })
	}
	return w
}

// spillOf names the places for rows that could not be written to the ledger when the balancer
// stops: the state directory, the directory of the configuration file, and standard output.
func spillOf(std Std, path string, state State) store.Spill {
	s := store.Spill{Print: std.Out, Command: "claude-code-lb ledger import -c " + strconv.Quote(path) + " -"}
	name := strings.TrimSuffix(filepath.Base(path), filepath.Ext(path))
	if state.dir != "" {
		s.Prefixes = append(s.Prefixes, filepath.Join(state.dir, name))
	}
	if isRegular(path) {
		s.Prefixes = append(s.Prefixes, filepath.Join(filepath.Dir(path), name))
	}
	return s
}

// ledgerBounds returns the limits of the ledger's age and size.
func ledgerBounds(cfg *config.Config) store.Bounds {
	return store.Bounds{Age: time.Duration(cfg.RetentionDays) * 24 * time.Hour, Size: int64(cfg.MaxSizeMB) << 20}
}

// Unreadable is the error of a configuration file that cannot be read.
type Unreadable struct{ Err error }

func (u Unreadable) Error() string { return u.Err.Error() }

func (u Unreadable) Unwrap() error { return u.Err }

// LedgerOf locates the ledger of a configuration, for a command that needs no upstream.
func LedgerOf(std Std, path string) (where string, spill store.Spill, cfg *config.Config, err error) {
	cfg, problems, err := LoadConfig(std, path, UnusedByLedger()...)
	switch {
	case err != nil:
		return "", spill, nil, Unreadable{err}
	case problems.Failed():
		return "", spill, nil, FaultyConfig(path, problems)
	}
	state := NewState(std, path, cfg, slog.New(slog.DiscardHandler))
	if where = LedgerAt(path, cfg, state); where == "" {
		return "", spill, nil, fmt.Errorf("%s keeps no ledger", path)
	}
	return where, spillOf(std, path, state), cfg, nil
}

// ReadLedger opens the ledger of a configuration for reading.
func ReadLedger(ctx context.Context, std Std, path string) (*store.Store, *config.Config, error) {
	where, _, cfg, err := LedgerOf(std, path)
	if err != nil {
		return nil, nil, err
	}
	if err := store.Exists(where); err != nil {
		return nil, nil, err
	}
	s, err := store.OpenReader(ctx, where)
	return s, cfg, err
}
