package service

import (
	"context"
	"log/slog"

	"github.com/9bingyin/claude-code-lb/internal/telemetry"
)

const (
	// housekeeping is how many file descriptors are in use besides those of requests: listeners, the ledger, the admin
	// listener's clients, files that are read now and then.
	housekeeping = 32
	// perStream is how many a request takes: a connection to its client and one to an upstream.
	perStream = 2
	// fewDescriptors is what some systems still give a process to begin with, or less: an afternoon of agents may need more.
	fewDescriptors = 4096
)

// reportDescriptors logs how many file descriptors there are. The Go runtime has raised the limit to the hard one when the
// process began, as far as the system lets it.
func reportDescriptors(log *slog.Logger) {
	limit, ok := descriptorLimit()
	if !ok {
		return
	}
	level, message := slog.LevelInfo, telemetry.Descriptors
	if limit < fewDescriptors {
		level, message = slog.LevelWarn, telemetry.FewDescriptors
	}
	log.Log(context.Background(), level, message, telemetry.Limit, limit, telemetry.Streams, streamsOf(limit))
}

// streamsOf is how many requests can be served at the same time with so many descriptors, where upstreams speak HTTP/1.1.
func streamsOf(limit uint64) uint64 {
	return (limit - min(limit, housekeeping)) / perStream
}
