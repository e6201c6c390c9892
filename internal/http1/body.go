package http1

import (
	"io"
	"net/http"
	"sync"
)

// requestBody is the body of the request that a connection serves. It may be read by one goroutine at a time, also by one that outlives the
// handler: then it reads no more.
type requestBody struct {
	c      *conn
	answer *response

	mu     sync.Mutex
	reader bodyReader
	awaits bool  // the client sends it when it is told to go on
	err    error // with which reading ended
	closed bool
}

// none says that there is no body.
func (b *requestBody) none() bool { return b.reader.framing == framing{} }

// broken says that reading has failed: where the next request begins is not known.
func (b *requestBody) broken() bool {
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
	if b.awaits {
		b.awaits = false
		if b.err = b.answer.writeContinue(); b.err != nil {
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
		_ = b.c.setDeadline(longAgo())
		b.mu.Lock()
	}
	defer b.mu.Unlock()
	b.closed = true
	if b.err == io.EOF {
		return true
	}
	if b.err != nil || !drain || b.awaits || b.reader.left > drained {
		return false
	}
	b.c.limitRead(drainTime)
	room := b.c.server.mem.get()
	defer b.c.server.mem.put(room)
	for n := 0; n <= drained; {
		m, err := b.reader.read(&b.c.in, room[:])
		n += m
		if b.err = err; err != nil {
			return err == io.EOF
		}
	}
	return false
}
