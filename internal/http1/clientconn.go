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

// maxReplayAge bounds the repetition of requests whose method is not safe. If the server had closed
// the idle connection, a reset arrives within a round trip. A connection that ends later has
// probably reached a server that worked on the request.
const maxReplayAge = 10 * time.Second

// clientConn is a connection to a server. One request at a time uses it.
type clientConn struct {
	transport *Transport
	sock      *socket.Conn
	address   string
	in        input
	idleSince time.Time
	reused    bool // it has served a request before
}

func newClientConn(t *Transport, c net.Conn, address string) *clientConn {
	s := socket.New(c)
	return &clientConn{transport: t, sock: s, address: address, in: input{src: s, pool: &t.pool}}
}

// isIdleAlive reports whether an idle connection is still open and has received no unsolicited
// bytes.
func (c *clientConn) isIdleAlive() bool { return c.in.buffered() == 0 && c.sock.IdleAlive() }

// roundTrip sends a request and reads the response header.
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

// causeOf returns the cause of the context if the context has ended, and otherwise err.
func causeOf(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// malformed returns the error for an invalid response. reason must not contain bytes of the
// response.
func malformed(reason string) error { return textproto.ProtocolError("malformed response: " + reason) }

// readResponse reads the response header, and any interim responses (1xx) before it. Their number
// is not limited (RFC 9110, section 15.2). Together they may be as large as one header, and the
// request's context limits their time.
func (c *clientConn) readResponse(r *http.Request) (*http.Response, error) {
	limit := c.transport.MaxResponseHeaderBytes
	if limit <= 0 {
		limit = http.DefaultMaxHeaderBytes
	}
	for n := 0; ; n++ {
		header, err := c.in.readHeader(limit, func() {})
		if err != nil {
			return nil, c.headerError(r, err, n > 0)
		}
		limit -= len(header)
		res, err := parseResponse(header)
		c.in.consume(len(header))
		switch {
		case err != nil:
			return nil, err
		case res.StatusCode >= 200:
			res.Request = r
			return res, nil
		case res.StatusCode == http.StatusSwitchingProtocols:
			return nil, malformed("an upgrade that was not requested")
		case limit <= 0:
			return nil, errHeaderTooLong
		case res.Header["Transfer-Encoding"] != nil:
			return nil, malformed("a chunked interim response")
		}
		if _, err := agreedLength(res.Header["Content-Length"]); err != nil {
			return nil, err
		}
	}
}

// headerError returns the error for a missing response header. begun means that an interim response
// has arrived.
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

// isReplayable reports whether a request may be sent again after a kept connection ended without a
// byte of a response.
//
// RFC 9110, section 9.2.2, lets a client repeat a request automatically if its method is
// idempotent, or if the client can find out that the original was not applied. A connection that
// was idle and ends before any byte of a response was nearly always closed by the server's
// keep-alive timer while the request was on its way (RFC 9112, section 9.3.1), so the server has
// not read the request. A server that crashes over a request looks the same. So callers mark the
// requests that they are willing to repeat, with an Idempotency-Key.
func isReplayable(r *http.Request) bool {
	if _, marked := r.Header["Idempotency-Key"]; marked {
		return true
	}
	return isSafe(r.Method)
}

// isSafe reports whether a method is safe (RFC 9110, section 9.2.1).
func isSafe(method string) bool {
	switch method {
	case "", http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		return true
	}
	return false
}

// parseResponse parses a response header. Lines may end in a bare LF.
func parseResponse(header []byte) (*http.Response, error) {
	line, rest, err := cutStartLine(string(header), false)
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
		return nil, malformed("invalid status line")
	}
	code, _, _ := strings.Cut(status, " ")
	n, digits := parseLength(code)
	if !ok || !digits || len(code) != 3 || n < 100 {
		return nil, malformed("invalid status code")
	}
	res.StatusCode = int(n)
	if res.Header, err = parseFields(rest, false); err != nil {
		return nil, malformed(err.Error())
	}
	return res, nil
}
