package http1

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/textproto"
	"strings"
	"syscall"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/socket"
)

// replayWithin is how soon a kept connection has to end for its request to be repeated if the method is not safe. A server that had
// closed the connection answers with a reset within a round trip; one that ends it later has probably worked on the request.
const maxReplayAge = 10 * time.Second

// client is a connection to a server. One request at a time uses it.
type clientConn struct {
	transport *Transport
	sock      *socket.Conn
	address   string
	in        input
	idleSince time.Time // idle
	reused    bool      // it has had a request before
}

func newClientConn(t *Transport, c net.Conn, address string) *clientConn {
	s := socket.New(c)
	return &clientConn{transport: t, sock: s, address: address, in: input{src: s, pool: &t.pool}}
}

// isIdleAlive says whether an idle connection stands and nothing came over it that nobody asked for.
func (c *clientConn) isIdleAlive() bool { return c.in.buffered() == 0 && c.sock.IdleAlive() }

// roundTrip sends a request and reads the head of its answer.
func (c *clientConn) roundTrip(r *http.Request) (*http.Response, error) {
	sending := c.newRequestWriter(r)
	stop := context.AfterFunc(r.Context(), sending.abort)
	sending.start(r)
	var res *http.Response
	err := sending.bodyError()
	if err == nil {
		res, err = c.readResponse(r)
	}
	b := &responseBody{c: c, request: sending, stopAbort: stop, ctx: r.Context(), reusable: true}
	if err == nil {
		err = b.setFraming(r, res)
	}
	if err != nil {
		stop()
		sending.abort()
		c.in.release()
		switch failed := sending.bodyError(); {
		case failed != nil:
			err = failed
		case c.reused && sending.nothingSent():
			err = errStaleConn
		}
		return nil, causeOf(r.Context(), err)
	}
	c.reused = true
	res.Body = b
	if b.done {
		b.finish()
		res.Body = http.NoBody
	}
	return res, nil
}

// ended names the cause where it was the context that ended a request.
func causeOf(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// malformed is about what an upstream sent that is no answer. Its text holds nothing of that.
func malformed(why string) error { return textproto.ProtocolError("malformed answer: " + why) }

// receive reads the header of the response, and any interim responses (1xx) before it. Their number has no limit (RFC 9110,
// section 15.2). All of them together may be as large as one header, and the request's context limits their time.
func (c *clientConn) readResponse(r *http.Request) (*http.Response, error) {
	limit := c.transport.MaxResponseHeaderBytes
	if limit <= 0 {
		limit = http.DefaultMaxHeaderBytes
	}
	for n := 0; ; n++ {
		head, err := c.in.readHeader(limit, func() {})
		if err != nil {
			return nil, c.headerError(r, err, n > 0)
		}
		limit -= len(head)
		res, err := parseResponse(head)
		c.in.consume(len(head))
		switch {
		case err != nil:
			return nil, err
		case res.StatusCode >= 200:
			res.Request = r
			return res, nil
		case res.StatusCode == http.StatusSwitchingProtocols:
			return nil, malformed("a change of protocol that nobody asked for")
		case limit <= 0:
			return nil, errHeaderTooLong
		case res.Header["Transfer-Encoding"] != nil:
			return nil, malformed("an interim answer in chunks")
		}
		if _, err := agreedLength(res.Header["Content-Length"]); err != nil {
			return nil, err
		}
	}
}

// silent explains why there is no head.
func (c *clientConn) headerError(r *http.Request, err error, begun bool) error {
	begun = begun || c.in.buffered() > 0
	switch {
	case errors.Is(err, io.EOF) && begun:
		return io.ErrUnexpectedEOF
	case begun || !c.reused:
		return err
	case isReplayable(r) && (errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)):
		return errStaleConn
	}
	return err
}

// isReplayable reports whether a request may be sent again after a kept connection ended without a byte of an answer.
//
// RFC 9110, section 9.2.2, lets a client repeat a request automatically if its method is idempotent, or if it has some means to know that
// the original was not applied. A connection that was idle and ends before any byte of an answer is nearly always one that the server's
// keep-alive timer closed while the request was on its way (RFC 9112, section 9.3.1), so the server has not read the request. A server
// that dies over a request looks the same, so callers mark the requests that they are willing to repeat, with an Idempotency-Key.
func isReplayable(r *http.Request) bool {
	if _, marked := r.Header["Idempotency-Key"]; marked {
		return true
	}
	return isSafe(r.Method)
}

// isSafe reports whether a method only reads (RFC 9110, section 9.2.1).
func isSafe(method string) bool {
	switch method {
	case "", http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		return true
	}
	return false
}

// parseAnswer reads a head. Line ends may be bare.
func parseResponse(head []byte) (*http.Response, error) {
	line, rest, err := cutStartLine(string(head), false)
	if err != nil {
		return nil, err
	}
	proto, status, ok := strings.Cut(line, " ")
	status = strings.TrimLeft(status, " ")
	res := &http.Response{Proto: proto, ProtoMajor: 1, Status: status}
	switch proto {
	case "HTTP/1.1":
		res.ProtoMinor = 1
	case "HTTP/1.0":
	default:
		return nil, malformed("its first line")
	}
	code, _, _ := strings.Cut(status, " ")
	n, digits := parseLength(code)
	if !ok || !digits || len(code) != 3 || n < 100 {
		return nil, malformed("its status")
	}
	res.StatusCode = int(n)
	if res.Header, err = parseFields(rest, false); err != nil {
		return nil, malformed(err.Error())
	}
	return res, nil
}
