package service

import (
	"context"
	"log/slog"

	"github.com/9bingyin/claude-code-lb/internal/telemetry"
)

const (
	// otherDescriptors is the number of file descriptors that do not belong to requests: listeners,
	// the ledger, the admin listener's clients, the configuration file.
	otherDescriptors = 32
	// perStream is the number of file descriptors of a request: a connection to its client and one
	// to an upstream.
	perStream = 2
	// fewDescriptors is the limit below which the log has a warning. Some systems have a lower
	// default, and a team of agents may need more.
	fewDescriptors = 4096
)

// reportDescriptors logs the limit of file descriptors. The Go runtime has raised the soft limit to
// the hard one when the process began.
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

// streamsOf returns how many concurrent requests a number of descriptors allows, if the upstreams
// speak HTTP/1.1.
func streamsOf(limit uint64) uint64 {
	return (limit - min(limit, otherDescriptors)) / perStream
}
