package http1

import (
	"io"
	"net/http"
	"sync"
)

// requestBody is the body of the request that a connection serves. It may be read by one goroutine at a time, also by one that outlives the
// handler: then it reads no more.
type requestBody struct {
	c        *conn
	response *responseWriter

	mu              sync.Mutex
	reader          bodyReader
	expectsContinue bool  // the client sends it when it is told to go on
	err             error // with which reading ended
	closed          bool
}

// none says that there is no body.
func (b *requestBody) isEmpty() bool { return b.reader.framing == framing{} }

// broken says that reading has failed: where the next request begins is not known.
func (b *requestBody) hasFailed() bool {
	if b == nil || !b.mu.TryLock() { // somebody reads on
		return false
	}
	defer b.mu.Unlock()
	return b.err != nil && b.err != io.EOF
}

func (b *requestBody) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.closed:
		return 0, http.ErrBodyReadAfterClose
	case b.err != nil:
		return 0, b.err
	case len(p) == 0:
		return 0, nil
	}
	if b.expectsContinue {
		b.expectsContinue = false
		if b.err = b.response.writeContinue(); b.err != nil {
			return 0, b.err
		}
	}
	n, err := b.reader.read(&b.c.in, p)
	if b.err = err; err == io.EOF {
		b.c.watch.arm()
	}
	return n, err
}

// Close ends the reading by the handler.
func (b *requestBody) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	return nil
}

// finish is told when the handler has returned. It reports whether the connection stands at the next request; with drain it reads what
// little the handler has left.
func (b *requestBody) finish(drain bool) bool {
	if !b.mu.TryLock() { // somebody waits for more
		_ = b.c.setReadDeadline(pastDeadline())
		b.mu.Lock()
	}
	defer b.mu.Unlock()
	b.closed = true
	if b.err == io.EOF {
		return true
	}
	if b.err != nil || !drain || b.expectsContinue || b.reader.left > maxDrainBytes {
		return false
	}
	b.c.setReadTimeout(drainTimeout)
	room := b.c.server.pool.get()
	defer b.c.server.pool.put(room)
	for n := 0; n <= maxDrainBytes; {
		m, err := b.reader.read(&b.c.in, room[:])
		n += m
		if b.err = err; err != nil {
			return err == io.EOF
		}
	}
	return false
}
