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
	stateNew           connState = iota // no request has begun yet
	stateIdle                           // between two requests
	stateReadingHeader                  // a part of a head has come
	stateActive                         // a request has come
	stateClosed
)

const (
	// lingering is how long a client that still sends may take to read the answer and stop, before the connection is
	// reset, which would take the answer away (RFC 9112, section 9.6). At most lingered bytes are read meanwhile.
	lingerTime     = 500 * time.Millisecond
	maxLingerBytes = 1 << 20
	// drained is how much of a body that the handler has not read is read for the sake of the connection, and drainTime how long that may take.
	maxDrainBytes = 256 << 10
	drainTimeout  = 2 * time.Second
)

// longAgo, as a deadline, ends whatever waits.
func pastDeadline() time.Time { return time.Unix(1, 0) }

// conn serves one connection, with one goroutine.
type conn struct {
	server          *Server
	sock            *socket.Conn
	remoteAddr      string
	ctx             context.Context // of all requests
	acceptedAt      time.Time
	state           atomic.Int32
	headerStartedAt atomic.Int64 // when the first part of a head came, in nanoseconds since 1970
	in              input
	watch           closeWatch
	lastWasPOST     bool // the last request was a POST

	mu                   sync.Mutex      // over what follows
	current              *responseWriter // nil between two requests
	readDeadline         time.Time       // for reading
	readDeadlinePending  bool            // the connection does not know it yet
	reading              bool
	writeDeadline        time.Time // the deadline for writing
	handlerWriteDeadline bool      // writeBy is the handler's wish
}

func newConn(s *Server, c net.Conn) *conn {
	served := &conn{server: s, sock: socket.New(c), acceptedAt: time.Now(), ctx: context.WithValue(s.baseContext(), http.LocalAddrContextKey, c.LocalAddr())}
	if address := c.RemoteAddr(); address != nil {
		served.remoteAddr = address.String()
	}
	served.in = input{src: served, pool: &s.pool}
	served.watch.c = served
	return served
}

// serve serves requests until one of both sides ends the connection.
func (c *conn) serve() {
	defer c.server.removeConn(c)
	defer c.sock.Close()
	defer c.in.release()
	c.setReadTimeout(c.server.ReadHeaderTimeout)
	for c.serveOne() {
		c.setReadTimeout(c.server.IdleTimeout)
		if !c.markIdle() {
			return
		}
	}
}

// serveOne serves one request, and reports whether another may follow.
func (c *conn) serveOne() bool {
	head, err := c.in.readHeader(c.server.maxHeader(), c.startHeaderTimer)
	if c.lastWasPOST && string(head) == "\r\n" { // some clients end the body of a POST with an empty line (RFC 9112, section 2.2)
		c.in.consume(len(head))
		head, err = c.in.readHeader(c.server.maxHeader(), c.startHeaderTimer)
	}
	switch {
	case errors.Is(err, errHeaderTooLong):
		return c.sendRefusal(&refusal{http.StatusRequestHeaderFieldsTooLarge, "the head is too long"})
	case errors.Is(err, errTLS): // in plain text, because clients report that clearly: "wrong version number" or "HTTP response to HTTPS client"
		if c.server.OnTLS != nil {
			c.server.OnTLS(c.remoteAddr)
		}
		return c.sendRefusal(&refusal{http.StatusBadRequest, "it is TLS, and this port speaks plain HTTP: use http:// here"})
	case err != nil: // the client has left, or is slow: nobody is there to be told
		return false
	case !c.markActive():
		return false
	}
	ctx, cancel := context.WithCancel(c.ctx)
	r, f, refused := parseRequest(ctx, head)
	if refused != nil {
		cancel()
		return c.sendRefusal(refused)
	}
	c.in.consume(len(head))
	c.lastWasPOST = r.Method == http.MethodPost
	r.RemoteAddr = c.remoteAddr
	return c.serveRequest(r, f, cancel)
}

// answer has the handler answer a request, and reports whether another may follow.
func (c *conn) serveRequest(r *http.Request, f framing, cancel context.CancelFunc) (keep bool) {
	defer cancel()
	w := &responseWriter{c: c, isHEAD: r.Method == http.MethodHead, http10: r.ProtoMinor == 0, closeAfter: r.Close, contentLength: -1}
	body := &requestBody{c: c, reader: newBodyReader(f), expectsContinue: expectsContinue(r) && r.ProtoMinor > 0, response: w}
	r.Body, w.body = body, body
	c.attach(w)
	c.watch.start(cancel)
	if body.isEmpty() {
		r.Body = http.NoBody
		body.err = io.EOF
		c.watch.arm()
	}
	defer func() {
		if fault := recover(); fault != nil {
			keep = false
			c.watch.stop()
			c.detach()
			w.releaseBuffer()
			if fault != http.ErrAbortHandler {
				c.server.reportError(fmt.Errorf("http1: panic serving %s: %v\n%s", c.remoteAddr, fault, debug.Stack()))
			}
		}
	}()
	c.server.Handler.ServeHTTP(w, r)
	stays := c.watch.stop()
	if !stays && w.status == 0 { // a client that has closed only its half must not take nothing for an answer
		w.err = errHandlerReturned
		c.detach()
		body.finish(false)
		return false
	}
	finished := w.finish() == nil
	c.detach()
	read := body.finish(!w.closeAfter && finished)
	switch {
	case !finished || !stays:
		return false
	case w.closeAfter || !read:
		c.linger(body.err == io.EOF)
		return false
	}
	return true
}

// refuse answers what is no request that can be served.
func (c *conn) sendRefusal(r *refusal) bool {
	c.markActive()
	kind, body := c.server.refusalBody(r)
	w := &responseWriter{c: c, closeAfter: true, contentLength: -1, header: http.Header{"Content-Type": {kind}}}
	w.WriteHeader(r.status)
	w.Write(body)
	if w.finish() == nil {
		c.linger(false)
	}
	return false
}

// begin lets a response set deadlines.
func (c *conn) attach(w *responseWriter) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.current = w
	c.readDeadline, c.readDeadlinePending = time.Time{}, true
}

// end takes that back: a handler's goroutine that outlives it must not touch the next request.
func (c *conn) detach() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.handlerWriteDeadline && c.server.WriteTimeout <= 0 {
		_ = c.sock.SetWriteDeadline(time.Time{})
	}
	c.current, c.handlerWriteDeadline = nil, false
}

// write sends all of p and q, under the handler's deadline, or the server's.
func (c *conn) write(p, q []byte) error {
	c.renewWriteDeadline(time.Now())
	_, err := c.sock.WriteTogether(p, q, nil)
	return err
}

// limitWrite renews the deadline when a tenth of its time has passed: setting one costs more than looking.
func (c *conn) renewWriteDeadline(now time.Time) {
	limit := c.server.WriteTimeout
	c.mu.Lock()
	defer c.mu.Unlock()
	if limit <= 0 || c.handlerWriteDeadline || c.writeDeadline.Sub(now) > limit-limit/10 && !c.writeDeadline.After(now.Add(limit)) {
		return
	}
	c.writeDeadline = now.Add(limit)
	_ = c.sock.SetWriteDeadline(c.writeDeadline)
}

// linger ends the connection so that the answer arrives although the client may still be sending.
func (c *conn) linger(quiet bool) {
	if quiet && c.in.buffered() == 0 || c.sock.CloseWrite() != nil {
		return
	}
	c.setReadTimeout(lingerTime)
	b := c.server.pool.get()
	defer c.server.pool.put(b)
	for n := 0; n < maxLingerBytes; {
		m, err := c.Read(b[:])
		if n += m; err != nil {
			return
		}
	}
}

// Read reads under the deadline in force.
func (c *conn) Read(p []byte) (int, error) {
	c.mu.Lock()
	if c.readDeadlinePending {
		c.readDeadlinePending = false
		_ = c.sock.SetReadDeadline(c.readDeadline)
	}
	c.reading = true
	c.mu.Unlock()
	n, err := c.sock.Read(p)
	c.mu.Lock()
	c.reading = false
	c.mu.Unlock()
	return n, err
}

// setDeadline puts a deadline in force for reads. A connection is told of it only when it is read, for most bodies are here by then.
func (c *conn) setReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.setReadDeadlineLocked(t)
}

func (c *conn) setReadDeadlineLocked(t time.Time) error {
	c.readDeadline, c.readDeadlinePending = t, !c.reading
	if c.reading {
		return c.sock.SetReadDeadline(t)
	}
	return nil
}

// limitRead is setDeadline for a time from now; 0 is none.
func (c *conn) setReadTimeout(d time.Duration) {
	deadline := time.Time{}
	if d > 0 {
		deadline = time.Now().Add(d)
	}
	_ = c.setReadDeadline(deadline)
}

// startHeaderTimer is told when a part of a head has come: the rest has to follow. Its time begins once, not with each byte, and for a
// connection's first head it began with the connection.
func (c *conn) startHeaderTimer() {
	c.headerStartedAt.Store(time.Now().UnixNano())
	if !c.cas(stateNew, stateReadingHeader) && c.cas(stateIdle, stateReadingHeader) {
		c.setReadTimeout(c.server.ReadHeaderTimeout)
	}
}

// activate says that a request has begun. It is false when the server has closed the connection just before.
func (c *conn) markActive() bool {
	return c.cas(stateNew, stateActive) || c.cas(stateIdle, stateActive) || c.cas(stateReadingHeader, stateActive) || connState(c.state.Load()) == stateActive
}

// markIdle says that no request is being served. It is false when the server closes.
func (c *conn) markIdle() bool { return c.cas(stateActive, stateIdle) && !c.server.isClosing() }

// closeIdle closes the connection if nobody is served on it. One that has brought nothing yet, or not all of a head, has a moment to do so.
func (c *conn) closeIdle() bool {
	waited := time.Since(c.acceptedAt) >= newConnGrace && c.cas(stateNew, stateClosed) || time.Since(time.Unix(0, c.headerStartedAt.Load())) >= newConnGrace && c.cas(stateReadingHeader, stateClosed)
	if !waited && !c.cas(stateIdle, stateClosed) {
		return false
	}
	c.sock.Close()
	return true
}

func (c *conn) cas(from, to connState) bool { return c.state.CompareAndSwap(int32(from), int32(to)) }
