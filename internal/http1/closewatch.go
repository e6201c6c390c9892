package http1

import (
	"context"
	"errors"
	"os"
	"sync"
	"time"
)

// watchAfter is how long a request may take before somebody looks whether its client is still there: an answer that comes sooner is
// not worth a goroutine.
const watchDelay = 100 * time.Millisecond

// closeWatch notices a client that leaves while its request is served: the connection ends. Where the kernel cannot tell, it reads, at most
// one byte of what a client sends ahead, and a client that has sent ahead is not watched.
type closeWatch struct {
	c     *conn
	timer *time.Timer

	mu        sync.Mutex
	cancel    context.CancelFunc // of the request being served; nil: none is
	watchID   int64              // names the watch that the kernel keeps; 0: there is none
	reading   chan struct{}      // closed when the read has ended; nil: nobody reads
	armed     bool               // its body has been read
	pipelined bool               // bytes that follow it as well
	readAhead []byte             // what it has read
	gone      bool
	buf       [1]byte
}

// begin is told of a request that begins.
func (w *closeWatch) start(cancel context.CancelFunc) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cancel = cancel
}

// arm is told when the request's body has been read: from now on nothing comes but what does not belong to it.
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

// look waits for the client to leave.
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
	case err != nil && !errors.Is(err, os.ErrDeadlineExceeded): // else the read was ended
		w.markGoneLocked()
	}
}

// left is told by the kernel that the client has left.
func (w *closeWatch) onClientClose(id int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.watchID == id { // the request is still being served
		w.markGoneLocked()
	}
}

// closed is told that the server has closed the connection.
func (w *closeWatch) onServerClose() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.markGoneLocked()
}

// leave notes that the client has left. The caller holds the mutex.
func (w *closeWatch) markGoneLocked() {
	w.gone = true
	if w.cancel != nil {
		w.cancel()
	}
}

// end is told when the handler has returned. It is false if the client has left. What it sent ahead is put back.
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
