package service

import (
	"context"
	"log/slog"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/observe"
	"github.com/9bingyin/claude-code-lb/internal/telemetry"
)

// tracesFlush is how long the last spans may take to be exported at the end.
const tracesFlush = 5 * time.Second

// startTraces lets requests be followed by OpenTelemetry if the environment asks for it; stop exports what is left at
// the end. Without traces the balancer serves all the same.
func startTraces(std Std, b *Balancer, log *slog.Logger) (stop func()) {
	protocol, wanted, err := observe.TracesWanted(std.Env)
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
	b.forward.Tracer = traces
	log.Info(telemetry.TracesOn, telemetry.Protocol, protocol)
	return func() {
		ctx, cancel := context.WithTimeout(context.Background(), tracesFlush)
		defer cancel()
		traces.Stop(ctx)
	}
}
