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
routing, on a virtual clock, against accounts with a prompt cache and rate limits. It tells
what each policy would have cost, and how many accounts are needed.

A policy is an algorithm: its name alone sends every request by itself, name+affinity keeps
conversations together; cost_aware always does.

Usage: claude-code-lb simulate -trace FILE [flags]

Flags:
`

// simulation is what the command line asks for.
type simulation struct {
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
	s := simulation{}
	s.flags(flags)
	if status, done := parseFlags(flags, std, args); done {
		return status
	}
	if err := s.run(ctx, std); err != nil {
		fmt.Fprintln(std.Err, "simulate:", err)
		return service.ExitUsage
	}
	return service.ExitOK
}

func (s *simulation) flags(flags *flag.FlagSet) {
	flags.StringVar(&s.trace, "trace", "", "`FILE` with the requests, plain or .gz, in the format of export-trace or of Mooncake")
	flags.StringVar(&s.policies, "policy", "cost_aware,round_robin+affinity,round_robin", "`POLICIES` to compare, separated by commas")
	flags.StringVar(&s.accounts, "accounts", "8", "`NUMBERS` of accounts to try, separated by commas")
	flags.Func("rpm", "requests per minute of each account (default: no limit)", countVar(&s.limits.Requests))
	flags.Func("itpm", "uncached input tokens per minute of each account and model, such as 450k (default: no limit)", countVar(&s.limits.InputTokens))
	flags.Func("otpm", "output tokens per minute of each account and model (default: no limit)", countVar(&s.limits.OutputTokens))
	flags.BoolVar(&s.limits.Debt, "debt", false, "a prompt larger than what is left of -itpm drives it below zero, where otherwise it empties it")
	flags.Func("kill", "`ACCOUNT@TIME+LENGTH` of an outage, such as 0@4h+10m; may be given several times", s.addOutage)
	flags.DurationVar(&s.restart, "restart", 0, "restart the balancer at this `TIME`, such as 4h")
	flags.BoolVar(&s.snapshot, "snapshot", false, "a restart finds the snapshot of what was cached where")
	flags.DurationVar(&s.hold, "burst-hold", 0, "`TIME` for which requests are held back while another one writes into a cache what they begin with")
	flags.BoolVar(&s.noSession, "no-session", false, "clients do not tell their session")
	flags.Float64Var(&s.deviation, "deviation", 0, "`PERCENT` by which the text of a session may differ from the usual number of bytes per token")
	flags.Uint64Var(&s.seed, "seed", 0, "`SEED` of everything random")
	flags.StringVar(&s.format, "format", "text", "`FORMAT` of the output: text, json or csv")
}

// countVar reads a number such as 450k or 2M.
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
		if err != nil || !(v >= 0 && v*factor <= 1e15) { // NaN is neither
			return errors.New("want a number such as 450000, 450k or 2M")
		}
		*n = int64(v * factor)
		return nil
	}
}

func (s *simulation) addOutage(text string) error {
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

func (s *simulation) run(ctx context.Context, std service.Std) error {
	print, ok := map[string]func(io.Writer, replay.Report) error{"text": printSimulation, "json": simulationJSON, "csv": simulationCSV}[s.format]
	if !ok {
		return fmt.Errorf("-format %s: want text, json or csv", s.format)
	}
	counts, err := s.counts()
	if err != nil {
		return err
	}
	if err := s.sensible(); err != nil {
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

// sensible refuses what would be simulated as something else than was asked for.
func (s *simulation) sensible() error {
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
	case !(s.deviation >= 0 && s.deviation < 100): // NaN is neither
		return fmt.Errorf("-deviation %v: want a number from 0 to below 100", s.deviation)
	}
	return nil
}

// maxSimulated accounts fit into the memory of a laptop.
const maxSimulated = 256

func (s *simulation) counts() ([]int, error) {
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

func (s *simulation) runs(counts []int) []replay.Options {
	var runs []replay.Options
	for policy := range strings.SplitSeq(s.policies, ",") {
		for _, n := range counts {
			runs = append(runs, replay.Options{
				Policy: strings.TrimSpace(policy), Accounts: n, Limits: s.limits, Outages: s.outages,
				Restart: s.restart, Snapshot: s.snapshot, Seed: s.seed, NoSession: s.noSession, Hold: s.hold, Deviation: s.deviation / 100,
			})
		}
	}
	return runs
}
