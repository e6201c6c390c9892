package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/report"
	"github.com/9bingyin/claude-code-lb/internal/service"
	"github.com/9bingyin/claude-code-lb/internal/store"
)

const reportIntro = `claude-code-lb report sums up the ledger: requests, errors, tokens, cache hit rate, cost,
the savings by the prompt cache, and the waste: billed attempts that failed, and prompts that
an account cached again although another account had them cached.

A time is a date (2026-05-01), a date and time (2026-05-01T12:00, or with a zone as in
RFC 3339), today or yesterday, or an age (90m, 24h, 7d). Days begin in the time_zone of the
configuration, as for budgets.

Usage: claude-code-lb report [-c FILE] [flags]

Flags:
`

// reportCommand has the flags of report.
type reportCommand struct {
	file, by, since, until, zone, format string
	key, model, upstream                 string
	reconcile                            bool
}

func runReport(ctx context.Context, std service.Std, args []string) int {
	flags := newFlags("report", reportIntro)
	var r reportCommand
	flags.StringVar(&r.file, "c", "", configFlagUsage)
	flags.StringVar(&r.by, "by", "day", "`DIMENSIONS` of the rows, separated by commas: day, hour, key, model, upstream, session; total for none")
	flags.StringVar(&r.since, "since", "30d", "`TIME` of the first request")
	flags.StringVar(&r.until, "until", "", "`TIME` before which the last request began (default: now)")
	const zone = "time `ZONE` of days and hours, such as UTC, Local or Europe/Berlin (default: time_zone of the configuration, otherwise UTC)"
	flags.StringVar(&r.zone, "zone", "", zone)
	flags.StringVar(&r.zone, "tz", "", "the same as -zone")
	flags.StringVar(&r.key, "key", "", "only requests of the client key with this `NAME`")
	flags.StringVar(&r.model, "model", "", "only requests for this `MODEL`")
	flags.StringVar(&r.upstream, "upstream", "", "only attempts at the server with this `NAME`")
	flags.BoolVar(&r.reconcile, "reconcile", false, "compare the readings of balance_check with the cost in the ledger, for each server; exit status 1 if they differ")
	flags.StringVar(&r.format, "format", "table", "`FORMAT` of the output: table, json, csv or ndjson")
	if status, done := parseFlags(flags, std, args); done {
		return status
	}
	now := time.Now()
	_, err := r.question(now, "")
	if err == nil && !slices.Contains([]string{"table", "json", "csv", "ndjson"}, r.format) {
		err = fmt.Errorf("-format %s: want table, json, csv or ndjson", r.format)
	}
	if err != nil {
		fmt.Fprintln(std.Err, "report:", err)
		return service.ExitUsage
	}
	waiting := service.WaitingRows(ctx, std, service.ConfigPath(std, r.file))
	status, err := r.run(ctx, std, now, len(waiting) > 0)
	for _, note := range waiting {
		fmt.Fprintln(std.Err, "report:", note)
	}
	if err != nil {
		return printFailure(std, "report", service.ConfigPath(std, r.file), err)
	}
	return status
}

// printFailure prints why a command failed that reads the configuration, and returns the exit
// status.
func printFailure(std service.Std, command, path string, err error) int {
	if e, ok := errors.AsType[service.Unreadable](err); ok {
		service.ExplainUnreadable(std.Err, path, e.Err)
		return service.ExitError
	}
	fmt.Fprintf(std.Err, "%s: %v\n", command, err)
	return service.ExitError
}

// run prints the report. waiting is true if requests are missing from the ledger because it could
// not be written to.
func (r *reportCommand) run(ctx context.Context, std service.Std, now time.Time, waiting bool) (status int, err error) {
	s, cfg, err := service.ReadLedger(ctx, std, service.ConfigPath(std, r.file))
	if err != nil {
		return service.ExitError, err
	}
	defer s.Close()
	q, err := r.question(now, cfg.TimeZone)
	if err != nil {
		return service.ExitError, err
	}
	if r.reconcile {
		list, err := s.Reconcile(ctx, q.Since, q.Until)
		if err != nil {
			return service.ExitError, err
		}
		return writeReconciliation(std.Out, r.format, list)
	}
	lines, err := s.Report(ctx, q)
	if err != nil {
		return service.ExitError, err
	}
	if len(lines) == 0 && r.format == "table" && waiting {
		return service.ExitOK, nil // "no requests" would be wrong
	}
	return service.ExitOK, report.Write(std.Out, r.format, q, lines)
}

// question converts the flags. Without -zone the time zone of the calendar applies.
func (r *reportCommand) question(now time.Time, calendar string) (store.Question, error) {
	q, err := report.Params{By: r.by, Since: r.since, Until: r.until, Zone: cmp.Or(r.zone, calendar), Key: r.key, Model: r.model, Upstream: r.upstream}.Question(now)
	if err != nil {
		return q, fmt.Errorf("-%w", err)
	}
	return q, nil
}

// printer writes text and records the first error.
type printer struct {
	to  io.Writer
	err error
}

func (p *printer) printf(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.to, format, args...)
	}
}
