package edge

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
	"time"

	"claude-code-lb/internal/claude"
)

const (
	// bodyStall is how long a client may pause while it sends its body.
	bodyStall = 30 * time.Second
	bodyStep  = 64 << 10
	// trustedLength is how much memory a Content-Length alone is worth before the bytes arrive.
	trustedLength = 1 << 20
)

// bodyProblem is why a body was not accepted.
type bodyProblem struct {
	status  int
	kind    claude.ErrorType
	message string
}

// bodies lends memory for bodies, so that large ones need not be cleared and collected for every request, and bounds
// how much there is of it.
type bodies struct {
	pool sync.Pool
	room inflight
}

// lent is a body in memory that is given back.
type lent struct {
	b     []byte
	taken int64 // of the bound
}

const (
	// keptBody is the largest memory that is kept.
	keptBody = 4 << 20
	// unannounced is what a body without a length is worth of the bound to begin with.
	unannounced = 1 << 20
)

// take finds memory for a body of a length, 0 if it is not known.
func (p *bodies) take(length int64) []byte {
	if kept, ok := p.pool.Get().(*[]byte); ok && int64(cap(*kept)) >= length {
		return (*kept)[:0]
	}
	return make([]byte, 0, length)
}

// giveBack takes memory back that nobody uses any more.
func (p *bodies) giveBack(l lent) {
	if 0 < cap(l.b) && cap(l.b) <= keptBody {
		p.pool.Put(&l.b)
	}
	p.room.leave(l.taken)
}

// read reads the whole body, waiting for room first.
func (p *bodies) read(w http.ResponseWriter, r *http.Request, limits Limits) (lent, *bodyProblem) {
	if r.ContentLength > limits.MaxBody {
		return lent{}, tooLarge(limits.MaxBody)
	}
	length := r.ContentLength
	if length < 0 {
		length = unannounced
	}
	taken, ok := p.room.enter(r.Context(), limits.BodyWait, length)
	if !ok {
		return lent{}, tooMany()
	}
	l := lent{taken: taken}
	problem := p.fill(w, r, limits.MaxBody, &l)
	if problem != nil {
		p.giveBack(l)
		return lent{}, problem
	}
	return l, nil
}

// fill reads a body. One that is larger than what it has been given room for takes more, if there is any.
func (p *bodies) fill(w http.ResponseWriter, r *http.Request, limit int64, l *lent) *bodyProblem {
	c := http.NewResponseController(w)
	// Servers without deadlines, as in tests, read on without them.
	defer func() { _ = c.SetReadDeadline(time.Time{}) }()

	l.b = p.take(min(max(r.ContentLength, 0), trustedLength) + 1) // one more, to see the end
	body := http.MaxBytesReader(w, r.Body, limit)
	for due := 0; ; {
		if len(l.b) == cap(l.b) {
			l.b = enlarged(l.b, r.ContentLength)
		}
		if len(l.b) >= due { // a step each time, so that dripping bytes do not count as going on
			_ = c.SetReadDeadline(time.Now().Add(bodyStall))
			due = len(l.b) + bodyStep
		}
		n, err := body.Read(l.b[len(l.b):cap(l.b)])
		l.b = l.b[:len(l.b)+n]
		if missing := int64(len(l.b)) - l.taken; r.ContentLength < 0 && missing > 0 {
			if !p.room.more(missing) {
				return tooMany()
			}
			l.taken += missing
		}
		switch {
		case err == nil:
		case errors.Is(err, io.EOF):
			return nil
		default:
			return readProblem(err, limit)
		}
	}
}

// enlarged is a body in twice as much memory, or in as much as it says that it needs.
func enlarged(b []byte, told int64) []byte {
	size := max(2*cap(b), cap(b)+bodyStep)
	if told >= int64(cap(b)) {
		size = int(min(int64(size), told+1))
	}
	return append(make([]byte, 0, size), b...)
}

func tooMany() *bodyProblem {
	return &bodyProblem{http.StatusTooManyRequests, claude.ErrRateLimit,
		"claude-code-lb holds as many request bodies in memory as it may (max_inflight_bytes): try again in a moment."}
}

// stallReader reads on while the client goes on sending.
type stallReader struct {
	c    *http.ResponseController
	body io.Reader
}

func (s *stallReader) Read(p []byte) (int, error) {
	// Servers without deadlines, as in tests, read on without them.
	_ = s.c.SetReadDeadline(time.Now().Add(bodyStall))
	n, err := s.body.Read(p)
	if err != nil { // an answer may take longer than a client may pause
		s.done()
	}
	return n, err
}

func (s *stallReader) done() { _ = s.c.SetReadDeadline(time.Time{}) }

func readProblem(err error, limit int64) *bodyProblem {
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return tooLarge(limit)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return &bodyProblem{http.StatusRequestTimeout, claude.ErrTimeout,
			fmt.Sprintf("No byte of the request body came for %s: send it again.", bodyStall)}
	}
	return &bodyProblem{http.StatusBadRequest, claude.ErrInvalidRequest, "The request body broke off: send it again."}
}

func tooLarge(limit int64) *bodyProblem {
	return &bodyProblem{http.StatusRequestEntityTooLarge, claude.ErrTooLarge,
		fmt.Sprintf("The request body exceeds %d MB: shorten the conversation, or raise max_body_mb of claude-code-lb.", limit>>20)}
}
