package service

import (
	"context"
	"fmt"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/config"
)

// instanceTimeout is how long a report waits for the running instance.
const instanceTimeout = time.Second

// WaitingRows describes the requests that a configuration's ledger lacks because it could not be
// written to: those in spill files of earlier processes, and those in the memory of the running
// one.
func WaitingRows(ctx context.Context, std Std, path string) []string {
	_, spill, cfg, err := LedgerOf(std, path)
	if err != nil {
		return nil
	}
	var notes []string
	for _, w := range spill.Waiting() {
		notes = append(notes, fmt.Sprintf("%d requests wait in %s and are not counted here: the next start imports them", w.Requests, w.File))
	}
	if n := unwrittenBy(ctx, cfg); n > 0 {
		notes = append(notes, fmt.Sprintf("%d requests wait in the memory of the running balancer and are not counted here, because the ledger cannot be written to", n))
	}
	return notes
}

// unwrittenBy asks the running instance how many requests wait in its memory.
func unwrittenBy(ctx context.Context, cfg *config.Config) int {
	ctx, cancel := context.WithTimeout(ctx, instanceTimeout)
	defer cancel()
	health, err := AskHealth(ctx, LocalAddress(cfg.Address()), cfg.TLSCert != "")
	if err != nil {
		return 0 // no instance is running
	}
	return health.Unwritten
}
