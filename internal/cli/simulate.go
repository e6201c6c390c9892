package cli

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/fakeclaude"
	"github.com/9bingyin/claude-code-lb/internal/replay"
	"github.com/9bingyin/claude-code-lb/internal/service"
)

const simulateIntro = `claude-code-lb simulate replays a recorded day of requests through the balancer's own
routing, on a virtual clock, against accounts with a prompt cache and rate limits. It reports
the cost of each policy, and how many accounts are needed.

A policy is an algorithm. With the name alone each request is routed independently, with
name+affinity conversations stay at their account; with cost_aware they always do.

Usage: claude-code-lb simulate -trace FILE [flags]

Flags:
`

// simulateCommand has the flags of simulate.
type simulateCommand struct {
	trace, policies, format string
	accounts                string
	limits                  fakeclaude.Limits
	outages                 []replay.Outage
	restart                 time.Duration
	snapshot, noSession     bool
	deviation               float64
	hold                    time.Duration
	seed                    uint64
}

func runSimulate(ctx context.Context, std service.Std, args []string) int {
	flags := newFlags("simulate", simulateIntro)
	s := simulateCommand{}
	s.define(flags)
	if status, done := parseFlags(flags, std, args); done {
		return status
	}
	if err := s.run(ctx, std); err != nil {
		fmt.Fprintln(std.Err, "simulate:", err)
		return service.ExitUsage
	}
	return service.ExitOK
}

// define declares the flags.
func (s *simulateCommand) define(flags *flag.FlagSet) {
	flags.StringVar(&s.trace, "trace", "", "`FILE` with the requests, plain or .gz, in the format of export-trace or of Mooncake")
	flags.StringVar(&s.policies, "policy", "cost_aware,round_robin+affinity,round_robin", "`POLICIES` to compare, separated by commas")
	flags.StringVar(&s.accounts, "accounts", "8", "`NUMBERS` of accounts to simulate, separated by commas")
	flags.Func("rpm", "requests per minute of each account (default: no limit)", countVar(&s.limits.Requests))
	flags.Func("itpm", "uncached input tokens per minute of each account and model, such as 450k (default: no limit)", countVar(&s.limits.InputTokens))
	flags.Func("otpm", "output tokens per minute of each account and model (default: no limit)", countVar(&s.limits.OutputTokens))
	flags.BoolVar(&s.limits.Debt, "debt", false, "a prompt larger than what is left of -itpm makes it negative; without this flag it becomes zero")
	flags.Func("kill", "`ACCOUNT@TIME+LENGTH` of an outage, such as 0@4h+10m; may be repeated", s.addOutage)
	flags.DurationVar(&s.restart, "restart", 0, "restart the balancer at this `TIME`, such as 4h")
	flags.BoolVar(&s.snapshot, "snapshot", false, "restart with the saved cache index")
	flags.DurationVar(&s.hold, "burst-hold", 0, "`TIME` for which requests wait while another one writes their common beginning into a cache")
	flags.BoolVar(&s.noSession, "no-session", false, "clients do not send their session")
	flags.Float64Var(&s.deviation, "deviation", 0, "`PERCENT` by which the text of a session may differ from the usual number of bytes per token")
	flags.Uint64Var(&s.seed, "seed", 0, "`SEED` of the random numbers")
	flags.StringVar(&s.format, "format", "text", "`FORMAT` of the output: text, json or csv")
}

// countVar returns the parser of a number such as 450k or 2M.
func countVar(n *int64) func(string) error {
	return func(text string) error {
		digits, factor := text, 1.0
		switch {
		case strings.HasSuffix(text, "k"), strings.HasSuffix(text, "K"):
			digits, factor = text[:len(text)-1], 1e3
		case strings.HasSuffix(text, "M"), strings.HasSuffix(text, "m"):
			digits, factor = text[:len(text)-1], 1e6
		}
		v, err := strconv.ParseFloat(digits, 64)
		if err != nil || !(v >= 0 && v*factor <= 1e15) { // also refuses NaN
			return errors.New("want a number such as 450000, 450k or 2M")
		}
		*n = int64(v * factor)
		return nil
	}
}

// addOutage parses an outage of -kill.
func (s *simulateCommand) addOutage(text string) error {
	account, when, ok := strings.Cut(text, "@")
	from, length, both := strings.Cut(when, "+")
	n, err := strconv.Atoi(account)
	begin, err2 := time.ParseDuration(from)
	lasts, err3 := time.ParseDuration(length)
	if !ok || !both || errors.Join(err, err2, err3) != nil || n < 0 || begin < 0 || lasts <= 0 {
		return errors.New("want ACCOUNT@TIME+LENGTH, such as 0@4h+10m")
	}
	s.outages = append(s.outages, replay.Outage{Account: n, From: begin, Length: lasts})
	return nil
}

func (s *simulateCommand) run(ctx context.Context, std service.Std) error {
	print, ok := map[string]func(io.Writer, replay.Report) error{"text": printSimulation, "json": simulationJSON, "csv": simulationCSV}[s.format]
	if !ok {
		return fmt.Errorf("-format %s: want text, json or csv", s.format)
	}
	counts, err := s.counts()
	if err != nil {
		return err
	}
	if err := s.validate(); err != nil {
		return err
	}
	f, err := os.Open(s.trace)
	if err != nil {
		return err
	}
	defer f.Close()
	trace, err := replay.Read(f)
	if err != nil {
		return fmt.Errorf("%s: %w", s.trace, err)
	}
	report, err := replay.Compare(ctx, trace, s.runs(counts))
	if err != nil {
		return err
	}
	return print(std.Out, report)
}

// validate checks the flags that the flag package does not check.
func (s *simulateCommand) validate() error {
	unnamed := func(policy string) bool { return strings.TrimSpace(policy) == "" }
	switch {
	case s.trace == "":
		return errors.New("-trace FILE is missing")
	case slices.ContainsFunc(strings.Split(s.policies, ","), unnamed):
		return fmt.Errorf("-policy %q: want names separated by commas", s.policies)
	case s.restart < 0:
		return fmt.Errorf("-restart %s: want a time since the start, such as 4h", s.restart)
	case s.hold < 0:
		return fmt.Errorf("-burst-hold %s: want a time, such as 2s", s.hold)
	case !(s.deviation >= 0 && s.deviation < 100): // also refuses NaN
		return fmt.Errorf("-deviation %v: want a number from 0 to below 100", s.deviation)
	}
	return nil
}

// maxSimulated limits the number of accounts: so many fit into the memory of a laptop.
const maxSimulated = 256

// counts parses the numbers of accounts.
func (s *simulateCommand) counts() ([]int, error) {
	var counts []int
	for text := range strings.SplitSeq(s.accounts, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(text))
		if err != nil || n < 1 || n > maxSimulated {
			return nil, fmt.Errorf("-accounts %s: want numbers from 1 to %d", s.accounts, maxSimulated)
		}
		counts = append(counts, n)
	}
	return counts, nil
}

// runs returns the options of each combination of policy and number of accounts.
func (s *simulateCommand) runs(counts []int) []replay.Options {
	var runs []replay.Options
	for policy := range strings.SplitSeq(s.policies, ",") {
		for _, n := range counts {
			runs = append(runs, replay.Options{
				Policy: strings.TrimSpace(policy), Accounts: n, Limits: s.limits, Outages: s.outages,
				Restart: s.restart, Snapshot: s.snapshot, Seed: s.seed, NoSession: s.noSession,
				Hold: s.hold, Deviation: s.deviation / 100,
			})
		}
	}
	return runs
}
