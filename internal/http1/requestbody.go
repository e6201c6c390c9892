package http1

import (
	"io"
	"net/http"
	"sync"
)

// requestBody is the body of the request that a connection is serving. One goroutine at a time may
// read it. A goroutine that outlives the handler gets an error.
type requestBody struct {
	c        *conn
	response *responseWriter

	mu              sync.Mutex
	reader          bodyReader
	expectsContinue bool  // the client waits for 100 Continue before it sends the body
	err             error // the error that ended the body, io.EOF included
	closed          bool
}

// isEmpty reports whether the request has no body.
func (b *requestBody) isEmpty() bool { return b.reader.framing == framing{} }

// hasFailed reports whether reading has failed, so that the start of the next request is not known.
func (b *requestBody) hasFailed() bool {
	if b == nil || !b.mu.TryLock() { // no body, or a goroutine is still reading
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

// Close makes further reads of the handler fail.
func (b *requestBody) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	return nil
}

// finish is called when the handler has returned. It reports whether the input is at the start of
// the next request. If drain is true, it reads and discards a short remainder.
func (b *requestBody) finish(drain bool) bool {
	if !b.mu.TryLock() { // a goroutine is still reading: interrupt it
		_ = b.c.setReadDeadline(pastDeadline())
		b.mu.Lock()
	}
	defer b.mu.Unlock()
	b.closed = true
	if b.err == io.EOF {
		return true
	}
	if b.err != nil || !drain || b.expectsContinue || b.reader.left > MaxDrainBytes {
		return false
	}
	b.c.setReadTimeout(drainTimeout)
	buf := b.c.server.pool.get()
	defer b.c.server.pool.put(buf)
	for n := 0; n <= MaxDrainBytes; {
		m, err := b.reader.read(&b.c.in, buf[:])
		n += m
		if b.err = err; err != nil {
			return err == io.EOF
		}
	}
	return false
}
