package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/service"
	"github.com/9bingyin/claude-code-lb/internal/webhook"
)

const webhookTestIntro = `claude-code-lb webhook-test sends one test message to every webhook of the
configuration, regardless of its events, and prints the results. Of the addresses it
shows only the host.

Usage: claude-code-lb webhook-test [-c FILE]

Flags:
`

// runWebhookTest sends a message to every webhook. The exit status is 0 if all accepted it.
func runWebhookTest(ctx context.Context, std service.Std, args []string) int {
	flags := newFlags("webhook-test", webhookTestIntro)
	file := flags.String("c", "", configFlagUsage)
	if status, done := parseFlags(flags, std, args); done {
		return status
	}
	path := service.ConfigPath(std, *file)
	cfg, problems, err := service.LoadConfig(std, path, service.UnusedByWebhooks()...)
	if err != nil {
		service.ExplainUnreadable(std.Err, path, err)
		return service.ExitError
	}
	if problems.Failed() {
		for _, p := range problems {
			fmt.Fprintln(std.Err, p)
		}
		return service.ExitError
	}
	if len(cfg.Webhooks) == 0 {
		fmt.Fprintf(std.Err, "webhook-test: %s has no webhooks\n", path)
		return service.ExitError
	}
	status := service.ExitOK
	for i, w := range cfg.Webhooks {
		began := time.Now()
		result := "delivered"
		if err := webhook.Test(ctx, w, service.Instance()); err != nil {
			result, status = "FAILED: "+err.Error(), service.ExitError
		}
		fmt.Fprintf(std.Out, "webhooks[%d] %s (%s): %s after %s\n", i, w.Host(), w.Format, result, time.Since(began).Round(time.Millisecond))
	}
	return status
}
