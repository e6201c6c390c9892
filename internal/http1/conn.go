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

// connState is the state of a server connection. It decides whether a shutdown may close it.
type connState int32

const (
	stateNew           connState = iota // no byte of a request has arrived yet
	stateIdle                           // between two requests
	stateReadingHeader                  // part of a request header has arrived
	stateActive                         // a request is being served
	stateClosed
)

const (
	// LingerTime is how long the server keeps reading, after it has sent its last response, from a
	// client that is still sending. Closing at once would send a reset, and the client could lose
	// the response (RFC 9112, section 9.6). At most MaxLingerBytes are read.
	LingerTime     = 500 * time.Millisecond
	MaxLingerBytes = 1 << 20
	// MaxDrainBytes is the part of a request body that is read and discarded, within drainTimeout,
	// if the handler has not read it, so that the connection can be reused. It is that of net/http.
	MaxDrainBytes = 256 << 10
	drainTimeout  = 2 * time.Second
	// TLSOnPlainPort is the reason in the response to a client that speaks TLS.
	TLSOnPlainPort = "it is TLS, and this port speaks plain HTTP: use http:// here"
)

// pastDeadline is a deadline that interrupts a pending read.
func pastDeadline() time.Time { return time.Unix(1, 0) }

// conn is one server connection. One goroutine serves it.
type conn struct {
	server          *Server
	sock            *socket.Conn
	remoteAddr      string
	ctx             context.Context // parent of the contexts of all requests
	acceptedAt      time.Time
	state           atomic.Int32
	headerStartedAt atomic.Int64 // Unix time in nanoseconds of the first bytes of a header
	in              input
	watch           closeWatch
	lastWasPOST     bool

	mu                   sync.Mutex      // guards the following fields
	current              *responseWriter // the response being written; nil between two requests
	readDeadline         time.Time
	readDeadlinePending  bool // readDeadline has not been set on sock yet
	reading              bool
	writeDeadline        time.Time
	handlerWriteDeadline bool // writeDeadline was set by the handler
}

func newConn(s *Server, c net.Conn) *conn {
	served := &conn{
		server: s, sock: socket.New(c), acceptedAt: time.Now(),
		ctx: context.WithValue(s.baseContext(), http.LocalAddrContextKey, c.LocalAddr()),
	}
	if address := c.RemoteAddr(); address != nil {
		served.remoteAddr = address.String()
	}
	served.in = input{src: served, pool: &s.pool}
	served.watch.c = served
	return served
}

// serve serves requests until the client or the server ends the connection.
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

// serveOne serves one request. It reports whether another may follow on this connection.
func (c *conn) serveOne() bool {
	header, err := c.in.readHeader(c.server.maxHeader(), c.startHeaderTimer)
	// Some clients end the body of a POST with an empty line (RFC 9112, section 2.2).
	if c.lastWasPOST && string(header) == "\r\n" {
		c.in.consume(len(header))
		header, err = c.in.readHeader(c.server.maxHeader(), c.startHeaderTimer)
	}
	switch {
	case errors.Is(err, errHeaderTooLong):
		return c.sendRefusal(&refusal{http.StatusRequestHeaderFieldsTooLarge, "the header is too long"})
	// The refusal is sent in plain text. TLS clients report that clearly: "wrong version number" or
	// "HTTP response to HTTPS client".
	case errors.Is(err, errTLS):
		if c.server.OnTLS != nil {
			c.server.OnTLS(c.remoteAddr)
		}
		return c.sendRefusal(&refusal{http.StatusBadRequest, TLSOnPlainPort})
	case err != nil: // the client has left or is too slow; a response would not arrive
		return false
	case !c.markActive():
		return false
	}
	ctx, cancel := context.WithCancel(c.ctx)
	r, f, refused := parseRequest(ctx, header)
	if refused != nil {
		cancel()
		return c.sendRefusal(refused)
	}
	c.in.consume(len(header))
	c.lastWasPOST = r.Method == http.MethodPost
	r.RemoteAddr = c.remoteAddr
	return c.serveRequest(r, f, cancel)
}

// serveRequest calls the handler. It reports whether another request may follow.
func (c *conn) serveRequest(r *http.Request, f framing, cancel context.CancelFunc) (keep bool) {
	defer cancel()
	w := &responseWriter{
		c: c, isHEAD: r.Method == http.MethodHead, http10: r.ProtoMinor == 0, closeAfter: r.Close, contentLength: -1,
	}
	body := &requestBody{
		c: c, reader: newBodyReader(f), expectsContinue: expectsContinue(r) && r.ProtoMinor > 0, response: w,
	}
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
	connected := c.watch.stop()
	// The client may have closed only its sending half. It must not take a missing response for an
	// empty 200, so the connection just ends.
	if !connected && w.status == 0 {
		w.err = errHandlerReturned
		c.detach()
		body.finish(false)
		return false
	}
	finished := w.finish() == nil
	c.detach()
	read := body.finish(!w.closeAfter && finished)
	switch {
	case !finished || !connected:
		return false
	case w.closeAfter || !read:
		c.linger(body.err == io.EOF)
		return false
	}
	return true
}

// sendRefusal responds to a request that cannot be served, and ends the connection.
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

// attach makes w the current response: from now on it may set deadlines.
func (c *conn) attach(w *responseWriter) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.current = w
	c.readDeadline, c.readDeadlinePending = time.Time{}, true
}

// detach ends that. A goroutine that outlives its handler must not change the deadlines of the next
// request.
func (c *conn) detach() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.handlerWriteDeadline && c.server.WriteTimeout <= 0 {
		_ = c.sock.SetWriteDeadline(time.Time{})
	}
	c.current, c.handlerWriteDeadline = nil, false
}

// write sends all of p and q, under the write deadline of the handler or else of the server.
func (c *conn) write(p, q []byte) error {
	c.renewWriteDeadline(time.Now())
	_, err := c.sock.WriteTogether(p, q, nil)
	return err
}

// renewWriteDeadline moves the server's write deadline if more than a tenth of it has passed.
// Setting a deadline costs more than comparing times.
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

// linger sends the end of the stream and reads for a moment, so that the last response arrives even
// if the client is still sending. clean means that the whole request has been read.
func (c *conn) linger(clean bool) {
	if clean && c.in.buffered() == 0 || c.sock.CloseWrite() != nil {
		return
	}
	c.setReadTimeout(LingerTime)
	b := c.server.pool.get()
	defer c.server.pool.put(b)
	for n := 0; n < MaxLingerBytes; {
		m, err := c.Read(b[:])
		if n += m; err != nil {
			return
		}
	}
}

// Read reads from the connection under the current read deadline.
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

// setReadDeadline sets the deadline for reads. It is passed to the socket only when a read starts,
// because most request bodies have already arrived.
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

// setReadTimeout sets the read deadline to d from now; 0 removes it.
func (c *conn) setReadTimeout(d time.Duration) {
	deadline := time.Time{}
	if d > 0 {
		deadline = time.Now().Add(d)
	}
	_ = c.setReadDeadline(deadline)
}

// startHeaderTimer is called when part of a header has arrived. From then on the rest must follow
// within ReadHeaderTimeout. The time is not extended by further bytes. For the first request it
// started with the connection.
func (c *conn) startHeaderTimer() {
	c.headerStartedAt.Store(time.Now().UnixNano())
	if !c.cas(stateNew, stateReadingHeader) && c.cas(stateIdle, stateReadingHeader) {
		c.setReadTimeout(c.server.ReadHeaderTimeout)
	}
}

// markActive records that a request has started. It returns false if the server has just closed the
// connection.
func (c *conn) markActive() bool {
	return c.cas(stateNew, stateActive) || c.cas(stateIdle, stateActive) ||
		c.cas(stateReadingHeader, stateActive) || connState(c.state.Load()) == stateActive
}

// markIdle records that no request is being served. It returns false if the server is shutting
// down.
func (c *conn) markIdle() bool { return c.cas(stateActive, stateIdle) && !c.server.isClosing() }

// closeIdle closes the connection if no request is being served on it. A connection without a
// complete request header gets newConnGrace to send one.
func (c *conn) closeIdle() bool {
	expired := time.Since(c.acceptedAt) >= newConnGrace && c.cas(stateNew, stateClosed) ||
		time.Since(time.Unix(0, c.headerStartedAt.Load())) >= newConnGrace && c.cas(stateReadingHeader, stateClosed)
	if !expired && !c.cas(stateIdle, stateClosed) {
		return false
	}
	c.sock.Close()
	return true
}

func (c *conn) cas(from, to connState) bool { return c.state.CompareAndSwap(int32(from), int32(to)) }
