package service

import (
	"context"
	"log/slog"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/observe"
	"github.com/9bingyin/claude-code-lb/internal/telemetry"
)

// tracesFlush limits the export of the last spans when the process stops.
const tracesFlush = 5 * time.Second

// startTraces exports OpenTelemetry spans of requests if the environment asks for it. If that
// fails, the balancer serves without them. stop exports the last spans.
func startTraces(std Std, b *Balancer, log *slog.Logger) (stop func()) {
	protocol, wanted, err := observe.TraceSettings(std.Env)
	var traces *observe.Traces
	if wanted {
		traces, err = observe.StartTraces(context.Background(), protocol, Version(), log)
	}
	if err != nil {
		log.Error(telemetry.TracesOff, telemetry.Err, err)
	}
	if traces == nil {
		return func() {}
	}
	b.proxy.Tracer = traces
	log.Info(telemetry.TracesOn, telemetry.Protocol, protocol)
	return func() {
		ctx, cancel := context.WithTimeout(context.Background(), tracesFlush)
		defer cancel()
		traces.Stop(ctx)
	}
}
