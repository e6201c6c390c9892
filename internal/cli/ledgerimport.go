package cli

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"

	"github.com/9bingyin/claude-code-lb/internal/service"
	"github.com/9bingyin/claude-code-lb/internal/store"
)

const ledgerIntro = `claude-code-lb ledger import adds requests to the ledger that a balancer could not write before it
stopped, because the disk was full or the database was unavailable. The next start imports files in
the state directory and beside the configuration file by itself; this command is for printed rows and
for files that were moved. It skips requests that the ledger has already, and lines that are not such
rows, so that you can import a whole log.

Usage: claude-code-lb ledger import [-c FILE] FILE|-

Flags:
`

func runLedger(ctx context.Context, std service.Std, args []string) int {
	flags := newFlags("ledger", ledgerIntro)
	file := flags.String("c", "", configFlagUsage)
	rest, status, done := parseVerb(flags, std, args, "import")
	if done {
		return status
	}
	if len(rest) != 1 {
		fmt.Fprintln(std.Err, "ledger: want import and a FILE, or - for standard input (see ledger -h)")
		return service.ExitUsage
	}
	path := service.ConfigPath(std, *file)
	restored, err := importLedger(ctx, std, path, rest[0])
	if err != nil {
		return printFailure(std, "ledger", path, err)
	}
	fmt.Fprintf(std.Out, "%d requests imported, %d were in the ledger already\n", restored.Requests, restored.Present)
	if restored.Damaged > 0 {
		fmt.Fprintf(std.Err, "ledger: %d lines are damaged or missing\n", restored.Damaged)
		return service.ExitError
	}
	return service.ExitOK
}

// parseVerb parses flags before and after the only verb, and returns the arguments after them.
func parseVerb(flags *flag.FlagSet, std service.Std, args []string, verb string) (rest []string, status int, done bool) {
	if status, done := parseLeading(flags, std, args); done {
		return nil, status, true
	}
	if flags.Arg(0) != verb {
		return nil, service.ExitOK, false
	}
	status, done = parseLeading(flags, std, flags.Args()[1:])
	return flags.Args(), status, done
}

// importLedger imports rows from a file, or from standard input for "-".
func importLedger(ctx context.Context, std service.Std, path, name string) (store.Restored, error) {
	where, _, _, err := service.LedgerOf(std, path)
	if err != nil {
		return store.Restored{}, err
	}
	var from io.Reader = std.In
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return store.Restored{}, err
		}
		defer f.Close()
		from = f
	}
	s, err := store.Open(ctx, where)
	if err != nil {
		return store.Restored{}, err
	}
	defer s.Close()
	return store.Import(ctx, s, from)
}
