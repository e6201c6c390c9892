package telemetry

import (
	"context"
	"io"
	"log/slog"
	"sync"
	"time"
)

const (
	// gather is how long a line waits for others: a write for each costs as much as making it.
	gather = 50 * time.Millisecond
	// enough bytes are written without waiting for more.
	enough = 32 << 10
	// mostWaiting is how many bytes wait for a reader that is slow. Lines beyond it are left out.
	mostWaiting = 4 << 20
	// lastWrite is how long the process waits at its end for a reader that is stuck.
	lastWrite = 3 * time.Second
)

// asyncWriter writes log lines in the background, many at a time, so that no request ever waits for whoever takes them. While its writer is
// stuck, lines wait, within bounds. A process that is killed loses those of the last moment. Safe for concurrent use.
type asyncWriter struct {
	to    io.Writer
	begun chan struct{} // there is something to write
	hurry chan struct{} // it should not wait for more
	done  chan struct{} // closed when all is written after close

	mu       sync.Mutex
	waiting  []byte
	spare    []byte // memory for what waits next
	dropped  int
	tell     func(leftOut int) // logs how many there were
	closing  bool
	finished bool
}

// newAsyncWriter makes lines that are written from run on.
func newAsyncWriter(to io.Writer) *asyncWriter {
	return &asyncWriter{to: to, begun: make(chan struct{}, 1), hurry: make(chan struct{}, 1), done: make(chan struct{})}
}

// Write takes a line over. When all has been written at the end, it writes what still comes by itself.
func (l *asyncWriter) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.finished:
		return l.to.Write(line)
	case len(l.waiting) >= mostWaiting:
		l.dropped++
		return len(line), nil
	}
	if len(l.waiting) == 0 {
		signal(l.begun)
	}
	l.waiting = append(l.waiting, line...)
	if len(l.waiting) >= enough {
		signal(l.hurry)
	}
	return len(line), nil
}

// signal tells whoever looks next.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// run writes until the end.
func (l *asyncWriter) run() {
	defer close(l.done)
	for range l.begun {
		select {
		case <-time.After(gather):
		case <-l.hurry:
		}
		for more := true; more; {
			var ended bool
			if more, ended = l.write(); ended {
				return
			}
		}
	}
}

// write writes what waits. There is more to write if it was too much for some lines, or if the end has come; then it says when all is written.
func (l *asyncWriter) write() (more, ended bool) {
	l.mu.Lock()
	batch, leftOut := l.waiting, l.dropped
	l.waiting, l.dropped, l.spare = l.spare[:0], 0, nil
	l.finished = l.closing && len(batch) == 0 && leftOut == 0
	more, ended = l.closing || leftOut > 0, l.finished
	l.mu.Unlock()
	if len(batch) > 0 {
		_, _ = l.to.Write(batch) // nobody is left to be told
	}
	if leftOut > 0 {
		l.tell(leftOut)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if cap(batch) <= 4*enough {
		l.spare = batch[:0]
	}
	return more, ended
}

// close returns when everything is written, or after a while if nobody takes it.
func (l *asyncWriter) close() {
	l.mu.Lock()
	l.closing = true
	l.mu.Unlock()
	signal(l.begun)
	signal(l.hurry)
	select {
	case <-l.done:
	case <-time.After(lastWrite):
	}
}

// prompt has lines about trouble written at once.
type prompt struct {
	slog.Handler
	lines *asyncWriter
}

func (p prompt) Handle(ctx context.Context, r slog.Record) error {
	err := p.Handler.Handle(ctx, r)
	if r.Level >= slog.LevelWarn {
		signal(p.lines.hurry)
	}
	return err
}

func (p prompt) WithAttrs(attrs []slog.Attr) slog.Handler {
	return prompt{p.Handler.WithAttrs(attrs), p.lines}
}

func (p prompt) WithGroup(name string) slog.Handler {
	return prompt{p.Handler.WithGroup(name), p.lines}
}
