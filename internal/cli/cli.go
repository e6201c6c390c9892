// Package cli is the command line: it parses the flags and runs the commands.
package cli

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"syscall"
	_ "time/tzdata" // for time zones of budgets and reports, if the system has no database of them

	"github.com/9bingyin/claude-code-lb/internal/demo"
	"github.com/9bingyin/claude-code-lb/internal/service"
)

// command is a subcommand.
type command struct {
	name, summary string
	takesConfig   bool // has the flag -c FILE
	run           func(ctx context.Context, std service.Std, args []string) int
}

func commands() []command {
	return []command{
		{"init", "write a first configuration file", true, runInit},
		{"check", "check the configuration file and print the configuration in effect", true, runCheck},
		{"secret", "encrypt secrets of the configuration file", true, runSecret},
		{"schema", "print the JSON Schema of the configuration file", false, runSchema},
		{"explain-error", "explain how a pasted response of an upstream is judged", true, runExplain},
		{"key", "create, list, rotate and revoke client keys", true, runKey},
		{"connect", "write the address of a balancer to the settings of Claude Code", true, runConnect},
		{"run", "run Claude Code with a private balancer", true, runRun},
		{"statusline", "print the status line of Claude Code", false, runStatusLine},
		{"report", "sum up the ledger: usage, cost, and savings by the cache", true, runReport},
		{"ledger", "import requests that a balancer could not write before it stopped", true, runLedger},
		{"export-trace", "write the ledger's history as a trace for simulate, without any content", true, runExportTrace},
		{"webhook-test", "send a test message to every webhook", true, runWebhookTest},
		{"demo", "show the balancer at work in front of simulated upstreams", false, demo.Run},
		{"fake", "run a simulated upstream", false, runFake},
		{"simulate", "replay a recorded day with any policy and number of accounts", false, runSimulate},
	}
}

// Main runs the program and returns its exit status.
func Main(args []string, std service.Std) int {
	flags := flag.NewFlagSet("claude-code-lb", flag.ContinueOnError)
	flags.SetOutput(std.Err)
	flags.Usage = func() { usage(std.Err) }
	file := flags.String("c", "", "")
	showVersion := flags.Bool("version", false, "")
	checkHealth := flags.Bool("health-check", false, "")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return service.ExitOK
	case err != nil:
		return service.ExitUsage
	case *showVersion:
		fmt.Fprintln(std.Out, "claude-code-lb", service.Version())
		return service.ExitOK
	case *checkHealth:
		return runHealthCheck(context.Background(), std, *file)
	case flags.NArg() == 0:
		return service.Run(std, *file)
	}
	return dispatch(std, *file, flags.Args())
}

// dispatch runs a subcommand. The first SIGINT or SIGTERM ends its context.
func dispatch(std service.Std, file string, args []string) int {
	all := commands()
	i := slices.IndexFunc(all, func(c command) bool { return c.name == args[0] })
	if args[0] == "help" || i < 0 {
		if args[0] != "help" {
			fmt.Fprintf(std.Err, "claude-code-lb: no command %q\n\n", args[0])
			usage(std.Err)
			return service.ExitUsage
		}
		usage(std.Out)
		return service.ExitOK
	}
	args = args[1:]
	if file != "" && all[i].takesConfig {
		args = append([]string{"-c", file}, args...)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return all[i].run(ctx, std, args)
}

func usage(w io.Writer) {
	fmt.Fprint(w, `claude-code-lb: a load balancer for Claude Code and the Anthropic Messages API

Usage:
  claude-code-lb [-c FILE]           serve, with the configuration in FILE
  claude-code-lb COMMAND [options]   (COMMAND -h lists its options)

Options:
  -c FILE         configuration file (default: $CONFIG_FILE, else config.json)
  -health-check   ask the running instance; exit status 0 when it is healthy, else 1
  -version        print the version
  -help           print this

Commands:
`)
	for _, c := range commands() {
		fmt.Fprintf(w, "  %-15s %s\n", c.name, c.summary)
	}
}
