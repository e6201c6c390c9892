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
	// maxEagerBody is the largest announced size for which a body gets all its memory at once while
	// memory is plentiful.
	maxEagerBody = 1 << 20
)

// bodyProblem is the reason why a body was not accepted.
type bodyProblem struct {
	status  int
	kind    claude.ErrorType
	message string
}

// bodyReader reads request bodies into pooled memory and bounds their total.
type bodyReader struct {
	pool     bufferPool
	limiter  inflightLimiter
	decoders chan struct{} // bounds the number of bodies decoded at a time; nil: no bound
}

// pooledBody is a body in pooled memory. It must be released once.
type pooledBody struct {
	data []byte
	bodyMemory
}

// release returns the memory of a body.
func (p *bodyReader) release(l *pooledBody) {
	p.pool.put(l.data)
	l.data = nil
	p.limiter.releaseAll(&l.bodyMemory)
}

// read reads the whole body of a request. Its memory counts towards the share of its owner.
func (p *bodyReader) read(w http.ResponseWriter, r *http.Request, limits Limits, by owner) (*pooledBody, *bodyProblem) {
	if r.ContentLength > limits.MaxBody {
		return nil, errBodyTooLarge(limits.MaxBody)
	}
	l := &pooledBody{bodyMemory: bodyMemory{owner: by}}
	if !p.claimMemory(r, limits, l) {
		return nil, errNoMemory()
	}
	problem := p.readInto(w, r, limits, l)
	if problem != nil {
		p.release(l)
		return nil, problem
	}
	p.limiter.bodyArrived(&l.bodyMemory, int64(cap(l.data)))
	return l, nil
}

// claimMemory makes the first claim for a body. While memory is plentiful, a body of at most
// maxEagerBody bytes gets all its memory at once, so that it is not copied later.
func (p *bodyReader) claimMemory(r *http.Request, limits Limits, l *pooledBody) bool {
	n := p.limiter.firstClaimLocked(r.ContentLength)
	l.firstOnly = 0 <= r.ContentLength && r.ContentLength < n
	if !l.firstOnly && 0 < r.ContentLength && r.ContentLength < maxEagerBody {
		whole := func(n int64) bool { return p.limiter.claimBoth(&l.bodyMemory, n) }
		if l.data = p.allocate(r.ContentLength+1, whole, whole); l.data != nil {
			return true
		}
	}
	l.data = p.allocate(n,
		func(n int64) bool { return p.limiter.claimFirst(r.Context(), noWait, &l.bodyMemory, n) },
		func(n int64) bool { return p.limiter.claimFirst(r.Context(), limits.BodyWait, &l.bodyMemory, n) })
	return l.data != nil
}

// allocate returns memory for n bytes, or nil. Pooled memory may be larger than n, and is only used
// if atOnce grants all of it. For new memory of n bytes it calls wait.
func (p *bodyReader) allocate(n int64, atOnce, wait func(int64) bool) []byte {
	if used := p.pool.take(n); used != nil {
		if atOnce(int64(cap(used))) {
			return used
		}
		p.pool.put(used)
	}
	if !wait(n) {
		return nil
	}
	return make([]byte, 0, n)
}

// readInto reads the body into l.
func (p *bodyReader) readInto(w http.ResponseWriter, r *http.Request, limits Limits, l *pooledBody) *bodyProblem {
	l.startReading(http.NewResponseController(w))
	defer l.stopReading()
	body := http.MaxBytesReader(w, r.Body, limits.MaxBody)
	for due, move := bodyStep, slowRate; ; {
		if len(l.data) == cap(l.data) && !p.grow(r, limits, l) {
			return errNoMemory()
		}
		n, err := body.Read(l.data[len(l.data):cap(l.data)])
		l.data = l.data[:len(l.data)+n]
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil && l.isEvicted():
			return errSlowBody()
		case err != nil:
			return bodyReadError(err, limits.MaxBody)
		}
		if len(l.data) >= due { // only every bodyStep bytes, so that a trickle does not count as progress
			if !l.extendDeadline(time.Now()) {
				return errSlowBody()
			}
			due, move = len(l.data)+bodyStep, len(l.data)+slowRate
		} else if len(l.data) >= move {
			l.recordProgress(time.Now())
			move = len(l.data) + slowRate
		}
	}
}

// grow gets more memory for a body: its announced length. A body of unknown length claims the
// maximum, grows by doubling, and keeps only what it needs in the end.
func (p *bodyReader) grow(r *http.Request, limits Limits, l *pooledBody) bool {
	grow := func(patience time.Duration) func(int64) bool {
		return func(n int64) bool { return p.limiter.claimSecond(r.Context(), patience, &l.bodyMemory, n) }
	}
	if r.ContentLength >= 0 {
		larger := p.allocate(r.ContentLength+1, grow(noWait), grow(limits.BodyWait))
		if larger == nil {
			return false
		}
		p.moveTo(l, larger)
		return true
	}
	if !l.hasSecond && !grow(limits.BodyWait)(limits.MaxBody+1) {
		return false
	}
	p.moveTo(l, make([]byte, 0, min(int64(2*cap(l.data)), l.bytes)))
	return true
}

// moveTo copies a body into other memory.
func (p *bodyReader) moveTo(l *pooledBody, to []byte) {
	to = append(to, l.data...)
	p.pool.put(l.data)
	l.data = to
}

func errNoMemory() *bodyProblem {
	return &bodyProblem{http.StatusTooManyRequests, claude.ErrRateLimit,
		"claude-code-lb holds as many request bodies in memory as it may (max_inflight_bytes): try again in a moment."}
}

func errSlowBody() *bodyProblem {
	return &bodyProblem{http.StatusRequestTimeout, claude.ErrTimeout,
		"The request body came too slowly while claude-code-lb was short of memory for bodies (max_inflight_bytes): send it again."}
}

func bodyReadError(err error, limit int64) *bodyProblem {
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return errBodyTooLarge(limit)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return &bodyProblem{http.StatusRequestTimeout, claude.ErrTimeout,
			fmt.Sprintf("No byte of the request body came for %s: send it again.", bodyStall)}
	}
	return &bodyProblem{http.StatusBadRequest, claude.ErrInvalidRequest, "The request body broke off: send it again."}
}

func errBodyTooLarge(limit int64) *bodyProblem {
	return &bodyProblem{http.StatusRequestEntityTooLarge, claude.ErrTooLarge,
		fmt.Sprintf("The request body exceeds %d MB: shorten the conversation, or raise max_body_mb of claude-code-lb.", limit>>20)}
}
