package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// streams opens a stream per client, one each streamInterval, waits until all have begun, and then
// counts events for the window. A stream that does not begin, or that ends before the window, is an
// error.
func streams(ctx context.Context, clients []*client, warmup, window time.Duration, atBegin, atEnd func() error) (*tally, error) {
	if err := dialAll(ctx, clients); err != nil {
		return nil, err
	}
	seen := &tally{}
	running, stop := context.WithCancel(ctx)
	defer stop()
	var begun, all sync.WaitGroup
	begun.Add(len(clients))
	p := &pacer{start: time.Now(), interval: streamInterval}
	for _, c := range clients {
		conn := c.conn
		all.Go(func() {
			defer context.AfterFunc(running, func() { conn.Close() })()
			known := sync.OnceFunc(begun.Done) // on begin or failure
			defer known()
			sent, err := p.await(running)
			if err == nil {
				err = c.follow(running, sent, seen, known)
			}
			if err != nil && running.Err() == nil {
				seen.failed(err)
			}
		})
	}
	begun.Wait()
	err := seen.watch(ctx, warmup, window, atBegin, atEnd)
	stop()
	all.Wait()
	return seen, err
}

// dialAll opens all connections in advance, a few at a time, because the queue of a listener may be
// short.
func dialAll(ctx context.Context, clients []*client) error {
	const atOnce = 32
	slots := make(chan struct{}, atOnce)
	failures := make(chan error, len(clients))
	for _, c := range clients {
		slots <- struct{}{}
		go func() {
			failures <- c.dial(ctx)
			<-slots
		}()
	}
	var problem error
	for range clients {
		if err := <-failures; err != nil {
			problem = fmt.Errorf("open a connection: %w", err)
		}
	}
	return problem
}

// follow reads one stream, sent now, until ctx ends. It calls begun at its first event.
func (c *client) follow(ctx context.Context, sent time.Time, seen *tally, begun func()) error {
	defer c.close()
	resp, err := c.send(ctx)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d for a stream", resp.StatusCode)
	}
	lines := eventCounter{}
	buffer := make([]byte, 4<<10)
	for first := true; ; {
		n, err := resp.Body.Read(buffer)
		events := lines.count(buffer[:n])
		if events > 0 && first {
			first = false
			seen.began(time.Since(sent))
			c.conn.SetDeadline(time.Time{}) // no deadline from now on
			begun()
		}
		if seen.open.Load() {
			seen.events.Add(int64(events))
		}
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return errors.Join(errors.New("a stream ended early"), err)
		}
	}
}

// begins opens a stream, waits for its first event and leaves.
func (c *client) begins(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	return c.follow(ctx, time.Now(), &tally{}, stop)
}

func (t *tally) began(after time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.firsts = append(t.firsts, after)
}

// eventCounter counts the events of a stream by the empty lines after them, for any division into
// reads.
type eventCounter struct{ lineEnded bool }

func (e *eventCounter) count(piece []byte) int {
	if len(piece) == 0 {
		return 0
	}
	n := 0
	if e.lineEnded && piece[0] == '\n' {
		n, piece = 1, piece[1:]
	}
	e.lineEnded = bytes.HasSuffix(piece, []byte("\n")) && !bytes.HasSuffix(piece, []byte("\n\n"))
	return n + bytes.Count(piece, []byte("\n\n"))
}
