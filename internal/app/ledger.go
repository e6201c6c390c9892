package app

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"claude-code-lb/internal/config"
	"claude-code-lb/internal/store"
	"claude-code-lb/internal/telemetry"
)

const ledgerFile = "ledger.db"

// ledgerAt says where a configuration keeps its ledger, "" if it keeps none.
func ledgerAt(path string, cfg *config.Config, kept state) string {
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
func newLedger(where string, cfg *config.Config, log *slog.Logger) *store.Writer {
	if where == "" {
		return nil
	}
	return store.NewWriter(func(ctx context.Context) (*store.Store, error) {
		s, err := store.Open(ctx, where)
		if err == nil {
			log.Info(telemetry.LedgerOpen, telemetry.Ledger, s.Kind(), telemetry.Address, store.Address(where))
		}
		return s, err
	}, log, ledgerBounds(cfg))
}

func ledgerBounds(cfg *config.Config) store.Bounds {
	return store.Bounds{Age: time.Duration(cfg.RetentionDays) * 24 * time.Hour, Size: int64(cfg.MaxSizeMB) << 20}
}

// unreadable marks the error of a configuration that cannot be read.
type unreadable struct{ error }

// readLedger opens the ledger of a configuration to look into it.
func readLedger(ctx context.Context, std Std, path string) (*store.Store, *config.Config, error) {
	cfg, problems, err := loadConfig(std, path)
	switch {
	case err != nil:
		return nil, nil, unreadable{err}
	case problems.Failed():
		return nil, nil, fmt.Errorf("%s has errors: claude-code-lb check tells them", path)
	}
	where := ledgerAt(path, cfg, newState(std, path, cfg, slog.New(slog.DiscardHandler)))
	if where == "" {
		return nil, nil, fmt.Errorf("%s keeps no ledger", path)
	}
	if err := store.Exists(where); err != nil {
		return nil, nil, err
	}
	s, err := store.Open(ctx, where)
	return s, cfg, err
}
