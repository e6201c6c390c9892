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

const ledgerIntro = `claude-code-lb ledger import brings requests into the ledger that a balancer could not write before
it ended, because the disk was full or the database away. The next start imports the files that it
left in the state directory or beside the configuration file; this command is for rows that
were printed, and for files that were moved. A request that the ledger has already is left out. Lines
that are no such rows are skipped, so that a whole log can be imported.

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
		fmt.Fprintln(std.Err, "ledger: want import and a FILE, or - for standard input (ledger -h tells more)")
		return service.ExitUsage
	}
	path := service.ConfigPath(std, *file)
	restored, err := importLedger(ctx, std, path, rest[0])
	if err != nil {
		return failed(std, "ledger", path, err)
	}
	fmt.Fprintf(std.Out, "%d requests imported, %d were in the ledger already\n", restored.Requests, restored.Present)
	if restored.Damaged > 0 {
		fmt.Fprintf(std.Err, "ledger: %d lines are damaged or missing\n", restored.Damaged)
		return service.ExitError
	}
	return service.ExitOK
}

// parseVerb parses flags that stand before or after the only verb, and returns what follows.
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
