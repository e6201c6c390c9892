package telemetry

import (
	"io"
	"log/slog"
	"os"
	"runtime"
	"time"

	"github.com/lmittmann/tint"
	"golang.org/x/term"
)

// Format is the format of log lines.
type Format string

// The formats that NewLogger accepts.
const (
	FormatAuto Format = "auto" // text on a terminal, JSON elsewhere
	FormatText Format = "text"
	FormatJSON Format = "json"
)

// NewLogger returns a logger that writes to w, with colors if w is a terminal and NO_COLOR is not
// set. The caller may change the level while the logger is in use.
func NewLogger(w io.Writer, format Format, level slog.Leveler, env func(string) (string, bool)) *slog.Logger {
	terminal := isTerminal(w)
	if format == FormatJSON || format != FormatText && !terminal {
		return slog.New(newJSONHandler(w, level))
	}
	_, noColor := env("NO_COLOR")
	return slog.New(tint.NewTextHandler(w, &tint.Options{
		Level: level, TimeFormat: time.TimeOnly, NoColor: noColor || !terminal || runtime.GOOS == "windows",
	}))
}

// NewBackgroundLogger returns a logger for a process that logs a lot: it writes lines in the
// background, in batches, and flushes at once after a warning or an error. On a terminal it writes
// each line directly. The caller calls flush before the process exits.
func NewBackgroundLogger(w io.Writer, format Format, level slog.Leveler, env func(string) (string, bool)) (log *slog.Logger, flush func()) {
	if isTerminal(w) {
		return NewLogger(w, format, level, env), func() {}
	}
	l := newAsyncWriter(w)
	log = slog.New(promptHandler{NewLogger(l, format, level, env).Handler(), l})
	l.logDropped = func(dropped int) { log.Warn(LinesDropped, Rows, dropped) }
	go l.run()
	return log, l.close
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
