package http1

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/socket"
)

// connState is what a connection is at; it decides what a shutdown may do with it.
type connState int32

const (
	fresh  connState = iota // no request has begun yet
	idle                    // between two requests
	begun                   // a part of a head has come
	active                  // a request has come
	closed
)

const (
	// lingering is how long a client that still sends may take to read the answer and stop, before the connection is
	// reset, which would take the answer away (RFC 9112, section 9.6). At most lingered bytes are read meanwhile.
	lingering = 500 * time.Millisecond
	lingered  = 1 << 20
	// drained is how much of a body that the handler has not read is read for the sake of the connection, and drainTime how long that may take.
	drained   = 256 << 10
	drainTime = 2 * time.Second
)

// longAgo, as a deadline, ends whatever waits.
func longAgo() time.Time { return time.Unix(1, 0) }

// conn serves one connection, with one goroutine.
type conn struct {
	server         *Server
	net            *socket.Conn
	remote         string
	ctx            context.Context // of all requests
	opened         time.Time
	state          atomic.Int32
	headerTimerSet atomic.Int64 // when the first part of a head came, in nanoseconds since 1970
	in             input
	watch          closeWatch
	posted         bool // the last request was a POST

	mu       sync.Mutex // over what follows
	serving  *response  // nil between two requests
	deadline time.Time  // for reading
	unset    bool       // the connection does not know it yet
	reading  bool
	writeBy  time.Time // the deadline for writing
	granted  bool      // writeBy is the handler's wish
}

func newConn(s *Server, c net.Conn) *conn {
	served := &conn{server: s, net: socket.New(c), opened: time.Now(), ctx: context.WithValue(s.context(), http.LocalAddrContextKey, c.LocalAddr())}
	if address := c.RemoteAddr(); address != nil {
		served.remote = address.String()
	}
	served.in = input{from: served, mem: &s.mem}
	served.watch.c = served
	return served
}

// serve serves requests until one of both sides ends the connection.
func (c *conn) serve() {
	defer c.server.forget(c)
	defer c.net.Close()
	defer c.in.release()
	c.limitRead(c.server.ReadHeaderTimeout)
	for c.serveOne() {
		c.limitRead(c.server.IdleTimeout)
		if !c.markIdle() {
			return
		}
	}
}

// serveOne serves one request, and reports whether another may follow.
func (c *conn) serveOne() bool {
	head, err := c.in.head(c.server.maxHead(), c.startHeaderTimer)
	if c.posted && string(head) == "\r\n" { // some clients end the body of a POST with an empty line (RFC 9112, section 2.2)
		c.in.use(len(head))
		head, err = c.in.head(c.server.maxHead(), c.startHeaderTimer)
	}
	switch {
	case errors.Is(err, errHeadTooLong):
		return c.refuse(&refusal{http.StatusRequestHeaderFieldsTooLarge, "the head is too long"})
	case errors.Is(err, errEncrypted): // in plain text, because clients report that clearly: "wrong version number" or "HTTP response to HTTPS client"
		if c.server.Encrypted != nil {
			c.server.Encrypted(c.remote)
		}
		return c.refuse(&refusal{http.StatusBadRequest, "it is TLS, and this port speaks plain HTTP: use http:// here"})
	case err != nil: // the client has left, or is slow: nobody is there to be told
		return false
	case !c.activate():
		return false
	}
	ctx, cancel := context.WithCancel(c.ctx)
	r, f, refused := parseRequest(ctx, head)
	if refused != nil {
		cancel()
		return c.refuse(refused)
	}
	c.in.use(len(head))
	c.posted = r.Method == http.MethodPost
	r.RemoteAddr = c.remote
	return c.answer(r, f, cancel)
}

// answer has the handler answer a request, and reports whether another may follow.
func (c *conn) answer(r *http.Request, f framing, cancel context.CancelFunc) (keep bool) {
	defer cancel()
	w := &response{c: c, head: r.Method == http.MethodHead, old: r.ProtoMinor == 0, last: r.Close, length: -1}
	body := &requestBody{c: c, reader: newBodyReader(f), awaits: awaitsContinue(r) && r.ProtoMinor > 0, answer: w}
	r.Body, w.request = body, body
	c.begin(w)
	c.watch.begin(cancel)
	if body.none() {
		r.Body = http.NoBody
		body.err = io.EOF
		c.watch.arm()
	}
	defer func() {
		if fault := recover(); fault != nil {
			keep = false
			c.watch.end()
			c.end()
			w.drop()
			if fault != http.ErrAbortHandler {
				c.server.failed(fmt.Errorf("http1: panic serving %s: %v\n%s", c.remote, fault, debug.Stack()))
			}
		}
	}()
	c.server.Handler.ServeHTTP(w, r)
	stays := c.watch.end()
	if !stays && w.status == 0 { // a client that has closed only its half must not take nothing for an answer
		w.err = errFinished
		c.end()
		body.finish(false)
		return false
	}
	finished := w.finish() == nil
	c.end()
	read := body.finish(!w.last && finished)
	switch {
	case !finished || !stays:
		return false
	case w.last || !read:
		c.linger(body.err == io.EOF)
		return false
	}
	return true
}

// refuse answers what is no request that can be served.
func (c *conn) refuse(r *refusal) bool {
	c.activate()
	kind, body := c.server.refusal(r)
	w := &response{c: c, last: true, length: -1, header: http.Header{"Content-Type": {kind}}}
	w.WriteHeader(r.status)
	w.Write(body)
	if w.finish() == nil {
		c.linger(false)
	}
	return false
}

// begin lets a response set deadlines.
func (c *conn) begin(w *response) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.serving = w
	c.deadline, c.unset = time.Time{}, true
}

// end takes that back: a handler's goroutine that outlives it must not touch the next request.
func (c *conn) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.granted && c.server.WriteTimeout <= 0 {
		_ = c.net.SetWriteDeadline(time.Time{})
	}
	c.serving, c.granted = nil, false
}

// write sends all of p and q, under the handler's deadline, or the server's.
func (c *conn) write(p, q []byte) error {
	c.limitWrite(time.Now())
	_, err := c.net.WriteTogether(p, q, nil)
	return err
}

// limitWrite renews the deadline when a tenth of its time has passed: setting one costs more than looking.
func (c *conn) limitWrite(now time.Time) {
	limit := c.server.WriteTimeout
	c.mu.Lock()
	defer c.mu.Unlock()
	if limit <= 0 || c.granted || c.writeBy.Sub(now) > limit-limit/10 && !c.writeBy.After(now.Add(limit)) {
		return
	}
	c.writeBy = now.Add(limit)
	_ = c.net.SetWriteDeadline(c.writeBy)
}

// linger ends the connection so that the answer arrives although the client may still be sending.
func (c *conn) linger(quiet bool) {
	if quiet && c.in.buffered() == 0 || c.net.CloseWrite() != nil {
		return
	}
	c.limitRead(lingering)
	b := c.server.mem.get()
	defer c.server.mem.put(b)
	for n := 0; n < lingered; {
		m, err := c.Read(b[:])
		if n += m; err != nil {
			return
		}
	}
}

// Read reads under the deadline in force.
func (c *conn) Read(p []byte) (int, error) {
	c.mu.Lock()
	if c.unset {
		c.unset = false
		_ = c.net.SetReadDeadline(c.deadline)
	}
	c.reading = true
	c.mu.Unlock()
	n, err := c.net.Read(p)
	c.mu.Lock()
	c.reading = false
	c.mu.Unlock()
	return n, err
}

// setDeadline puts a deadline in force for reads. A connection is told of it only when it is read, for most bodies are here by then.
func (c *conn) setDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.readBy(t)
}

func (c *conn) readBy(t time.Time) error {
	c.deadline, c.unset = t, !c.reading
	if c.reading {
		return c.net.SetReadDeadline(t)
	}
	return nil
}

// limitRead is setDeadline for a time from now; 0 is none.
func (c *conn) limitRead(d time.Duration) {
	deadline := time.Time{}
	if d > 0 {
		deadline = time.Now().Add(d)
	}
	_ = c.setDeadline(deadline)
}

// startHeaderTimer is told when a part of a head has come: the rest has to follow. Its time begins once, not with each byte, and for a
// connection's first head it began with the connection.
func (c *conn) startHeaderTimer() {
	c.headerTimerSet.Store(time.Now().UnixNano())
	if !c.cas(fresh, begun) && c.cas(idle, begun) {
		c.limitRead(c.server.ReadHeaderTimeout)
	}
}

// activate says that a request has begun. It is false when the server has closed the connection just before.
func (c *conn) activate() bool {
	return c.cas(fresh, active) || c.cas(idle, active) || c.cas(begun, active) || connState(c.state.Load()) == active
}

// markIdle says that no request is being served. It is false when the server closes.
func (c *conn) markIdle() bool { return c.cas(active, idle) && !c.server.isClosing() }

// closeIdle closes the connection if nobody is served on it. One that has brought nothing yet, or not all of a head, has a moment to do so.
func (c *conn) closeIdle() bool {
	waited := time.Since(c.opened) >= freshTime && c.cas(fresh, closed) || time.Since(time.Unix(0, c.headerTimerSet.Load())) >= freshTime && c.cas(begun, closed)
	if !waited && !c.cas(idle, closed) {
		return false
	}
	c.net.Close()
	return true
}

func (c *conn) cas(from, to connState) bool { return c.state.CompareAndSwap(int32(from), int32(to)) }
