package telemetry

import (
	"context"
	"io"
	"log/slog"
	"sync"
	"time"
)

const (
	// flushDelay is the time for which a line may wait for others, so that one write carries many.
	flushDelay = 50 * time.Millisecond
	// batchSize is the number of bytes that are written without waiting for more.
	batchSize = 32 << 10
	// maxQueued bounds the bytes that wait for a slow writer. Lines beyond it are dropped and
	// counted.
	maxQueued = 4 << 20
	// closeTimeout is the time that close waits for a blocked writer.
	closeTimeout = 3 * time.Second
)

// asyncWriter writes log lines in the background, in batches, so that a slow log output never
// blocks a request. While the output blocks, lines queue up to maxQueued bytes. A process that is
// killed loses the lines of the last flushDelay. Safe for concurrent use.
type asyncWriter struct {
	to     io.Writer
	queued chan struct{} // a line is queued
	flush  chan struct{} // write without waiting for more lines
	done   chan struct{} // closed when everything is written after close

	mu         sync.Mutex
	queue      []byte
	spare      []byte // memory for the next batch
	dropped    int
	logDropped func(dropped int) // logs the number of dropped lines
	closing    bool
	finished   bool
}

// newAsyncWriter returns a writer whose run method the caller starts.
func newAsyncWriter(to io.Writer) *asyncWriter {
	return &asyncWriter{to: to, queued: make(chan struct{}, 1), flush: make(chan struct{}, 1), done: make(chan struct{})}
}

// Write queues a line. After close has written the queue, Write writes directly.
func (l *asyncWriter) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.finished:
		return l.to.Write(line)
	case len(l.queue) >= maxQueued:
		l.dropped++
		return len(line), nil
	}
	if len(l.queue) == 0 {
		signal(l.queued)
	}
	l.queue = append(l.queue, line...)
	if len(l.queue) >= batchSize {
		signal(l.flush)
	}
	return len(line), nil
}

// signal sends without blocking. One pending signal is enough.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// run writes batches until close.
func (l *asyncWriter) run() {
	defer close(l.done)
	for range l.queued {
		select {
		case <-time.After(flushDelay):
		case <-l.flush:
		}
		for more := true; more; {
			var ended bool
			if more, ended = l.write(); ended {
				return
			}
		}
	}
}

// write writes one batch. more reports that another batch must follow, because lines were dropped
// or the writer is closing; ended reports that everything is written after close.
func (l *asyncWriter) write() (more, ended bool) {
	l.mu.Lock()
	batch, dropped := l.queue, l.dropped
	l.queue, l.dropped, l.spare = l.spare[:0], 0, nil
	l.finished = l.closing && len(batch) == 0 && dropped == 0
	more, ended = l.closing || dropped > 0, l.finished
	l.mu.Unlock()
	if len(batch) > 0 {
		_, _ = l.to.Write(batch) // an error cannot be logged: this is the log
	}
	if dropped > 0 {
		l.logDropped(dropped)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if cap(batch) <= 4*batchSize {
		l.spare = batch[:0]
	}
	return more, ended
}

// close returns when everything is written, or after closeTimeout if the output blocks.
func (l *asyncWriter) close() {
	l.mu.Lock()
	l.closing = true
	l.mu.Unlock()
	signal(l.queued)
	signal(l.flush)
	select {
	case <-l.done:
	case <-time.After(closeTimeout):
	}
}

// promptHandler makes the writer flush at once after a warning or an error.
type promptHandler struct {
	slog.Handler
	lines *asyncWriter
}

func (p promptHandler) Handle(ctx context.Context, r slog.Record) error {
	err := p.Handler.Handle(ctx, r)
	if r.Level >= slog.LevelWarn {
		signal(p.lines.flush)
	}
	return err
}

func (p promptHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return promptHandler{p.Handler.WithAttrs(attrs), p.lines}
}

func (p promptHandler) WithGroup(name string) slog.Handler {
	return promptHandler{p.Handler.WithGroup(name), p.lines}
}
