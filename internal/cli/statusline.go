package cli

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"

	"github.com/9bingyin/claude-code-lb/internal/service"
	"github.com/9bingyin/claude-code-lb/internal/statusline"
)

const statusLineIntro = `Usage: claude-code-lb statusline [-format LIST] [-no-color] [-then COMMAND]

Prints one line for the status line of Claude Code, which writes JSON to standard input. The address
and the key of the balancer are those in the environment of Claude Code. The exit status is always 0.

Flags:
`

// runStatusLine prints the status line. Mistakes are shown in the line, because Claude Code shows
// nothing after an error.
func runStatusLine(ctx context.Context, std service.Std, args []string) int {
	flags := newFlags("statusline", statusLineIntro)
	format := flags.String("format", "", "the segments in their order, a `list` of "+strings.Join(statusline.Segments(), ",")+" (default: all)")
	noColor := flags.Bool("no-color", false, "print no colors; NO_COLOR in the environment does the same")
	then := flags.String("then", "", "run this `command` first, with the same input, and print its line in front")
	flags.SetOutput(io.Discard)
	err := flags.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		flags.SetOutput(std.Err)
		flags.Usage()
		return service.ExitOK
	}
	segments, formatErr := statusline.ParseFormat(*format)
	if err == nil && flags.NArg() > 0 {
		err = fmt.Errorf("%q is not an option", flags.Arg(0))
	}
	if err = errors.Join(err, formatErr); err != nil {
		fmt.Fprintln(std.Out, "⇄ statusline:", strings.ReplaceAll(err.Error(), "\n", "; "))
		return service.ExitOK
	}
	o := statusline.Options{In: std.In, Env: std.Env, Format: segments, NoColor: *noColor, Then: *then}
	if f, ok := std.In.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		o.In = nil
	}
	o.Cache, _ = os.UserCacheDir() // without one nothing is kept
	fmt.Fprintln(std.Out, statusline.Line(ctx, o, time.Now()))
	return service.ExitOK
}
