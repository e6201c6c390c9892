package proxy

import (
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"
)

// errClientWrite marks a failed write to the client.
var errClientWrite = errors.New("write to client")

// clientWriter writes a response to the client under a time limit for every write. One goroutine
// writes at a time; until the commit and in pauses of the relay that is keepalive's.
type clientWriter struct {
	w        http.ResponseWriter
	http2    bool          // the client shares a connection with other requests
	deadline writeDeadline // over HTTP/2
	writeBy  time.Time     // the write deadline of the connection, over HTTP/1.1
	written  atomic.Int64  // bytes of the response body
}

func (c *clientWriter) write(p []byte) error {
	if len(p) == 0 {
		return nil
	}
	if c.http2 {
		c.deadline.begin(c.w)
		defer c.deadline.end()
	}
	n, err := c.w.Write(p)
	c.written.Add(int64(n))
	if err != nil {
		return errors.Join(errClientWrite, err)
	}
	return nil
}

// send writes and flushes: an event is worth nothing in a buffer.
func (c *clientWriter) send(p []byte) error {
	if err := c.write(p); err != nil {
		return err
	}
	return c.flush()
}

func (c *clientWriter) flush() error {
	controller := http.NewResponseController(c.w)
	if c.http2 {
		c.deadline.begin(c.w)
		defer c.deadline.end()
	} else if now := time.Now(); c.writeBy.Sub(now) < writeLimit-writeLimit/10 && !limitsWrites(c.w) { // setting a deadline costs more than this check
		c.writeBy = now.Add(writeLimit)
		// Servers that cannot set deadlines, as in tests, still flush.
		_ = controller.SetWriteDeadline(c.writeBy)
	}
	if err := controller.Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return fmt.Errorf("%w: %w", errClientWrite, err)
	}
	return nil
}

// sendEvents sends complete events: the upstream's bytes, plus an event: line for each event that
// SDK clients would not read otherwise. The last event: line of an event counts, so it may come
// after the data.
func (c *clientWriter) sendEvents(a *attempt, p []byte) error {
	done := 0
	for _, r := range a.relabelings {
		if err := c.write(p[done:r.at]); err != nil {
			return err
		}
		if err := c.write([]byte("event: " + r.name + "\n")); err != nil {
			return err
		}
		done = r.at
	}
	a.relabelings = a.relabelings[:0]
	return c.send(p[done:])
}
