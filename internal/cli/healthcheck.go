package cli

import (
	"context"
	"fmt"

	"github.com/9bingyin/claude-code-lb/internal/service"
)

// runHealthCheck asks the instance of a configuration for its health. A configuration with errors
// is enough if it has the address: the running instance may still use the previous one.
func runHealthCheck(ctx context.Context, std service.Std, file string) int {
	path := service.ConfigPath(std, file)
	cfg, _, err := service.LoadConfig(std, path, service.UnusedByRules()...)
	if err != nil {
		service.ExplainUnreadable(std.Err, path, err)
		return service.ExitError
	}
	health, err := service.AskHealth(ctx, service.LocalAddress(cfg.Address()), cfg.TLSCert != "")
	if err != nil {
		fmt.Fprintf(std.Err, "unhealthy: %v\n", err)
		return service.ExitError
	}
	fmt.Fprintf(std.Out, "%s: %d of %d servers available\n", health.Status, health.Available, health.Total)
	if health.Available == 0 {
		return service.ExitError
	}
	return service.ExitOK
}
