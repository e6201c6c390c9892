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

// Format is the shape of log lines.
type Format string

// The formats of NewLogger.
const (
	FormatAuto Format = "auto" // text on a terminal, JSON elsewhere
	FormatText Format = "text"
	FormatJSON Format = "json"
)

// NewLogger writes to w, coloured where w is a terminal and NO_COLOR is not set.
// The level may change while the logger is in use.
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

// NewBackgroundLogger is NewLogger for a process that logs a lot: lines are written in the background, many at a time, those about
// trouble at once. On a terminal somebody reads along: there, each is written as it comes. At the end, flush writes what waits.
func NewBackgroundLogger(w io.Writer, format Format, level slog.Leveler, env func(string) (string, bool)) (log *slog.Logger, flush func()) {
	if isTerminal(w) {
		return NewLogger(w, format, level, env), func() {}
	}
	l := newAsyncWriter(w)
	log = slog.New(prompt{NewLogger(l, format, level, env).Handler(), l})
	l.tell = func(leftOut int) { log.Warn(LinesDropped, Rows, leftOut) }
	go l.run()
	return log, l.close
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
