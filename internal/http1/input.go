package http1

import (
	"bytes"
	"errors"
	"io"
	"sync"
)

var (
	errHeaderTooLong   = errors.New("http1: the header is too long")
	errTLS             = errors.New("http1: the peer speaks TLS")
	errBadFraming      = errors.New("http1: malformed body framing")
	errHandlerReturned = errors.New("http1: write after the handler has returned")
)

// blockSize is large enough for nearly every header, and for an event with its chunk frame.
const blockSize = 4 << 10

// block is a pooled buffer.
type block [blockSize]byte

// blockPool is a pool of blocks. Safe for concurrent use.
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

// input buffers bytes that have been received and not consumed. It holds memory only while it holds
// bytes.
type input struct {
	src   io.Reader
	pool  *blockPool
	block *block
	buf   []byte // block, or a larger private buffer
	r, w  int    // buf[r:w] has not been consumed
}

// buffered returns the number of bytes that have not been consumed.
func (in *input) buffered() int { return in.w - in.r }

// fill reads from the connection once. If the buffer is full, it moves the content to the front or
// enlarges the buffer, up to limit bytes.
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

// consume discards n bytes, which the caller has used.
func (in *input) consume(n int) {
	in.r += n
	if in.r == in.w {
		in.release()
	}
}

// unread puts p in front of the buffered bytes.
func (in *input) unread(p []byte) {
	if len(p) == 0 {
		return
	}
	rest := append(append(make([]byte, 0, max(len(p)+in.buffered(), blockSize)), p...), in.buf[in.r:in.w]...)
	in.release()
	in.buf, in.r, in.w = rest, 0, len(rest)
}

// release returns the memory to the pool and discards the content.
func (in *input) release() {
	in.pool.put(in.block)
	in.block, in.buf, in.r, in.w = nil, nil, 0, 0
}

// readHeader reads up to the empty line that ends a header. It returns the header with that line,
// without consuming it. It calls begun once if part of the header has arrived and the rest is still
// to come.
func (in *input) readHeader(limit int, begun func()) ([]byte, error) {
	called := false
	for scanned := 0; ; {
		if in.buffered() > 0 && StartsTLS(in.buf[in.r]) {
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
		if in.buffered() > 0 && !called {
			called = true
			begun()
		}
		scanned = max(in.buffered()-3, 0)
		if err := in.fill(limit + blockSize); err != nil {
			return nil, err
		}
	}
}

// StartsTLS reports whether first is the first byte of a TLS record, an alert or a handshake (RFC
// 8446, section 5.1). No HTTP message starts with either.
func StartsTLS(first byte) bool { return first == 0x15 || first == 0x16 }

// headerEnd returns the offset after the first empty line, or 0. It starts its search at from. An
// empty line at the start of b counts.
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
