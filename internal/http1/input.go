package http1

import (
	"bytes"
	"errors"
	"io"
	"sync"
)

var (
	errHeaderTooLong   = errors.New("http1: the head is too long")
	errTLS             = errors.New("http1: the other side speaks TLS here")
	errBadFraming      = errors.New("http1: the body's framing is malformed")
	errHandlerReturned = errors.New("http1: write after the handler has returned")
)

// blockSize holds nearly every head, and an event with its frame.
const blockSize = 4 << 10

// block is memory that is lent while bytes are on their way.
type block [blockSize]byte

// memory lends blocks. Safe for concurrent use.
type blockPool struct{ pool sync.Pool }

func (m *blockPool) get() *block {
	if b, ok := m.pool.Get().(*block); ok {
		return b
	}
	return new(block)
}

func (m *blockPool) put(b *block) {
	if b != nil {
		m.pool.Put(b)
	}
}

// input is what has come over a connection and has not been used. It holds memory only as long as it holds bytes.
type input struct {
	src   io.Reader
	pool  *blockPool
	block *block
	buf   []byte // lent, or larger memory of its own
	r, w  int    // b[r:w] has not been used
}

// buffered is what has not been used.
func (in *input) buffered() int { return in.w - in.r }

// fill reads once. It makes room where there is none, up to limit bytes.
func (in *input) fill(limit int) error {
	switch {
	case in.buf == nil:
		in.block = in.pool.get()
		in.buf = in.block[:]
	case in.w == len(in.buf) && in.r > 0:
		in.w = copy(in.buf, in.buf[in.r:in.w])
		in.r = 0
	case in.w == len(in.buf):
		if len(in.buf) >= limit {
			return errHeaderTooLong
		}
		larger := make([]byte, min(4*len(in.buf), limit))
		copy(larger, in.buf[:in.w])
		in.pool.put(in.block)
		in.buf, in.block = larger, nil
	}
	n, err := in.src.Read(in.buf[in.w:])
	in.w += n
	if n > 0 {
		return nil
	}
	return err
}

// read returns buffered bytes if there are any, and otherwise reads from the connection once.
func (in *input) read(p []byte) (int, error) {
	if in.buffered() == 0 {
		return in.src.Read(p)
	}
	n := copy(p, in.buf[in.r:in.w])
	in.consume(n)
	return n, nil
}

// use counts n bytes as used.
func (in *input) consume(n int) {
	in.r += n
	if in.r == in.w {
		in.release()
	}
}

// unread puts back bytes that belong to what follows, in front of those that are here.
func (in *input) unread(p []byte) {
	if len(p) == 0 {
		return
	}
	rest := append(append(make([]byte, 0, max(len(p)+in.buffered(), blockSize)), p...), in.buf[in.r:in.w]...)
	in.release()
	in.buf, in.r, in.w = rest, 0, len(rest)
}

// release gives the memory back with whatever is in it.
func (in *input) release() {
	in.pool.put(in.block)
	in.block, in.buf, in.r, in.w = nil, nil, 0, 0
}

// head reads up to the empty line that ends a head, and returns both, unused. begun is told once when some of it has come
// but not all: the rest has to follow.
func (in *input) readHeader(limit int, begun func()) ([]byte, error) {
	hurried := false
	for scanned := 0; ; {
		if in.buffered() > 0 && startsTLS(in.buf[in.r]) {
			return nil, errTLS
		}
		if end := headerEnd(in.buf[in.r:in.w], scanned); end > 0 {
			if end > limit {
				return nil, errHeaderTooLong
			}
			return in.buf[in.r : in.r+end], nil
		}
		if in.buffered() > limit {
			return nil, errHeaderTooLong
		}
		if in.buffered() > 0 && !hurried {
			hurried = true
			begun()
		}
		scanned = max(in.buffered()-3, 0)
		if err := in.fill(limit + blockSize); err != nil {
			return nil, err
		}
	}
}

// isTLS reports whether a message begins like a TLS record, an alert (RFC 8446, section 5.1) or a handshake. No HTTP header
// begins like that.
func startsTLS(first byte) bool { return first == 0x15 || first == 0x16 }

// headEnd is the offset past the first empty line, 0 if there is none; it looks from an offset on. An empty line at the beginning counts.
func headerEnd(b []byte, from int) int {
	if from == 0 && len(b) > 0 && b[0] == '\n' {
		return 1
	}
	if from == 0 && len(b) > 1 && b[0] == '\r' && b[1] == '\n' {
		return 2
	}
	for i := from; ; {
		lf := bytes.IndexByte(b[i:], '\n')
		if lf < 0 {
			return 0
		}
		i += lf + 1
		switch {
		case i < len(b) && b[i] == '\n':
			return i + 1
		case i+1 < len(b) && b[i] == '\r' && b[i+1] == '\n':
			return i + 2
		}
	}
}
