package proxy

import (
	"errors"
	"io"
	"sync"

	"github.com/9bingyin/claude-code-lb/internal/quota"
)

// Body is a request's body. Its bytes do not change while they can be read. An abandoned attempt
// may still read them, in a goroutine of net/http, when the next request begins. So the lender gets
// the bytes back only when the owner has released them and every reader has been closed.
//
// A compressed body also has its text, a decoded copy. The balancer reads the text and sends the
// original bytes.
type Body struct {
	length int
	text   int         // length of the text
	shared *sharedBody // nil: empty
}

type sharedBody struct {
	done func([]byte) // receives the bytes when they are free; may be nil

	mu    sync.Mutex
	b     []byte // nil after done
	refs  int    // the owner and the open readers
	owned bool

	encoded  bool
	text     []byte         // decoded; nil after its release, or if it could not be decoded
	textDone func()         // nil after the release of the text
	refusal  *quota.Refusal // why it could not be decoded
}

// NewBody returns a Body with the bytes b. The caller must not change them until done is called
// with them.
func NewBody(b []byte, done func([]byte)) Body {
	return Body{len(b), len(b), &sharedBody{done: done, b: b, refs: 1, owned: true}}
}

// NewEncodedBody is NewBody for a compressed body. textDone is called when the text is no longer
// needed, long before done.
func NewEncodedBody(b []byte, done func([]byte), text []byte, textDone func()) Body {
	return Body{len(b), len(text), &sharedBody{done: done, b: b, refs: 1, owned: true, encoded: true, text: text, textDone: textDone}}
}

// NewUnreadableBody is NewBody for a body that cannot be decoded. Clients whose limits depend on
// the text get the refusal.
func NewUnreadableBody(b []byte, done func([]byte), refusal *quota.Refusal) Body {
	return Body{len(b), len(b), &sharedBody{done: done, b: b, refs: 1, owned: true, encoded: true, refusal: refusal}}
}

// Reader returns a new reader over the whole body. The caller must close it.
func (b Body) Reader() io.ReadCloser {
	if b.shared == nil {
		return io.NopCloser(eof{})
	}
	s := b.shared
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.owned {
		return io.NopCloser(released{})
	}
	s.refs++
	return &bodyReader{from: s, rest: s.b}
}

// bytes returns the text of a compressed body, else the body itself. The body is valid until
// Release, the text until releaseText. The result is nil if the body cannot be decoded.
func (b Body) bytes() []byte {
	switch {
	case b.shared == nil:
		return nil
	case b.shared.encoded:
		return b.shared.text
	default:
		return b.shared.b
	}
}

// Len returns the number of bytes that are sent, also after Release.
func (b Body) Len() int { return b.length }

// textLen returns the length of the decoded body, also after Release.
func (b Body) textLen() int { return b.text }

// unreadable returns why the body cannot be read, nil if it can.
func (b Body) unreadable() *quota.Refusal {
	if b.shared == nil {
		return nil
	}
	return b.shared.refusal
}

// releaseText frees the decoded copy of a compressed body. Only the owner may call it. Further
// calls do nothing.
func (b Body) releaseText() {
	if b.shared == nil || b.shared.textDone == nil {
		return
	}
	done := b.shared.textDone
	b.shared.text, b.shared.textDone = nil, nil
	done()
}

// Release ends the owner's use of the bytes. Later readers fail. Further calls do nothing.
func (b Body) Release() {
	s := b.shared
	if s == nil {
		return
	}
	b.releaseText()
	s.mu.Lock()
	owned := s.owned
	s.owned = false
	s.mu.Unlock()
	if owned {
		s.unref()
	}
}

// unref drops one reference, and gives the bytes back after the last one.
func (s *sharedBody) unref() {
	s.mu.Lock()
	s.refs--
	b := s.b
	last := s.refs == 0
	if last {
		s.b = nil
	}
	s.mu.Unlock()
	if last && s.done != nil {
		s.done(b)
	}
}

// bodyReader reads a body. The mutex makes Close wait for a Read in another goroutine.
type bodyReader struct {
	mu   sync.Mutex
	from *sharedBody // nil after Close
	rest []byte
}

func (r *bodyReader) Read(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.from == nil {
		return 0, errReleased
	}
	if len(r.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// WriteTo writes the rest in one piece. Close waits until w has accepted it or failed.
func (r *bodyReader) WriteTo(w io.Writer) (int64, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.from == nil {
		return 0, errReleased
	}
	n, err := w.Write(r.rest)
	r.rest = r.rest[n:]
	return int64(n), err
}

func (r *bodyReader) Close() error {
	r.mu.Lock()
	from := r.from
	r.from, r.rest = nil, nil
	r.mu.Unlock()
	if from != nil {
		from.unref()
	}
	return nil
}

var errReleased = errors.New("the body has been released")

type eof struct{}

func (eof) Read([]byte) (int, error) { return 0, io.EOF }

type released struct{}

func (released) Read([]byte) (int, error) { return 0, errReleased }
