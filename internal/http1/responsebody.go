package http1

import (
	"context"
	"io"
	"net/http"
)

// responseBody is the body of a response. One goroutine uses it. The request's context may end at
// any time. Chunk framing is removed in place, in the reader's own buffer.
type responseBody struct {
	c         *clientConn
	request   *requestWriter
	stopAbort func() bool // stops the abort at the end of ctx
	ctx       context.Context
	reader    bodyReader
	reusable  bool  // the connection may be used for another request
	done      bool  // the body has been read, or closed
	err       error // the error that ended the body
}

// setFraming determines the end of the body (RFC 9112, section 6.3), and sets the fields of the
// response that net/http sets.
func (b *responseBody) setFraming(r *http.Request, res *http.Response) error {
	codings, lengths := res.Header["Transfer-Encoding"], res.Header["Content-Length"]
	delete(res.Header, "Transfer-Encoding")
	if res.ProtoMinor == 0 {
		codings = nil
	}
	res.Close = r.Close || res.ProtoMinor == 0 || hasToken(res.Header["Connection"], "close")
	b.reusable = !res.Close
	length, err := agreedLength(lengths)
	if err != nil {
		return err
	}
	if len(lengths) > 1 {
		res.Header["Content-Length"] = lengths[:1]
	}
	if len(codings) > 0 {
		if len(codings) > 1 || !equalFold(codings[0], "chunked") {
			return malformed("a Transfer-Encoding other than chunked")
		}
		// Both Content-Length and chunked: some relays send this, and some attackers.
		b.reusable = b.reusable && len(lengths) == 0
		delete(res.Header, "Content-Length")
		res.TransferEncoding, length = []string{"chunked"}, -1
	}
	res.ContentLength = length
	switch {
	case r.Method == http.MethodHead:
		b.done = true
	case res.StatusCode == http.StatusNoContent, res.StatusCode == http.StatusNotModified:
		res.ContentLength, b.done = 0, true
	case len(codings) > 0:
		b.reader = newBodyReader(framing{length: -1, chunked: true})
	case length >= 0:
		b.reader = newBodyReader(framing{length: length})
		b.done = length == 0
	default:
		b.reader, b.reusable = newBodyReader(framing{length: -1, untilClose: true}), false
	}
	return nil
}

// agreedLength parses the Content-Length lines, which must be identical. It returns -1
// without any.
func agreedLength(lines []string) (int64, error) {
	if len(lines) == 0 {
		return -1, nil
	}
	n, ok := parseLength(lines[0])
	for _, line := range lines {
		ok = ok && line == lines[0]
	}
	if !ok {
		return -1, malformed("invalid Content-Length")
	}
	return n, nil
}

// Read returns io.EOF with the last bytes. A response that is cut off ends with
// io.ErrUnexpectedEOF.
func (b *responseBody) Read(p []byte) (int, error) {
	switch {
	case b.err != nil:
		return 0, b.err
	case len(p) == 0:
		return 0, nil
	}
	n, err := b.read(p)
	if err == nil {
		return n, nil
	}
	b.err = err
	b.reusable = b.reusable && err == io.EOF
	if err != io.EOF {
		b.err = causeOf(b.ctx, err)
	}
	b.finish()
	return n, b.err
}

func (b *responseBody) read(p []byte) (int, error) {
	n, err := b.reader.read(&b.c.in, p)
	if err == io.EOF && b.reader.framing.untilClose && b.ctx.Err() != nil { // this side has closed the connection
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// finish keeps the connection for another request, or closes it.
func (b *responseBody) finish() {
	b.done = true
	undisturbed := b.stopAbort()
	if undisturbed && b.reusable && b.request.isComplete() && b.c.in.buffered() == 0 {
		b.c.transport.putIdle(b.c)
		return
	}
	b.request.abort()
	b.c.in.release()
}

// Close abandons the rest of the response. The connection is closed, because the rest would have to
// be read first.
func (b *responseBody) Close() error {
	if b.done {
		if b.err == nil {
			b.err = http.ErrBodyReadAfterClose
		}
		return nil
	}
	b.err, b.reusable = http.ErrBodyReadAfterClose, false
	b.finish()
	return nil
}
