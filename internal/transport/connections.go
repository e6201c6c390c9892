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
	// assumedStreams is how many requests net/http takes a connection to carry until the peer has said so. A peer
	// should allow no fewer (RFC 9113, section 6.5.2).
	assumedStreams = 100
	// The peer's settings follow the handshake within a round trip, and a handshake takes at least two. But who is
	// short of time may be late.
	minSettling, maxSettling = 300 * time.Millisecond, 2 * time.Second
	// dialsAtOnce bounds the handshakes under way with one server.
	dialsAtOnce = 16
	// maxConnections bounds the connections to one server. Beyond it requests wait until another one ends.
	maxConnections = 512
)

// connections are the HTTP/2 connections to one server. A request goes to the
// oldest one with room, so that those opened for a rush become idle after it
// and close. A request that finds no room waits for the first that appears,
// where another one ends or a connection is made; as many are dialed as the
// waiting ones need, and no more. Safe for concurrent use.
//
// What is given to a connection beyond the peer's limit is stuck there until
// others end. So until the first answer proves that a connection has been told
// the limit, it is given a single request if it is the first one, for a moment
// at most, and else as many as the ones before it carry.
type connections struct {
	ctx   context.Context // ends what is being dialed
	dial  func(context.Context) (*http.ClientConn, error)
	limit atomic.Int64 // requests that one connection carries, 0 while that is not known

	list atomic.Pointer[[]*connection] // by age; replaced under mu and never changed

	mu      sync.Mutex
	waiting []*waiter // first come, first served
	dialing int
}

// connection is one of them. Whoever has reserved a place there calls RoundTrip or Release, once.
type connection struct {
	*http.ClientConn
	told   atomic.Bool  // the peer's limit is in force
	placed atomic.Int64 // requests before that
}

// admits says whether a connection may be given one more request while it does not know the peer's limit itself.
func (c *connection) admits(limit int64) bool {
	return c.told.Load() || c.placed.Add(1) <= max(limit, 1)
}

// capacity is how many requests the connection carries at a time, 0 if that cannot be told at this moment.
func (c *connection) capacity() int64 {
	for range 3 {
		carries, room := c.InFlight(), c.Available()
		if room == 0 { // full, or closing with a few requests left
			return 0
		}
		if c.InFlight() == carries {
			return int64(carries + room)
		}
	}
	return 0
}

// waiter is a request without a connection.
type waiter struct {
	got chan grant // has room for one
}

type grant struct {
	c   *connection
	err error
}

// take reserves a place. It returns the error of a dial that would have made one, or the cause of ctx.
func (cs *connections) take(ctx context.Context) (*connection, error) {
	if c := cs.reserve(); c != nil {
		return c, nil
	}
	w := &waiter{make(chan grant, 1)}
	cs.mu.Lock()
	cs.waiting = append(cs.waiting, w)
	cs.mu.Unlock()
	cs.serve()
	select {
	case g := <-w.got:
		return g.c, g.err
	case <-ctx.Done():
		cs.leave(w)
		return nil, context.Cause(ctx)
	}
}

// leave gives up waiting, and gives back what has been granted in the meantime.
func (cs *connections) leave(w *waiter) {
	cs.mu.Lock()
	i := slices.Index(cs.waiting, w)
	if i >= 0 {
		cs.waiting = slices.Delete(cs.waiting, i, i+1)
	}
	cs.mu.Unlock()
	if i >= 0 {
		return
	}
	if g := <-w.got; g.c != nil {
		g.c.Release()
	}
}

// all are the connections there are.
func (cs *connections) all() []*connection {
	if list := cs.list.Load(); list != nil {
		return *list
	}
	return nil
}

// reserve finds the oldest connection with room, nil if there is none.
func (cs *connections) reserve() *connection {
	for _, c := range cs.all() {
		if c.admits(cs.limit.Load()) && c.Reserve() == nil {
			return c
		}
	}
	return nil
}

// fresh makes a connection and reserves a place there.
func (cs *connections) fresh(ctx context.Context) (*connection, error) {
	made, err := cs.dial(ctx)
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, err
	}
	c := &connection{ClientConn: made}
	c.placed.Add(1)
	if err := c.Reserve(); err != nil {
		return nil, err
	}
	cs.mu.Lock()
	list := append(slices.Clone(cs.all()), c)
	cs.list.Store(&list)
	cs.mu.Unlock()
	made.SetStateHook(cs.changed)
	return c, nil
}

// serve gives room to those who wait, and has more made for the rest.
func (cs *connections) serve() {
	for cs.wanted() {
		c := cs.reserve()
		if c == nil {
			break
		}
		next := cs.next(1)
		if len(next) == 0 {
			c.Release()
			break
		}
		next[0].got <- grant{c: c}
	}
	cs.grow()
}

func (cs *connections) wanted() bool {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	return len(cs.waiting) > 0
}

// next takes up to n out of the queue.
func (cs *connections) next(n int) []*waiter {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	n = min(n, len(cs.waiting))
	taken := slices.Clone(cs.waiting[:n])
	cs.waiting = slices.Delete(cs.waiting, 0, n)
	return taken
}

// grow dials as often as those who wait need.
func (cs *connections) grow() {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	limit, have := int(cs.limit.Load()), len(cs.all())
	if limit == 0 && have > 0 {
		return // which will be told in a moment
	}
	needed := min(len(cs.waiting), 1)
	if limit > 0 {
		needed = min((len(cs.waiting)+limit-1)/limit, dialsAtOnce, maxConnections-have)
	}
	for ; cs.dialing < needed; cs.dialing++ {
		go cs.open()
	}
}

// open makes a connection that dialing counts already. When it cannot be made, those learn it who would have been on it.
func (cs *connections) open() error {
	began := time.Now()
	made, err := cs.dial(cs.ctx)
	c := &connection{ClientConn: made}
	cs.mu.Lock()
	cs.dialing--
	if err == nil {
		list := append(slices.Clone(cs.all()), c)
		cs.list.Store(&list)
	}
	cs.mu.Unlock()
	if err != nil {
		cs.fail(err)
	} else {
		made.SetStateHook(cs.changed)
		if cs.limit.Load() == 0 {
			settling := min(max(minSettling, 4*time.Since(began)), maxSettling)
			time.AfterFunc(settling, func() { cs.learn(c) })
		}
	}
	cs.serve()
	return err
}

func (cs *connections) fail(err error) {
	n := int(cs.limit.Load())
	if n == 0 || errors.Is(err, errHTTP1) {
		n = math.MaxInt // all waited for this one
	}
	for _, w := range cs.next(n) {
		w.got <- grant{err: err}
	}
}

// changed is told when a connection has more room than before, or has closed.
func (cs *connections) changed(c *http.ClientConn) {
	if c.Err() != nil {
		cs.mu.Lock()
		list := slices.DeleteFunc(slices.Clone(cs.all()), func(other *connection) bool { return other.ClientConn == c })
		cs.list.Store(&list)
		cs.mu.Unlock()
	}
	cs.serve()
}

// learn takes the peer's limit from a connection that has been told it.
func (cs *connections) learn(c *connection) {
	if c.told.Load() {
		return
	}
	if n := c.capacity(); n > 0 {
		cs.limit.Store(n)
	}
	cs.limit.CompareAndSwap(0, assumedStreams)
	c.told.Store(true)
	cs.serve()
}

// warm makes the first connection, unless that has been done or is under way.
func (cs *connections) warm() error {
	cs.mu.Lock()
	first := cs.dialing == 0 && len(cs.all()) == 0
	if first {
		cs.dialing++
	}
	cs.mu.Unlock()
	if !first {
		return nil
	}
	return cs.open()
}

// closeIdle closes what nobody uses.
func (cs *connections) closeIdle() {
	for _, c := range cs.all() {
		if c.InFlight() == 0 {
			_ = c.Close() // nothing is under way there
		}
	}
}

// What net/http says where it does not export the error.
const (
	saysUnusable = "http2: client conn not usable"
	saysGoAway   = "http2: Transport received Server's graceful shutdown GOAWAY"

	saysClosedIdle  = "http: server closed idle connection"
	saysCleanGoAway = "http2: server sent GOAWAY and closed the connection; "
	saysNoError     = "ErrCode=NO_ERROR,"
)

// isCleanGoAway reports whether the peer closed a connection in an orderly way, but did not serve requests that it had
// announced to serve.
func isCleanGoAway(err error) bool {
	text := err.Error()
	return strings.HasPrefix(text, saysCleanGoAway) && strings.Contains(text, saysNoError)
}

// streamError is the shape in which net/http gives out the reset of a stream.
type streamError struct {
	StreamID uint32
	Code     uint32
	Cause    error
}

func (e streamError) Error() string { return "stream reset" }

// refusedStream is the code of a stream that the peer has not looked at (RFC 9113, section 8.7).
const refusedStream = 7

// refused says whether an error means that the peer has not begun to work on a request, which may then be sent again,
// whatever it is.
func refused(err error) bool {
	reset, ok := errors.AsType[streamError](err)
	return ok && reset.Code == refusedStream || err.Error() == saysUnusable || err.Error() == saysGoAway
}
