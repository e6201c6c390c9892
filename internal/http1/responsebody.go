package http1

import (
	"context"
	"io"
	"net/http"
)

// responseBody is the body of an answer. One goroutine uses it; the request's context may end at any time. Frames are taken out where the
// bytes come to lie, in the reader's own memory.
type responseBody struct {
	c       *client
	sending *sending
	stop    func() bool // ends the watch over the context
	ctx     context.Context
	reader  bodyReader
	keep    bool  // the connection may be used again
	over    bool  // there is no more
	err     error // with which reading ended
}

// frame decides where the body ends (RFC 9112, section 6.3), and sets what net/http sets of an answer.
func (b *responseBody) frame(r *http.Request, res *http.Response) error {
	codings, lengths := res.Header["Transfer-Encoding"], res.Header["Content-Length"]
	delete(res.Header, "Transfer-Encoding")
	if res.ProtoMinor == 0 {
		codings = nil
	}
	res.Close = r.Close || res.ProtoMinor == 0 || lists(res.Header["Connection"], "close")
	b.keep = !res.Close
	length, err := soleLength(lengths)
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
		b.keep = b.keep && len(lengths) == 0 // two ways to tell the end: some relays do so, and some attackers
		delete(res.Header, "Content-Length")
		res.TransferEncoding, length = []string{"chunked"}, -1
	}
	res.ContentLength = length
	switch {
	case r.Method == http.MethodHead:
		b.over = true
	case res.StatusCode == http.StatusNoContent, res.StatusCode == http.StatusNotModified:
		res.ContentLength, b.over = 0, true
	case len(codings) > 0:
		b.reader = newBodyReader(framing{length: -1, chunked: true})
	case length >= 0:
		b.reader = newBodyReader(framing{length: length})
		b.over = length == 0
	default:
		b.reader, b.keep = newBodyReader(framing{length: -1, toEnd: true}), false
	}
	return nil
}

// soleLength reads the lines of a Content-Length, which have to agree. Without any it is -1.
func soleLength(lines []string) (int64, error) {
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
	b.keep = b.keep && err == io.EOF
	if err != io.EOF {
		b.err = ended(b.ctx, err)
	}
	b.finish()
	return n, b.err
}

func (b *responseBody) read(p []byte) (int, error) {
	n, err := b.reader.read(&b.c.in, p)
	if err == io.EOF && b.reader.framing.toEnd && b.ctx.Err() != nil { // the connection was closed by this side
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// finish parts with the connection.
func (b *responseBody) finish() {
	b.over = true
	undisturbed := b.stop()
	if undisturbed && b.keep && b.sending.complete() && b.c.in.buffered() == 0 {
		b.c.t.put(b.c)
		return
	}
	b.sending.breakOff()
	b.c.in.release()
}

// Close gives the rest of the answer up, and with it the connection.
func (b *responseBody) Close() error {
	if b.over {
		if b.err == nil {
			b.err = http.ErrBodyReadAfterClose
		}
		return nil
	}
	b.err, b.keep = http.ErrBodyReadAfterClose, false
	b.finish()
	return nil
}
