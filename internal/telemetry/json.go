package telemetry

import (
	"context"
	"io"
	"log/slog"
	"slices"
	"sync"
)

// jsonHandler writes a line of JSON for each record: the very bytes of a slog.JSONHandler, but for durations, which are in seconds so that
// other programs can add them up. The one of slog takes several times as long, most of it for replacing attributes. What is no JSON there,
// such as a time in the year 10000, is JSON here.
type jsonHandler struct {
	out    *jsonOutput // of all handlers that stem from the same one
	fixed  []byte      // the attributes of WithAttrs as they stand in each line, with the groups that they are in
	groups []string    // of WithGroup
	opened int         // how many of them fixed opens
}

// jsonOutput is where lines go. Safe for concurrent use.
type jsonOutput struct {
	level slog.Leveler
	lines sync.Pool // of *jsonLine

	mu sync.Mutex // for one write at a time
	to io.Writer
}

func newJSONHandler(to io.Writer, level slog.Leveler) *jsonHandler {
	out := &jsonOutput{level: level, to: to}
	out.lines.New = func() any { return newJSONLine(make([]byte, 0, 1024)) }
	return &jsonHandler{out: out}
}

// Enabled implements slog.Handler.
func (h *jsonHandler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= h.out.level.Level()
}

// WithAttrs implements slog.Handler.
func (h *jsonHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	if !slices.ContainsFunc(attrs, func(a slog.Attr) bool { return a.Value.Kind() != slog.KindGroup || len(a.Value.Group()) > 0 }) {
		return h
	}
	out := *h
	l := newJSONLine(slices.Clone(h.fixed))
	l.open(h.groups[h.opened:])
	if l.attrs(attrs) {
		out.fixed, out.opened = l.text, len(h.groups)
	}
	return &out
}

// WithGroup implements slog.Handler.
func (h *jsonHandler) WithGroup(name string) slog.Handler {
	out := *h
	out.groups = append(slices.Clip(h.groups), name)
	return &out
}

// Handle implements slog.Handler.
func (h *jsonHandler) Handle(_ context.Context, r slog.Record) error {
	l := h.out.lines.Get().(*jsonLine)
	defer h.out.done(l)
	l.begin(&r)
	l.text = append(l.text, h.fixed...)
	opened := h.opened
	if r.NumAttrs() > 0 {
		start := len(l.text)
		l.open(h.groups[opened:])
		some := false
		for a := range r.Attrs {
			some = l.attr(a) || some
		}
		if some {
			opened = len(h.groups)
		} else {
			l.text = l.text[:start]
		}
	}
	for range opened {
		l.text = append(l.text, '}')
	}
	l.text = append(l.text, '}', '\n')
	return h.out.write(l.text)
}

func (o *jsonOutput) write(line []byte) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	_, err := o.to.Write(line)
	return err
}

// done takes the memory of a line back, unless it was an uncommonly long one.
func (o *jsonOutput) done(l *jsonLine) {
	if cap(l.text) <= 16<<10 {
		l.text = l.text[:0]
		o.lines.Put(l)
	}
}
