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

// LedgerAt says where a configuration keeps its ledger, "" if it keeps none.
func LedgerAt(path string, cfg *config.Config, kept State) string {
	switch given := cfg.Ledger.Reveal(); {
	case given == config.Off:
		return ""
	case given == "" && kept.dir == "":
		return ""
	case given == "":
		return filepath.Join(kept.dir, ledgerFile)
	case store.IsURL(given), filepath.IsAbs(given):
		return given
	default:
		return filepath.Join(filepath.Dir(path), given)
	}
}

// newLedger makes the writer of a configuration's ledger, nil if it keeps none. What cannot be opened now is tried
// again for as long as the balancer runs: requests are served all the same.
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

// spillOf names the places for rows that could not be written to the ledger when the balancer stops: the
// state directory, the directory of the configuration file, and standard output.
func spillOf(std Std, path string, kept State) store.Spill {
	s := store.Spill{Print: std.Out, Command: "claude-code-lb ledger import -c " + strconv.Quote(path) + " -"}
	name := strings.TrimSuffix(filepath.Base(path), filepath.Ext(path))
	if kept.dir != "" {
		s.Prefixes = append(s.Prefixes, filepath.Join(kept.dir, name))
	}
	if isRegular(path) {
		s.Prefixes = append(s.Prefixes, filepath.Join(filepath.Dir(path), name))
	}
	return s
}

func ledgerBounds(cfg *config.Config) store.Bounds {
	return store.Bounds{Age: time.Duration(cfg.RetentionDays) * 24 * time.Hour, Size: int64(cfg.MaxSizeMB) << 20}
}

// Unreadable is the error of a configuration file that cannot be read.
type Unreadable struct{ Err error }

func (u Unreadable) Error() string { return u.Err.Error() }

func (u Unreadable) Unwrap() error { return u.Err }

// LedgerOf finds the ledger of a configuration for a command that needs no upstream.
func LedgerOf(std Std, path string) (where string, spill store.Spill, cfg *config.Config, err error) {
	cfg, problems, err := LoadConfigWithout(std, path, ForLedger()...)
	switch {
	case err != nil:
		return "", spill, nil, Unreadable{err}
	case problems.Failed():
		return "", spill, nil, IsFaulty(path, problems)
	}
	kept := NewState(std, path, cfg, slog.New(slog.DiscardHandler))
	if where = LedgerAt(path, cfg, kept); where == "" {
		return "", spill, nil, fmt.Errorf("%s keeps no ledger", path)
	}
	return where, spillOf(std, path, kept), cfg, nil
}

// ReadLedger opens the ledger of a configuration to look into it.
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
