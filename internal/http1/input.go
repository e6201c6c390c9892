package http1

import (
	"bytes"
	"errors"
	"io"
	"sync"
)

var (
	errHeadTooLong = errors.New("http1: the head is too long")
	errEncrypted   = errors.New("http1: the other side speaks TLS here")
	errBody        = errors.New("http1: the body's framing is malformed")
	errFinished    = errors.New("http1: write after the handler has returned")
)

// blockSize holds nearly every head, and an event with its frame.
const blockSize = 4 << 10

// block is memory that is lent while bytes are on their way.
type block [blockSize]byte

// memory lends blocks. Safe for concurrent use.
type memory struct{ pool sync.Pool }

func (m *memory) get() *block {
	if b, ok := m.pool.Get().(*block); ok {
		return b
	}
	return new(block)
}

func (m *memory) put(b *block) {
	if b != nil {
		m.pool.Put(b)
	}
}

// input is what has come over a connection and has not been used. It holds memory only as long as it holds bytes.
type input struct {
	from io.Reader
	mem  *memory
	lent *block
	b    []byte // lent, or larger memory of its own
	r, w int    // b[r:w] has not been used
}

// buffered is what has not been used.
func (in *input) buffered() int { return in.w - in.r }

// fill reads once. It makes room where there is none, up to limit bytes.
func (in *input) fill(limit int) error {
	switch {
	case in.b == nil:
		in.lent = in.mem.get()
		in.b = in.lent[:]
	case in.w == len(in.b) && in.r > 0:
		in.w = copy(in.b, in.b[in.r:in.w])
		in.r = 0
	case in.w == len(in.b):
		if len(in.b) >= limit {
			return errHeadTooLong
		}
		larger := make([]byte, min(4*len(in.b), limit))
		copy(larger, in.b[:in.w])
		in.mem.put(in.lent)
		in.b, in.lent = larger, nil
	}
	n, err := in.from.Read(in.b[in.w:])
	in.w += n
	if n > 0 {
		return nil
	}
	return err
}

// read returns buffered bytes if there are any, and otherwise reads from the connection once.
func (in *input) read(p []byte) (int, error) {
	if in.buffered() == 0 {
		return in.from.Read(p)
	}
	n := copy(p, in.b[in.r:in.w])
	in.use(n)
	return n, nil
}

// use counts n bytes as used.
func (in *input) use(n int) {
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
	rest := append(append(make([]byte, 0, max(len(p)+in.buffered(), blockSize)), p...), in.b[in.r:in.w]...)
	in.release()
	in.b, in.r, in.w = rest, 0, len(rest)
}

// release gives the memory back with whatever is in it.
func (in *input) release() {
	in.mem.put(in.lent)
	in.lent, in.b, in.r, in.w = nil, nil, 0, 0
}

// head reads up to the empty line that ends a head, and returns both, unused. begun is told once when some of it has come
// but not all: the rest has to follow.
func (in *input) head(limit int, begun func()) ([]byte, error) {
	hurried := false
	for scanned := 0; ; {
		if in.buffered() > 0 && isTLS(in.b[in.r]) {
			return nil, errEncrypted
		}
		if end := headEnd(in.b[in.r:in.w], scanned); end > 0 {
			if end > limit {
				return nil, errHeadTooLong
			}
			return in.b[in.r : in.r+end], nil
		}
		if in.buffered() > limit {
			return nil, errHeadTooLong
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
func isTLS(first byte) bool { return first == 0x15 || first == 0x16 }

// headEnd is the offset past the first empty line, 0 if there is none; it looks from an offset on. An empty line at the beginning counts.
func headEnd(b []byte, from int) int {
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
