package http1

import (
	"context"
	"errors"
	"os"
	"sync"
	"time"
)

// watchDelay is how long a request is served before its client is watched. Setting up the watch
// costs more than it saves for a shorter request.
const watchDelay = 100 * time.Millisecond

// closeWatch detects that the client has closed the connection while its request is being served,
// and cancels the request's context. It asks the kernel if possible (socket.CloseNotifier).
// Otherwise a goroutine tries to read one byte; in that mode a client that has pipelined another
// request is not watched.
type closeWatch struct {
	c     *conn
	timer *time.Timer

	mu        sync.Mutex
	cancel    context.CancelFunc // cancels the request being served; nil: none
	watchID   int64              // id of the kernel's watch; 0: none
	reading   chan struct{}      // closed when the pending read has ended; nil: no read pending
	armed     bool               // the request body has been read
	pipelined bool               // bytes of the next request have been received already
	readAhead []byte             // the byte that the pending read received
	gone      bool
	buf       [1]byte
}

// start is called at the start of a request.
func (w *closeWatch) start(cancel context.CancelFunc) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cancel = cancel
}

// arm is called when the request body has been read. Any further bytes do not belong to this
// request.
func (w *closeWatch) arm() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.armed = w.cancel != nil; !w.armed {
		return
	}
	w.pipelined = w.c.in.buffered() > 0
	if w.timer == nil {
		w.timer = time.AfterFunc(watchDelay, w.watch)
		return
	}
	w.timer.Reset(watchDelay)
}

// watch waits for the client to close the connection.
func (w *closeWatch) watch() {
	w.mu.Lock()
	if !w.armed || w.watchID != 0 || w.reading != nil || w.gone || len(w.readAhead) > 0 {
		w.mu.Unlock()
		return
	}
	if id, ok := w.c.server.closeNotifier.Watch(w.c.sock, w.onClientClose); ok {
		w.watchID = id
		w.mu.Unlock()
		return
	}
	if w.pipelined {
		w.mu.Unlock()
		return
	}
	done := make(chan struct{})
	w.reading = done
	_ = w.c.setReadDeadline(time.Time{})
	w.mu.Unlock()

	n, err := w.c.Read(w.buf[:])
	w.mu.Lock()
	defer w.mu.Unlock()
	defer close(done)
	w.reading = nil
	switch {
	case n > 0:
		w.readAhead = w.buf[:]
	case err != nil && !errors.Is(err, os.ErrDeadlineExceeded): // otherwise stop interrupted the read
		w.markGoneLocked()
	}
}

// onClientClose is called when the kernel reports that the client has closed its side.
func (w *closeWatch) onClientClose(id int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.watchID == id { // otherwise that request has ended
		w.markGoneLocked()
	}
}

// onServerClose is called when the server has closed the connection.
func (w *closeWatch) onServerClose() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.markGoneLocked()
}

// markGoneLocked records that the client has left. The caller holds the mutex.
func (w *closeWatch) markGoneLocked() {
	w.gone = true
	if w.cancel != nil {
		w.cancel()
	}
}

// stop is called when the handler has returned. It returns false if the client has left. A byte
// that was read ahead goes back to the input.
func (w *closeWatch) stop() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cancel, w.armed = nil, false
	if w.timer != nil {
		w.timer.Stop()
	}
	if w.watchID != 0 {
		w.c.server.closeNotifier.Stop(w.watchID)
		w.watchID = 0
	}
	if reading := w.reading; reading != nil {
		_ = w.c.setReadDeadline(pastDeadline())
		w.mu.Unlock()
		<-reading
		w.mu.Lock()
	}
	w.c.in.unread(w.readAhead)
	w.readAhead = nil
	return !w.gone
}
