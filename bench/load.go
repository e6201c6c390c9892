package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// patience is the time limit for a response, or for the beginning of a stream.
const patience = 30 * time.Second

// tally is what clients measured. Requests, events and latencies are those of the window, errors
// those of the whole run.
type tally struct {
	mu        sync.Mutex
	requests  int
	latencies []time.Duration
	firsts    []time.Duration // from a request to the first event of its stream
	errors    int
	lastError error

	open   atomic.Bool // the window is open
	events atomic.Int64
}

func (t *tally) answered(latency time.Duration) {
	if !t.open.Load() {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.requests++
	t.latencies = append(t.latencies, latency)
}

func (t *tally) failed(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.errors++
	t.lastError = err
}

// client is one connection that sends one request after another.
type client struct {
	address   string
	encrypted bool
	request   *request
	conn      net.Conn
	in        *bufio.Reader
	answer    bytes.Buffer
}

func (c *client) dial(ctx context.Context) error {
	if c.conn != nil {
		return nil
	}
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", c.address)
	if err != nil {
		return err
	}
	if c.encrypted {
		// The certificate does not matter here, because this process made it.
		conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
	}
	c.conn, c.in = conn, bufio.NewReader(conn)
	return nil
}

func (c *client) close() {
	if c.conn != nil {
		c.conn.Close()
		c.conn = nil
	}
}

// send sends the next request, sets the deadline and returns the response header. The body need not
// be closed: it uses only the connection.
func (c *client) send(ctx context.Context) (*http.Response, error) {
	if err := c.dial(ctx); err != nil {
		return nil, err
	}
	if err := c.conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return nil, err
	}
	if _, err := c.conn.Write(c.request.next()); err != nil {
		return nil, err
	}
	return http.ReadResponse(c.in, nil)
}

// ask makes one exchange. An incomplete message is an error, after which a new connection is used.
func (c *client) ask(ctx context.Context) (err error) {
	defer func() {
		if err != nil {
			c.close()
		}
	}()
	resp, err := c.send(ctx)
	if err != nil {
		return err
	}
	c.answer.Reset()
	if _, err := c.answer.ReadFrom(resp.Body); err != nil {
		return err
	}
	end := []byte(`"type":"message"`)
	if resp.Header.Get("Content-Type") != "application/json" {
		end = []byte("event: message_stop")
	}
	if resp.StatusCode != http.StatusOK || !bytes.Contains(c.answer.Bytes(), end) {
		return fmt.Errorf("status %d, %d bytes: %.200s", resp.StatusCode, c.answer.Len(), c.answer.Bytes())
	}
	if resp.Close {
		c.close()
	}
	return nil
}

// pacer determines when the next request is due. With an interval of 0 it is due as soon as a
// client is free.
type pacer struct {
	start    time.Time
	interval time.Duration
	issued   atomic.Int64
}

// await waits until the next request is due. It returns the start of its latency: the time at which
// it was due, if all clients were busy then, so that a slow proxy does not reduce the requests that
// would show its latency.
func (p *pacer) await(ctx context.Context) (time.Time, error) {
	due := p.start.Add(time.Duration(p.issued.Add(1)-1) * p.interval)
	if p.interval == 0 {
		return time.Now(), ctx.Err()
	}
	late := time.Until(due)
	if late <= 0 {
		return due, ctx.Err()
	}
	timer := time.NewTimer(late)
	defer timer.Stop()
	select {
	case <-timer.C:
		return time.Now(), nil
	case <-ctx.Done():
		return due, ctx.Err()
	}
}

// requests runs all clients for warmup and then for window. atBegin and atEnd are called at both
// ends of the window.
func requests(ctx context.Context, clients []*client, interval, warmup, window time.Duration, atBegin, atEnd func() error) (*tally, error) {
	seen := &tally{}
	p := &pacer{start: time.Now(), interval: interval}
	running, stop := context.WithCancel(ctx)
	defer stop()
	var all sync.WaitGroup
	for _, c := range clients {
		all.Go(func() {
			for {
				began, err := p.await(running)
				if err != nil {
					return
				}
				if err := c.ask(ctx); err != nil {
					seen.failed(err)
					sleep(running, 10*time.Millisecond) // do not flood a server that refuses connections
					continue
				}
				seen.answered(time.Since(began))
			}
		})
	}
	err := seen.watch(ctx, warmup, window, atBegin, atEnd)
	stop()
	all.Wait()
	return seen, err
}

// watch opens the window after warmup and closes it again, but not before something has happened in
// it: on a busy machine a short one may be too short.
func (t *tally) watch(ctx context.Context, warmup, window time.Duration, atBegin, atEnd func() error) error {
	sleep(ctx, warmup)
	if err := atBegin(); err != nil {
		return err
	}
	t.open.Store(true)
	sleep(ctx, window)
	for end := time.Now().Add(patience); t.isEmpty() && ctx.Err() == nil; sleep(ctx, 10*time.Millisecond) {
		if time.Now().After(end) {
			t.mu.Lock()
			defer t.mu.Unlock()
			return errors.Join(errors.New("nothing was answered"), t.lastError)
		}
	}
	t.open.Store(false)
	if err := atEnd(); err != nil {
		return err
	}
	return ctx.Err()
}

// isEmpty reports whether the window has no results yet.
func (t *tally) isEmpty() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.requests == 0 && t.events.Load() == 0
}

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
