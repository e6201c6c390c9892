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

// patience is how long an answer, or the beginning of a stream, may take.
const patience = 30 * time.Second

// tally is what clients saw. Requests, events and latencies are those of the window, errors those of the whole run.
type tally struct {
	mu        sync.Mutex
	requests  int
	latencies []time.Duration
	firsts    []time.Duration // from a request to the first event of its stream
	errors    int
	lastError error

	open   atomic.Bool // the window
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

// client is one connection that asks one thing after another.
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
		// Whose certificate it is does not matter here: this process made it.
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

// send sends the next request and returns the answer's head. The deadline is then set. The body need not be closed: it
// holds nothing but the connection.
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

// ask makes one exchange. What is no complete message is an error, after which the connection is a new one.
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

// pacer says when the next request is due. With an interval of 0 it is due as soon as a client is free.
type pacer struct {
	start    time.Time
	interval time.Duration
	issued   atomic.Int64
}

// await waits until the next request is due. It returns the moment from which its latency counts: that at which it was
// due, if all clients were busy then, so that a slow proxy cannot thin out the requests that would show it.
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

// requests lets all clients ask for warmup and then for window. What begins and ends the window is told by atBegin
// and atEnd.
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
					sleep(running, 10*time.Millisecond) // whoever refuses connections is not to be flooded
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

// watch opens the window after warmup and closes it again, but not before something has happened in it: on a machine that is
// busy enough a short one may be too short.
func (t *tally) watch(ctx context.Context, warmup, window time.Duration, atBegin, atEnd func() error) error {
	sleep(ctx, warmup)
	if err := atBegin(); err != nil {
		return err
	}
	t.open.Store(true)
	sleep(ctx, window)
	for end := time.Now().Add(patience); t.empty() && ctx.Err() == nil; sleep(ctx, 10*time.Millisecond) {
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

// empty says whether the window has seen nothing until now.
func (t *tally) empty() bool {
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
