package proxy

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

const (
	// largeBuffer is the size of a relay's buffer in bytes. Streams begin with smallBuffer, which is enough for nearly
	// all events and is kept for as long as the stream is open.
	largeBuffer = 32 << 10
	smallBuffer = 2 << 10
)

var errTruncated = errors.New("the stream ended without message_stop")

// relay sends what is held and then the rest as it comes. A nil result means a whole answer.
func (x *exchange) relay(a *attempt) error {
	if x.req.HTTP.Method == http.MethodHead {
		return nil
	}
	x.req.Settings.Dump.Chunk(x.ctx, x.req.ID, a.buffered)
	if x.requestKind == kindStream && a.streams() {
		return x.relayEvents(a)
	}
	if a.complete { // what is still to be noted of the request, nobody has to wait for
		return x.send(a.buffered)
	}
	if err := x.write(a.buffered); err != nil {
		return err
	}
	return x.relayBytes(a)
}

// relayBytes passes bytes on as they come.
func (x *exchange) relayBytes(a *attempt) error {
	x.batch = x.newBatchBill(a)
	x.batch.feed(a.buffered)
	lent := x.p.buffers.get(largeBuffer)
	defer lent.release()
	buf := lent.bytes()
	for {
		n, err := a.read(buf)
		x.req.Settings.Dump.Chunk(x.ctx, x.req.ID, buf[:n])
		x.batch.feed(buf[:n])
		if werr := x.write(buf[:n]); werr != nil {
			return werr
		}
		if errors.Is(err, io.EOF) {
			x.endBatchBill(a)
			return nil
		}
		if err != nil {
			return err
		}
		if a.res.ContentLength < 0 {
			x.flush()
		}
	}
}

// relayEvents passes whole events on, each as soon as it is complete: if the
// upstream breaks off inside one, the client's parser still stands between two
// events and can be told. Only an event larger than the buffer goes out in parts.
func (x *exchange) relayEvents(a *attempt) error {
	// What was held has been fed to the scanner already; an event begun there is completed here.
	head := a.buffered[:a.eventEnd]
	pending := len(a.buffered) - a.eventEnd
	if pending >= largeBuffer {
		head, pending, a.partialEventSent = a.buffered, 0, true
	}
	lent := x.p.buffers.get(pending)
	defer func() { lent.release() }()
	buf := lent.bytes()
	copy(buf, a.buffered[len(head):])
	a.buffered = nil
	x.keepalive.resume(x.w.Header())
	defer x.keepalive.end()
	if err := x.sendPart(a, head, a.partialEventSent); err != nil {
		return err
	}
	observe := a.observe // one allocation for all events
	for {
		if pending == len(buf) {
			buf = lent.grow(pending)
		}
		n, err := a.read(buf[pending:])
		x.req.Settings.Dump.Chunk(x.ctx, x.req.ID, buf[pending:pending+n])
		ready := 0
		a.offset = pending
		if boundary := a.events.Feed(buf[pending:pending+n], observe); boundary > 0 {
			ready, a.partialEventSent = pending+boundary, false
		}
		x.rememberKept(a)
		x.rememberContinuations(a)
		pending += n
		if err != nil && a.lastUnended() {
			return x.endEvent(a, buf[:pending])
		}
		if ready == 0 && pending == largeBuffer {
			a.partialEventSent = true
		}
		if a.partialEventSent || err != nil && a.hasEnded() {
			ready = pending
		}
		if ready > 0 {
			if werr := x.sendPart(a, buf[:ready], a.partialEventSent); werr != nil {
				return werr
			}
			if a.hasEnded() {
				x.keepalive.end() // nothing follows the last event
			}
			pending = copy(buf, buf[ready:pending])
		}
		if err != nil {
			return a.ended(err)
		}
	}
}

// endEvent sends the last event of a stream, of which only the blank line is missing, with that line.
func (x *exchange) endEvent(a *attempt, begun []byte) error {
	a.offset = len(begun)
	a.events.Feed([]byte(missingEnd), a.observe)
	if err := x.sendPart(a, append(begun[:len(begun):len(begun)], missingEnd...), false); err != nil {
		return err
	}
	x.keepalive.end()
	return nil
}

// hasEnded says whether the stream has said all it had to say.
func (a *attempt) hasEnded() bool { return a.message.Stopped || a.message.Err != nil }

// ended tells a whole stream from one that broke off. Whatever happens to the
// connection after message_stop harms nobody.
func (a *attempt) ended(err error) error {
	switch {
	case a.message.Stopped:
		return nil
	case !errors.Is(err, io.EOF):
		return err
	case a.message.Err != nil:
		return nil
	default:
		return errTruncated
	}
}

// sendEvents sends complete events: the upstream's bytes, plus an event: line for events that SDK clients
// would not read otherwise. The last event: line of an event counts, so it may come after the data.
func (x *exchange) sendEvents(a *attempt, p []byte) error {
	done := 0
	for _, r := range a.relabelings {
		if err := x.write(p[done:r.at]); err != nil {
			return err
		}
		if err := x.write([]byte("event: " + r.name + "\n")); err != nil {
			return err
		}
		done = r.at
	}
	a.relabelings = a.relabelings[:0]
	return x.send(p[done:])
}

// send writes and flushes: an event is worth nothing in a buffer.
func (x *exchange) send(p []byte) error {
	if err := x.write(p); err != nil {
		return err
	}
	return x.flush()
}

func (x *exchange) flush() error {
	c := http.NewResponseController(x.w)
	if x.overHTTP2() {
		x.writeDeadline.begin(x.w)
		defer x.writeDeadline.end()
	} else if now := time.Now(); x.writeBy.Sub(now) < writeLimit-writeLimit/10 && !limitsWrites(x.w) { // renewing it costs more than looking
		x.writeBy = now.Add(writeLimit)
		// Servers that cannot set deadlines, as in tests, still flush.
		_ = c.SetWriteDeadline(x.writeBy)
	}
	if err := c.Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return fmt.Errorf("%w: %w", errClientWrite, err)
	}
	return nil
}
