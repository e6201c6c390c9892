package cli

import (
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"strings"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/ledger"
	"github.com/9bingyin/claude-code-lb/internal/replay"
	"github.com/9bingyin/claude-code-lb/internal/service"
)

const exportIntro = `claude-code-lb export-trace writes the requests in the ledger as a trace for simulate: their
times, the lengths of prompts and responses, and which prompts have a common beginning. The
trace contains no text of them, and no names of sessions, agents or keys.

Usage: claude-code-lb export-trace [-c FILE] [-o FILE] [flags]

Flags:
`

func runExportTrace(ctx context.Context, std service.Std, args []string) int {
	flags := newFlags("export-trace", exportIntro)
	file := flags.String("c", "", configFlagUsage)
	out := flags.String("o", "", "`FILE` to write, compressed if it ends in .gz (default: standard output)")
	since := flags.String("since", "30d", "`TIME` of the first request, as in report")
	until := flags.String("until", "", "`TIME` before which the last request began (default: now)")
	if status, done := parseFlags(flags, std, args); done {
		return status
	}
	period := reportCommand{since: *since, until: *until, by: "total"}
	now := time.Now()
	if _, err := period.question(now, ""); err != nil {
		fmt.Fprintln(std.Err, "export-trace:", err)
		return service.ExitUsage
	}
	s, cfg, err := service.ReadLedger(ctx, std, service.ConfigPath(std, *file))
	if err != nil {
		return printFailure(std, "export-trace", service.ConfigPath(std, *file), err)
	}
	defer s.Close()
	q, err := period.question(now, cfg.TimeZone)
	if err != nil {
		return printFailure(std, "export-trace", service.ConfigPath(std, *file), err)
	}
	n, err := writeTrace(std.Out, *out, func() iter.Seq2[*ledger.Entry, error] { return s.Entries(ctx, q.Since, q.Until) })
	if err != nil {
		return printFailure(std, "export-trace", service.ConfigPath(std, *file), err)
	}
	fmt.Fprintf(std.Err, "export-trace: %d requests\n", n)
	return service.ExitOK
}

// writeTrace writes a trace to a file, or to out if name is "". On an error there is no file.
func writeTrace(out io.Writer, name string, requests func() iter.Seq2[*ledger.Entry, error]) (int, error) {
	if name == "" {
		buffered := bufio.NewWriter(out)
		n, err := replay.Export(buffered, requests)
		return n, errors.Join(err, buffered.Flush())
	}
	f, err := os.OpenFile(name+".tmp", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return 0, err
	}
	defer os.Remove(f.Name())
	n, err := writeTraceFile(f, strings.HasSuffix(name, ".gz"), requests)
	if err = errors.Join(err, f.Close()); err != nil {
		return 0, err
	}
	return n, os.Rename(f.Name(), name)
}

// writeTraceFile writes a trace to f, with gzip if compressed.
func writeTraceFile(f io.Writer, compressed bool, requests func() iter.Seq2[*ledger.Entry, error]) (int, error) {
	if compressed {
		zipped := gzip.NewWriter(f)
		n, err := replay.Export(zipped, requests)
		return n, errors.Join(err, zipped.Close())
	}
	return writeTrace(f, "", requests)
}
