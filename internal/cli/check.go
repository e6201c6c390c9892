package cli

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"strings"

	"github.com/9bingyin/claude-code-lb/internal/config"
	"github.com/9bingyin/claude-code-lb/internal/service"
)

const checkIntro = `claude-code-lb check reads the configuration file and prints all its problems on
standard error. Without errors, the configuration in effect follows on standard
output, with secrets redacted. With -online it then asks each server for its models
(GET /v1/models) or, if the server does not know that path, for a count of tokens.
That costs nothing, and shows whether the server can be reached and accepts its token.

Usage: claude-code-lb check [-online] [-c FILE]

Flags:
`

// runCheck prints the problems of the configuration file, and without errors the configuration in
// effect. Warnings alone do not make the exit status 1.
func runCheck(ctx context.Context, std service.Std, args []string) int {
	flags := newFlags("check", checkIntro)
	file := flags.String("c", "", configFlagUsage)
	try := flags.Bool("online", false, "also test every server and its credential with free calls; exit status 1 if one cannot be used")
	if status, done := parseFlags(flags, std, args); done {
		return status
	}
	path := service.ConfigPath(std, *file)
	cfg, problems, err := service.LoadServed(std, path)
	if err != nil {
		service.ExplainUnreadable(std.Err, path, err)
		return service.ExitError
	}
	if !problems.Failed() {
		problems = append(problems, cfg.Weak...)
	}
	problems = append(problems, service.ModeProblems(path, cfg, service.StateDirectory(std, path, cfg))...)
	for _, p := range problems {
		fmt.Fprintln(std.Err, p)
	}
	fmt.Fprintf(std.Err, "%s: %s\n", path, countProblems(problems))
	if problems.Failed() {
		return service.ExitError
	}
	if _, err := std.Out.Write(cfg.Redacted()); err != nil {
		fmt.Fprintln(std.Err, "check: print the configuration:", err)
		return service.ExitError
	}
	if *try && !checkOnline(ctx, std.Err, cfg) {
		return service.ExitError
	}
	return service.ExitOK
}

// countProblems counts problems in words.
func countProblems(problems config.Problems) string {
	var errors, warnings int
	for _, p := range problems {
		if p.Warning {
			warnings++
		} else {
			errors++
		}
	}
	count := func(n int, what string) string {
		if n == 1 {
			return "1 " + what
		}
		return fmt.Sprintf("%d %ss", n, what)
	}
	switch {
	case errors > 0 && warnings > 0:
		return count(errors, "error") + ", " + count(warnings, "warning")
	case errors > 0:
		return count(errors, "error")
	case warnings > 0:
		return "ok, " + count(warnings, "warning")
	default:
		return "ok"
	}
}

const configFlagUsage = "configuration `FILE` (default: $CONFIG_FILE, else config.json)"

// newFlags returns the flag set of a command.
func newFlags(name, intro string) *flag.FlagSet {
	flags := flag.NewFlagSet(name, flag.ContinueOnError)
	flags.Usage = func() {
		fmt.Fprint(flags.Output(), intro)
		flags.PrintDefaults()
	}
	return flags
}

// parseFlags parses the flags of a command without arguments. If done, the command ends with the
// status: args ask for help or are invalid.
func parseFlags(flags *flag.FlagSet, std service.Std, args []string) (status int, done bool) {
	if status, done := parseLeading(flags, std, args); done {
		return status, true
	}
	if flags.NArg() > 0 {
		fmt.Fprintf(std.Err, "%s: %q is not an option (%s -h lists them)\n", flags.Name(), flags.Arg(0), flags.Name())
		return service.ExitUsage, true
	}
	return service.ExitOK, false
}

// parseLeading is parseFlags for a command that takes arguments after its flags.
func parseLeading(flags *flag.FlagSet, std service.Std, args []string) (status int, done bool) {
	var output strings.Builder
	flags.SetOutput(&output)
	err := flags.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(std.Out, output.String())
		return service.ExitOK, true
	case err != nil:
		fmt.Fprintf(std.Err, "%s: %v (%s -h lists its options)\n", flags.Name(), err, flags.Name())
		return service.ExitUsage, true
	}
	return service.ExitOK, false
}
