package proxy

import (
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/claude"
	"github.com/9bingyin/claude-code-lb/internal/ledger"
	"github.com/9bingyin/claude-code-lb/internal/telemetry"
	"github.com/9bingyin/claude-code-lb/internal/verdict"
)

const (
	// largeBuffer is the size of a relay's buffer in bytes. Streams begin with smallBuffer, which
	// is enough for nearly all events and is kept for as long as the stream is open.
	largeBuffer = 32 << 10
	smallBuffer = 2 << 10
)

var errTruncated = errors.New("the stream ended without message_stop")

// commit is the point of no return: the client gets this response, and no further attempt is made.
// The steps have this order:
//
//  1. settleServed gives the outcome to the endpoint, so that every later step can rely on its
//     state.
//  2. dropRequest frees what only another attempt would need. A stream may stay open for long.
//  3. recordForNext records what routes the client's next request. That may arrive as soon as the
//     client has the first byte.
//  4. fitToClient may change the body, so it comes before the header with its length.
//  5. sendHeader stops keep-alive comments first. From here on only this goroutine writes.
//  6. relay sends the body.
//  7. accountRelayed records the usage, which is complete only now.
//  8. breakOff comes last because it panics: the client's connection must not end cleanly.
func (x *exchange) commit(a *attempt) {
	x.settleServed(a)
	defer x.close(a)
	x.dropRequest(a)
	x.recordForNext(a)
	if !x.fitToClient(a) || !x.sendHeader(a) {
		return
	}
	broken := x.relay(a)
	x.accountRelayed(a, broken)
	if broken != nil {
		x.breakOff(a, broken)
	}
}

// settleServed settles the attempt whose response the client gets.
func (x *exchange) settleServed(a *attempt) {
	x.decideKind(a)
	x.settle(a)
	x.entry.Attempts[a.place].Served = true
}

// dropRequest frees the request's body and prompt. The cache index reads the prompt before.
func (x *exchange) dropRequest(a *attempt) {
	x.req.Body.Release()
	x.recordCached(a)
	x.forgetPrompt()
}

// recordCached records that the account now has the prompt in its cache, and for a stream the time
// to its first content.
func (x *exchange) recordCached(a *attempt) {
	if a.outcome.Scope != verdict.ScopeNone || !a.message.Started {
		return
	}
	now, u := time.Now(), a.message.Usage
	uncached := u.InputTokens + u.CacheCreationTokens()
	a.lease.CorrectInput(uncached, now)
	x.req.Table.RecordCached(&x.query, a.lease.Endpoint, a.warm, u, a.start)
	if x.kind == kindStream {
		a.lease.RecordLatency(now.Sub(a.start), uncached, now)
	}
}

// recordForNext records what later requests need: the account that keeps the resources that the
// response names, the account to continue with, and the list of models.
func (x *exchange) recordForNext(a *attempt) {
	x.rememberOwner(a)
	x.rememberKept(a)
	x.rememberContinuations(a)
	x.keepQuick(a)
}

// fitToClient changes a buffered body for this client: a list has only what the client key may see,
// and addresses lead back to the balancer. If it returns false, it has sent an error.
func (x *exchange) fitToClient(a *attempt) bool {
	if !x.restrictList(a) {
		return false
	}
	x.rewriteResultsURL(a)
	return true
}

// sendHeader stops keep-alive comments and sends the upstream's status and header. If comments have
// opened the response, only an event stream can follow: anything else becomes an error event, and
// the result is false.
func (x *exchange) sendHeader(a *attempt) bool {
	x.entry.Outcome, x.entry.Routed = ledger.Answered, x.routed(a)
	x.entry.TimeToFirstByte = time.Since(x.req.Start)
	if opened := x.keepalive.end(); !opened {
		x.writeHeader(a)
	} else if !a.streams() {
		x.sendErrorEvent(a.asError())
		return false
	}
	x.req.HTTP.Header, a.res.Request = nil, nil // both are as large as the header that was sent upstream
	return true
}

// routed returns why this endpoint was chosen.
func (x *exchange) routed(a *attempt) ledger.Routed {
	switch {
	case x.pin.id != "":
		return ledger.Pinned
	case a.warm.Home:
		return ledger.Warm
	default:
		return ledger.Placed
	}
}

// writeHeader sends the upstream's status and header.
func (x *exchange) writeHeader(a *attempt) {
	h := x.copyResponseHeader(a.res.Header)
	if a.decoded {
		h.Del("Content-Encoding")
		h.Del("Content-Length")
	}
	if x.kind == kindStream && a.streams() {
		h.Del("Content-Length") // an error event may be added
	}
	if a.complete && x.req.HTTP.Method != http.MethodHead && a.res.StatusCode != http.StatusNotModified {
		h.Set("Content-Length", strconv.Itoa(len(a.buffered)))
	}
	x.trace()
	x.entry.Status = a.res.StatusCode
	x.client.w.WriteHeader(a.res.StatusCode)
}

// relay sends what is buffered, and then the rest of the body as it arrives. A nil result means
// that the client has the complete response.
func (x *exchange) relay(a *attempt) error {
	if x.req.HTTP.Method == http.MethodHead {
		return nil
	}
	x.req.Settings.Dump.Chunk(x.ctx, x.req.ID, a.buffered)
	if x.kind == kindStream && a.streams() {
		return x.relayEvents(a)
	}
	if a.complete { // flushed now, so that the client need not wait until the request is recorded
		return x.client.send(a.buffered)
	}
	if err := x.client.write(a.buffered); err != nil {
		return err
	}
	return x.relayBytes(a)
}

// relayBytes relays a body of any kind.
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
		if werr := x.client.write(buf[:n]); werr != nil {
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
			x.client.flush()
		}
	}
}

// relayEvents relays whole events, each as soon as it is complete. If the upstream breaks off
// inside an event, the client's parser is between two events and understands an error event. Only
// an event larger than the buffer is sent in parts.
func (x *exchange) relayEvents(a *attempt) error {
	// The scanner has read everything that is buffered. An incomplete event there is completed
	// here.
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
	x.keepalive.resume(x.client.w.Header())
	defer x.keepalive.end()
	if err := x.keepalive.send(a, head, a.partialEventSent); err != nil {
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
		x.rememberKept(a) // before the client gets the ids
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
			if werr := x.keepalive.send(a, buf[:ready], a.partialEventSent); werr != nil {
				return werr
			}
			if a.hasEnded() {
				x.keepalive.end() // nothing follows the last event
			}
			pending = copy(buf, buf[ready:pending])
		}
		if err != nil {
			return a.endError(err)
		}
	}
}

// endEvent sends the last event of a stream with the blank line that is missing after it.
func (x *exchange) endEvent(a *attempt, begun []byte) error {
	a.offset = len(begun)
	a.events.Feed([]byte(missingEnd), a.observe)
	if err := x.keepalive.send(a, append(begun[:len(begun):len(begun)], missingEnd...), false); err != nil {
		return err
	}
	x.keepalive.end()
	return nil
}

// hasEnded reports whether the stream has had its last event.
func (a *attempt) hasEnded() bool { return a.message.Stopped || a.message.Err != nil }

// endError returns nil if a stream whose body ended with err is complete. After message_stop, any
// failure of the connection is harmless.
func (a *attempt) endError(err error) error {
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

// accountRelayed records the usage of a relayed response. If the upstream ended it with an error
// event, which the client has received, it charges that failure too.
func (x *exchange) accountRelayed(a *attempt, broken error) {
	x.recordUsage(a)
	a.lease.RecordOutput(a.message.Usage.OutputTokens, time.Now())
	if broken != nil {
		return
	}
	x.req.Table.RecordOutput(&x.query, a.message.Usage.OutputTokens)
	if a.message.Err != nil {
		x.judge(a, a.message.Err, nil)
		x.charge(a, a.outcome)
	}
}

// breakOff ends a committed response that is not complete. The client gets an error event if its
// parser can read one, and a broken connection, never a clean end.
func (x *exchange) breakOff(a *attempt, broken error) {
	err := a.explain(broken)
	if errors.Is(err, verdict.ErrClientGone) || errors.Is(broken, errClientWrite) {
		x.entry.Outcome = ledger.ClientGone
		x.cause = verdict.ErrClientGone
		panic(http.ErrAbortHandler)
	}
	x.cause = err
	o := verdict.Judge(verdict.Evidence{Err: err, Status: a.res.StatusCode, Now: time.Now()})
	x.charge(a, o)
	if x.kind == kindStream && a.stream && !a.partialEventSent {
		e := claude.Error{Type: claude.ErrAPI, Message: "The upstream broke off its answer (" + o.Reason + "): ask again.", RequestID: x.req.ID}
		x.client.write(e.AppendEvent(nil))
		x.client.flush()
	}
	panic(http.ErrAbortHandler)
}

// finish settles the reservation of the client key and gives the entry to all recorders, however
// the request ended.
func (x *exchange) finish() {
	e := &x.entry
	e.Duration, e.Bytes = time.Since(e.Start), x.client.written.Load()
	if e.Outcome == "" { // a panic on the way
		e.Outcome = ledger.Failed
	}
	if x.cause != nil {
		e.Reason = x.cause.Error()
	}
	e.Steps = x.trail.kept(e.Start)
	x.p.journal.end(&x.inFlight, finished{*e, x.trail})
	if x.reservation != nil {
		x.req.Book.Settle(x.reservation, e)
	}
	x.p.Record(*e)
	if x.spans != nil {
		x.spans.End(e)
	}
	x.report(e)
	if x.p.log.Enabled(x.ctx, slog.LevelDebug) {
		x.p.log.DebugContext(x.ctx, telemetry.DebugAttempts, telemetry.ID, x.req.ID, telemetry.Trail, &x.trail)
	}
}
