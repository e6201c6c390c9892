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

const exportIntro = `claude-code-lb export-trace writes the requests in the ledger as a trace for simulate: when they
came, how long prompts and answers were, and which prompts began alike. Nothing of what was said
is in it, nor the names of sessions, agents or keys.

Usage: claude-code-lb export-trace [-c FILE] [-o FILE] [flags]

Flags:
`

func runExportTrace(ctx context.Context, std service.Std, args []string) int {
	flags := newFlags("export-trace", exportIntro)
	file := flags.String("c", "", "configuration `FILE` (default: $CONFIG_FILE, else config.json)")
	out := flags.String("o", "", "`FILE` to write, compressed if it ends in .gz (default: standard output)")
	since := flags.String("since", "30d", "`TIME` of the first request, as of report")
	until := flags.String("until", "", "`TIME` before which the last request began (default: now)")
	if status, done := parseFlags(flags, std, args); done {
		return status
	}
	asked := reporting{since: *since, until: *until, by: "total"}
	now := time.Now()
	if _, err := asked.question(now, ""); err != nil {
		fmt.Fprintln(std.Err, "export-trace:", err)
		return service.ExitUsage
	}
	s, cfg, err := service.ReadLedger(ctx, std, service.ConfigPath(std, *file))
	if err != nil {
		return failed(std, "export-trace", service.ConfigPath(std, *file), err)
	}
	defer s.Close()
	q, err := asked.question(now, cfg.TimeZone)
	if err != nil {
		return failed(std, "export-trace", service.ConfigPath(std, *file), err)
	}
	n, err := writeTrace(std.Out, *out, func() iter.Seq2[*ledger.Entry, error] { return s.Entries(ctx, q.Since, q.Until) })
	if err != nil {
		return failed(std, "export-trace", service.ConfigPath(std, *file), err)
	}
	fmt.Fprintf(std.Err, "export-trace: %d requests\n", n)
	return service.ExitOK
}

// writeTrace writes a trace to a file, or to out where none is named. A file is there whole or not at all.
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
	n, err := exportTo(f, strings.HasSuffix(name, ".gz"), requests)
	if err = errors.Join(err, f.Close()); err != nil {
		return 0, err
	}
	return n, os.Rename(f.Name(), name)
}

func exportTo(f io.Writer, compressed bool, requests func() iter.Seq2[*ledger.Entry, error]) (int, error) {
	if compressed {
		zipped := gzip.NewWriter(f)
		n, err := replay.Export(zipped, requests)
		return n, errors.Join(err, zipped.Close())
	}
	buffered := bufio.NewWriter(f)
	n, err := replay.Export(buffered, requests)
	return n, errors.Join(err, buffered.Flush())
}
