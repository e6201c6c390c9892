package cli

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/fakeclaude"
	"github.com/9bingyin/claude-code-lb/internal/fakeclaude/fault"
	"github.com/9bingyin/claude-code-lb/internal/service"
)

const fakeIntro = `claude-code-lb fake is a simulator of the Anthropic Messages API, with the faults that you choose.

Usage: claude-code-lb fake [flags]

The first line of standard output is the URL. On SIGINT or SIGTERM it prints its
statistics as JSON. While it runs, URL/_fake/ has faults, script, settings, stats,
requests and reset.

Flags:
`

// fakeFlags has the flags of fake.
type fakeFlags struct {
	listen  string
	options fakeclaude.Options
	rules   []fault.Rule
	script  []fault.Fault
}

// runFake serves a simulated Messages API until ctx ends. The exit status is 1 if it cannot serve,
// and 2 if the command line is invalid.
func runFake(ctx context.Context, std service.Std, args []string) int {
	f, err := parseFakeFlags(std.Out, args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return service.ExitOK
	case err != nil:
		fmt.Fprintln(std.Err, "fake:", err)
		return service.ExitUsage
	}
	listener, err := net.Listen("tcp", f.listen)
	if err != nil {
		fmt.Fprintln(std.Err, "fake: listen:", err)
		return service.ExitError
	}
	fake := fakeclaude.New(f.options)
	fake.SetFaults(f.rules...)
	fake.Script(f.script...)
	fmt.Fprintf(std.Out, "http://%s\n", listener.Addr())
	if err := fakeclaude.Serve(ctx, fake, listener, std.Err); err != nil {
		fmt.Fprintln(std.Err, "fake:", err)
		return service.ExitError
	}
	enc := json.NewEncoder(std.Out)
	enc.SetIndent("", "  ")
	if err := enc.Encode(fake.Stats()); err != nil {
		fmt.Fprintln(std.Err, "fake: write statistics:", err)
		return service.ExitError
	}
	return service.ExitOK
}

func parseFakeFlags(helpOut io.Writer, args []string) (fakeFlags, error) {
	f := fakeFlags{}
	flags := flag.NewFlagSet("fake", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	f.defineModel(flags)
	f.defineFaults(flags)
	err := flags.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(helpOut, fakeIntro)
		flags.SetOutput(helpOut)
		flags.PrintDefaults()
		fmt.Fprintf(helpOut, "\n%s\n", fault.Syntax)
		return f, err
	case err != nil:
		return f, err
	case flags.NArg() > 0:
		return f, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	return f, f.options.Settings.Validate()
}

// defineModel declares the flags of the healthy service.
func (f *fakeFlags) defineModel(flags *flag.FlagSet) {
	o := &f.options
	flags.StringVar(&f.listen, "listen", "127.0.0.1:0", "`address` to listen on; port 0 picks a free one")
	flags.StringVar(&o.Name, "name", "fake", "`name` of the account, which determines its organization id")
	flags.Uint64Var(&o.Seed, "seed", 1, "`number` that determines responses, ids and random faults")
	flags.Func("keys", "accepted credentials, a `list` separated by commas (default: any)", listOf(&o.Keys))
	flags.Func("models", "ids of models, a `list` separated by commas (default: all that contain \"claude\")", listOf(&o.Models))
	flags.Int64Var(&o.Limits.Requests, "rpm", 1000, "`requests` per minute and model family; 0 is no limit")
	flags.Int64Var(&o.Limits.InputTokens, "itpm", 2_000_000, "uncached input `tokens` per minute and model family; 0 is no limit")
	flags.Int64Var(&o.Limits.OutputTokens, "otpm", 400_000, "output `tokens` per minute and model family; 0 is no limit")
	duration := func(into *fakeclaude.Duration, name string, value time.Duration, usage string) {
		flags.DurationVar((*time.Duration)(into), name, value, usage)
	}
	duration(&o.FirstToken, "first-token", 300*time.Millisecond, "`time` to the response header")
	duration(&o.Prefill, "prefill", 10*time.Millisecond, "`time` added for every 1000 uncached input tokens")
	duration(&o.TokenInterval, "token-interval", 10*time.Millisecond, "`time` per output token")
	duration(&o.PingInterval, "ping-interval", 10*time.Second, "longest `time` of silence within a stream before a ping")
	flags.IntVar(&o.MinOutput, "min-output", 20, "minimum `tokens` of text in a response")
	flags.IntVar(&o.MaxOutput, "max-output", 120, "maximum `tokens` of text in a response")
	flags.IntVar(&o.CacheMin, "cache-min", 0, "minimum `tokens` of a cacheable prefix; 0 is the minimum of the model")
}

// defineFaults declares the flags of faults.
func (f *fakeFlags) defineFaults(flags *flag.FlagSet) {
	flags.Func("fault", "a `fault` and its conditions, as below; may be repeated, and the first one that matches is injected", func(text string) error {
		rule, err := fault.ParseRule(text)
		f.rules = append(f.rules, rule)
		return err
	})
	flags.Func("faults", "`file` with a JSON list of such rules, in the format of PUT /_fake/faults", f.readRules)
	flags.Func("script", "`fault` of the next request, empty for none; may be repeated, for one request each", func(text string) error {
		parsed, err := fault.Parse(text)
		f.script = append(f.script, parsed)
		return err
	})
}

// readRules adds the rules in a JSON file.
func (f *fakeFlags) readRules(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read rules: %w", err)
	}
	var rules []fault.Rule
	if err := json.Unmarshal(text, &rules); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	f.rules = append(f.rules, rules...)
	return nil
}

// listOf returns the parser of a list separated by commas. It skips empty elements.
func listOf(into *[]string) func(string) error {
	return func(text string) error {
		for part := range strings.SplitSeq(text, ",") {
			if part = strings.TrimSpace(part); part != "" {
				*into = append(*into, part)
			}
		}
		return nil
	}
}
