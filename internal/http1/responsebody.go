package http1

import (
	"context"
	"io"
	"net/http"
)

// responseBody is the body of an answer. One goroutine uses it; the request's context may end at any time. Frames are taken out where the
// bytes come to lie, in the reader's own memory.
type responseBody struct {
	c         *clientConn
	request   *requestWriter
	stopAbort func() bool // ends the watch over the context
	ctx       context.Context
	reader    bodyReader
	reusable  bool  // the connection may be used again
	done      bool  // there is no more
	err       error // with which reading ended
}

// frame decides where the body ends (RFC 9112, section 6.3), and sets what net/http sets of an answer.
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
		b.reusable = b.reusable && len(lengths) == 0 // two ways to tell the end: some relays do so, and some attackers
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

// soleLength reads the lines of a Content-Length, which have to agree. Without any it is -1.
func agreedLength(lines []string) (int64, error) {
	if len(lines) == 0 {
		return -1, nil
	}
	n, ok := parseLength(lines[0])
	for _, line := range lines {
		ok = ok && line == lines[0]
	}
	if !ok {
		return -1, malformed("its Content-Length")
	}
	return n, nil
}

// Read reads on. The last bytes come with io.EOF; an answer that breaks off ends with io.ErrUnexpectedEOF.
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
	if err == io.EOF && b.reader.framing.untilClose && b.ctx.Err() != nil { // the connection was closed by this side
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// finish parts with the connection.
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

// Close gives the rest of the answer up, and with it the connection.
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
