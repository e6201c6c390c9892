package transport

import (
	"context"
	"errors"
	"math"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// assumedStreams is the number of concurrent requests that net/http assumes a connection
	// allows, until the peer's settings arrive. A peer should not allow fewer (RFC 9113, section
	// 6.5.2).
	assumedStreams = 100
	// The peer's settings arrive within a round trip after the handshake, and a handshake takes at
	// least two. A busy peer may send them later.
	minSettingsWait, maxSettingsWait = 300 * time.Millisecond, 2 * time.Second
	// maxDials bounds the concurrent handshakes with one server.
	maxDials = 16
	// maxConnections bounds the connections to one server. At this bound, requests wait until
	// another one ends.
	maxConnections = 512
)

// h2Pool has the HTTP/2 connections to one server. A request goes to the oldest connection with
// capacity, so that connections opened for a peak become idle after it and are closed. If no
// connection has capacity, the request waits for the first capacity that appears, because another
// request ends or a new connection is ready. The pool dials only as many connections as the waiting
// requests need. Safe for concurrent use.
//
// A request on a connection beyond the peer's limit is stuck there until others end. The peer's
// limit is known for certain only with the first response. Until then, the first connection gets a
// single request (for a short time at most), and each later connection as many as the earlier ones
// may carry.
type h2Pool struct {
	ctx   context.Context // cancels dials that serve several requests
	dial  func(context.Context) (*http.ClientConn, error)
	limit atomic.Int64 // concurrent requests per connection; 0: not known yet

	list atomic.Pointer[[]*h2Conn] // oldest first; replaced under mu, never modified

	mu      sync.Mutex
	waiters []*waiter // in FIFO order
	dialing int
}

// h2Conn is one connection. A caller that reserved capacity on it calls RoundTrip or Release, once.
type h2Conn struct {
	*http.ClientConn
	limitKnown atomic.Bool  // the peer's limit is in force
	admitted   atomic.Int64 // requests admitted before that
}

// tryAdmit reports whether the connection may get one more request, and counts that request if the
// peer's limit is not known yet.
func (c *h2Conn) tryAdmit(limit int64) bool {
	return c.limitKnown.Load() || c.admitted.Add(1) <= max(limit, 1)
}

// capacity returns how many concurrent requests the connection allows, 0 if that cannot be
// determined now.
func (c *h2Conn) capacity() int64 {
	for range 3 {
		inFlight, free := c.InFlight(), c.Available()
		if free == 0 { // the connection is full, or about to close after a few more requests
			return 0
		}
		if c.InFlight() == inFlight {
			return int64(inFlight + free)
		}
	}
	return 0
}

// waiter is a request that waits for a connection.
type waiter struct {
	granted chan grant // capacity 1
}

type grant struct {
	c   *h2Conn
	err error
}

// acquire reserves capacity on a connection, and waits for it if necessary. If the dial fails that
// should have provided it, acquire returns the error; if ctx ends, its cause.
func (p *h2Pool) acquire(ctx context.Context) (*h2Conn, error) {
	if c := p.reserve(); c != nil {
		return c, nil
	}
	w := &waiter{make(chan grant, 1)}
	p.mu.Lock()
	p.waiters = append(p.waiters, w)
	p.mu.Unlock()
	p.assign()
	select {
	case g := <-w.granted:
		return g.c, g.err
	case <-ctx.Done():
		p.cancelWait(w)
		return nil, context.Cause(ctx)
	}
}

// cancelWait removes a waiter from the queue, and releases the connection that it may have got
// meanwhile.
func (p *h2Pool) cancelWait(w *waiter) {
	p.mu.Lock()
	i := slices.Index(p.waiters, w)
	if i >= 0 {
		p.waiters = slices.Delete(p.waiters, i, i+1)
	}
	p.mu.Unlock()
	if i >= 0 {
		return
	}
	if g := <-w.granted; g.c != nil {
		g.c.Release()
	}
}

// conns returns the open connections.
func (p *h2Pool) conns() []*h2Conn {
	if list := p.list.Load(); list != nil {
		return *list
	}
	return nil
}

// reserve reserves capacity on the oldest connection that has some. It returns nil if no connection
// has.
func (p *h2Pool) reserve() *h2Conn {
	for _, c := range p.conns() {
		if c.tryAdmit(p.limit.Load()) && c.Reserve() == nil {
			return c
		}
	}
	return nil
}

// dialReserved makes a new connection and reserves capacity on it.
func (p *h2Pool) dialReserved(ctx context.Context) (*h2Conn, error) {
	made, err := p.dial(ctx)
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, err
	}
	c := &h2Conn{ClientConn: made}
	c.admitted.Add(1)
	if err := c.Reserve(); err != nil {
		return nil, err
	}
	p.mu.Lock()
	list := append(slices.Clone(p.conns()), c)
	p.list.Store(&list)
	p.mu.Unlock()
	made.SetStateHook(p.onStateChange)
	return c, nil
}

// assign gives free capacity to waiting requests, and dials connections for the others.
func (p *h2Pool) assign() {
	for p.hasWaiters() {
		c := p.reserve()
		if c == nil {
			break
		}
		next := p.dequeue(1)
		if len(next) == 0 {
			c.Release()
			break
		}
		next[0].granted <- grant{c: c}
	}
	p.dialForWaiters()
}

func (p *h2Pool) hasWaiters() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.waiters) > 0
}

// dequeue removes up to n waiters from the queue.
func (p *h2Pool) dequeue(n int) []*waiter {
	p.mu.Lock()
	defer p.mu.Unlock()
	n = min(n, len(p.waiters))
	taken := slices.Clone(p.waiters[:n])
	p.waiters = slices.Delete(p.waiters, 0, n)
	return taken
}

// dialForWaiters starts as many dials as the waiting requests need.
func (p *h2Pool) dialForWaiters() {
	p.mu.Lock()
	defer p.mu.Unlock()
	limit, have := int(p.limit.Load()), len(p.conns())
	if limit == 0 && have > 0 {
		return // the limit will be known in a moment
	}
	needed := min(len(p.waiters), 1)
	if limit > 0 {
		needed = min((len(p.waiters)+limit-1)/limit, maxDials, maxConnections-have)
	}
	for ; p.dialing < needed; p.dialing++ {
		go p.open()
	}
}

// open makes a connection for which dialing has been incremented. If the dial fails, the requests
// that would have used the connection get the error.
func (p *h2Pool) open() error {
	began := time.Now()
	made, err := p.dial(p.ctx)
	c := &h2Conn{ClientConn: made}
	p.mu.Lock()
	p.dialing--
	if err == nil {
		list := append(slices.Clone(p.conns()), c)
		p.list.Store(&list)
	}
	p.mu.Unlock()
	if err != nil {
		p.failWaiters(err)
	} else {
		made.SetStateHook(p.onStateChange)
		if p.limit.Load() == 0 {
			wait := min(max(minSettingsWait, 4*time.Since(began)), maxSettingsWait)
			time.AfterFunc(wait, func() { p.learnLimit(c) })
		}
	}
	p.assign()
	return err
}

func (p *h2Pool) failWaiters(err error) {
	n := int(p.limit.Load())
	if n == 0 || errors.Is(err, errHTTP1) {
		n = math.MaxInt // all of them waited for this connection
	}
	for _, w := range p.dequeue(n) {
		w.granted <- grant{err: err}
	}
}

// onStateChange is called when a connection has more capacity than before, or has closed.
func (p *h2Pool) onStateChange(c *http.ClientConn) {
	if c.Err() != nil {
		p.mu.Lock()
		list := slices.DeleteFunc(slices.Clone(p.conns()), func(other *h2Conn) bool { return other.ClientConn == c })
		p.list.Store(&list)
		p.mu.Unlock()
	}
	p.assign()
}

// learnLimit reads the peer's limit from a connection that has received the settings.
func (p *h2Pool) learnLimit(c *h2Conn) {
	if c.limitKnown.Load() {
		return
	}
	if n := c.capacity(); n > 0 {
		p.limit.Store(n)
	}
	p.limit.CompareAndSwap(0, assumedStreams)
	c.limitKnown.Store(true)
	p.assign()
}

// warm makes the first connection, unless one exists or is being dialed.
func (p *h2Pool) warm() error {
	p.mu.Lock()
	first := p.dialing == 0 && len(p.conns()) == 0
	if first {
		p.dialing++
	}
	p.mu.Unlock()
	if !first {
		return nil
	}
	return p.open()
}

// closeIdle closes the connections without requests.
func (p *h2Pool) closeIdle() {
	for _, c := range p.conns() {
		if c.InFlight() == 0 {
			_ = c.Close() // no request uses it
		}
	}
}

// Texts of errors that net/http does not export.
const (
	textUnusable = "http2: client conn not usable"
	textGoAway   = "http2: Transport received Server's graceful shutdown GOAWAY"

	textClosedIdle  = "http: server closed idle connection"
	textCleanGoAway = "http2: server sent GOAWAY and closed the connection; "
	textNoError     = "ErrCode=NO_ERROR,"
)

// isCleanGoAway reports whether the peer closed a connection in an orderly way, but did not serve
// requests that it had promised to serve.
func isCleanGoAway(err error) bool {
	text := err.Error()
	return strings.HasPrefix(text, textCleanGoAway) && strings.Contains(text, textNoError)
}

// streamError has the fields of net/http's unexported error for the reset of a stream.
type streamError struct {
	StreamID uint32
	Code     uint32
	Cause    error
}

func (e streamError) Error() string { return "stream reset" }

// refusedStream is the error code for a stream that the peer has not processed (RFC 9113, section
// 8.7).
const refusedStream = 7

// isRefused reports whether an error proves that the peer has not begun to process the request. Any
// request may then be repeated.
func isRefused(err error) bool {
	reset, ok := errors.AsType[streamError](err)
	return ok && reset.Code == refusedStream || err.Error() == textUnusable || err.Error() == textGoAway
}
