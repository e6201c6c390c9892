package edge

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/claude"
)

const (
	// bodyStall is how long a client may take for the next bodyStep bytes.
	bodyStall = 30 * time.Second
	bodyStep  = 64 << 10
	// moderate is the largest size of bodies that get all their memory at once while memory is plentiful.
	moderate = 1 << 20
)

// bodyProblem is why a body was not accepted.
type bodyProblem struct {
	status  int
	kind    claude.ErrorType
	message string
}

// bodies reads request bodies into reused memory, and bounds the total.
type bodies struct {
	memory   memory
	room     inflight
	decoders chan struct{} // bounds how many bodies are decoded at a time; nil: no bound
}

// pooledBody is a body in memory. It is given back once.
type pooledBody struct {
	b []byte
	hold
}

// release ends the use of a body.
func (p *bodies) release(l *pooledBody) {
	p.memory.put(l.b)
	l.b = nil
	p.room.leave(&l.hold)
}

// read reads the whole body of a request into memory that its owner is charged for.
func (p *bodies) read(w http.ResponseWriter, r *http.Request, limits Limits, by owner) (*pooledBody, *bodyProblem) {
	if r.ContentLength > limits.MaxBody {
		return nil, tooLarge(limits.MaxBody)
	}
	l := &pooledBody{hold: hold{owner: by}}
	if !p.begin(r, limits, l) {
		return nil, tooMany()
	}
	problem := p.fill(w, r, limits, l)
	if problem != nil {
		p.release(l)
		return nil, problem
	}
	p.room.finish(&l.hold, int64(cap(l.b)))
	return l, nil
}

// begin makes the first claim of a body. While memory is plentiful a body of moderate size gets all that it announces, so
// that it need not be moved.
func (p *bodies) begin(r *http.Request, limits Limits, l *pooledBody) bool {
	n := p.room.firstClaim(r.ContentLength)
	l.small = 0 <= r.ContentLength && r.ContentLength < n
	if !l.small && 0 < r.ContentLength && r.ContentLength < moderate {
		whole := func(n int64) bool { return p.room.enterWhole(&l.hold, n) }
		if l.b = p.obtain(r.ContentLength+1, whole, whole); l.b != nil {
			return true
		}
	}
	l.b = p.obtain(n,
		func(n int64) bool { return p.room.enter(r.Context(), noWait, &l.hold, n) },
		func(n int64) bool { return p.room.enter(r.Context(), limits.BodyWait, &l.hold, n) })
	return l.b != nil
}

// obtain returns memory for n bytes, nil if there is none. Reused memory may be larger than n, and is only taken if atOnce
// grants all of it. New memory has n bytes, and wait must grant it.
func (p *bodies) obtain(n int64, atOnce, wait func(int64) bool) []byte {
	if used := p.memory.take(n); used != nil {
		if atOnce(int64(cap(used))) {
			return used
		}
		p.memory.put(used)
	}
	if !wait(n) {
		return nil
	}
	return make([]byte, 0, n)
}

// fill reads a body.
func (p *bodies) fill(w http.ResponseWriter, r *http.Request, limits Limits, l *pooledBody) *bodyProblem {
	l.begin(http.NewResponseController(w))
	defer l.stop()
	body := http.MaxBytesReader(w, r.Body, limits.MaxBody)
	for due, move := bodyStep, slowRate; ; {
		if len(l.b) == cap(l.b) && !p.enlarge(r, limits, l) {
			return tooMany()
		}
		n, err := body.Read(l.b[len(l.b):cap(l.b)])
		l.b = l.b[:len(l.b)+n]
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil && l.givenUp():
			return tooSlow()
		case err != nil:
			return readProblem(err, limits.MaxBody)
		}
		if len(l.b) >= due { // a step each time, so that dripping bytes do not count as going on
			if !l.renew(time.Now()) {
				return tooSlow()
			}
			due, move = len(l.b)+bodyStep, len(l.b)+slowRate
		} else if len(l.b) >= move {
			l.moved(time.Now())
			move = len(l.b) + slowRate
		}
	}
}

// enlarge gets more memory for a body: its announced length. A body of unknown length claims the maximum, grows by doubling,
// and finally keeps what it needed.
func (p *bodies) enlarge(r *http.Request, limits Limits, l *pooledBody) bool {
	grow := func(patience time.Duration) func(int64) bool {
		return func(n int64) bool { return p.room.grow(r.Context(), patience, &l.hold, n) }
	}
	if r.ContentLength >= 0 {
		larger := p.obtain(r.ContentLength+1, grow(noWait), grow(limits.BodyWait))
		if larger == nil {
			return false
		}
		p.move(l, larger)
		return true
	}
	if !l.second && !grow(limits.BodyWait)(limits.MaxBody+1) {
		return false
	}
	p.move(l, make([]byte, 0, min(int64(2*cap(l.b)), l.taken)))
	return true
}

// move copies a body into other memory.
func (p *bodies) move(l *pooledBody, to []byte) {
	to = append(to, l.b...)
	p.memory.put(l.b)
	l.b = to
}

func tooMany() *bodyProblem {
	return &bodyProblem{http.StatusTooManyRequests, claude.ErrRateLimit,
		"claude-code-lb holds as many request bodies in memory as it may (max_inflight_bytes): try again in a moment."}
}

func tooSlow() *bodyProblem {
	return &bodyProblem{http.StatusRequestTimeout, claude.ErrTimeout,
		"The request body came too slowly while claude-code-lb was short of memory for bodies (max_inflight_bytes): send it again."}
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
