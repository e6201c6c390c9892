package proxy

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/claude"
	"github.com/9bingyin/claude-code-lb/internal/ledger"
	"github.com/9bingyin/claude-code-lb/internal/routing"
	"github.com/9bingyin/claude-code-lb/internal/upstream"
	"github.com/9bingyin/claude-code-lb/internal/verdict"
)

// What an attempt waits for, as a time-out names it.
const (
	firstContent = "first content"
	moreSigns    = "first content or further sign of life"
	nextByte     = "next byte"
)

var errEnded = errors.New("attempt ended")

// attempt is one request sent to one endpoint: its lease, the part of the response that has been
// read, and the outcome.
type attempt struct {
	x        *exchange
	lease    *upstream.Lease
	warm     routing.Warmth // what the endpoint's account has cached of the prompt
	warming  bool           // the request asks for no output
	start    time.Time
	timeouts timeouts
	activity activity
	first    verdict.TimeoutError // the error if the first content, or the header, does not arrive in time
	idle     verdict.TimeoutError // the same for every later read
	ctx      context.Context      // its cause is why reading failed
	cancel   context.CancelCauseFunc
	client   context.Context       // of the client's request
	endSpan  func(*ledger.Attempt) // nil without tracing

	res      *http.Response // nil if no header arrived
	body     io.Reader      // the unread part of the body, decoded
	buffered []byte         // read from body, not yet relayed
	complete bool           // buffered is the whole body
	stream   bool           // the first bytes are those of an event stream
	decoded  bool           // the body was compressed, so its length and encoding headers are wrong
	claimed  *claude.Error  // the error of the API that the response states
	message  claude.Message // what has been read of a message
	// wrongShape is set if the upstream sent status 200 with a body of another kind than the
	// request asks for.
	wrongShape bool

	outcome      verdict.Outcome
	judged       time.Time // when outcome was set
	place        int       // index in the entry's attempts, set by settle
	timedOut     bool      // a time limit of the balancer ended the attempt
	wrongAccount bool      // the account does not know the resource that the request names
	// deadlineShortened is set if the limit for the first content was shorter than the endpoint's
	// own.
	deadlineShortened bool

	relayState
}

// relayState is what the relay of an event stream needs. Buffering begins it.
type relayState struct {
	events           claude.EventScanner // over buffered, then over the rest of the body
	eventEnd         int                 // offset in buffered just past the last complete event
	offset           int                 // where the bytes that are fed to events begin, in buffered or in the relay's buffer
	partialEventSent bool                // the client has received a part of an event
	// relabelings are written with the next bytes that are sent, ordered by position.
	relabelings []relabeling
	ownersNoted int  // of message.Kept, how many rememberKept has recorded
	continues   int  // of message.Continues, how many rememberContinuations has recorded
	remembered  bool // rememberContinuations has recorded the id of the message
}

// open begins an attempt at an endpoint. The caller must close it.
func (x *exchange) open(lease *upstream.Lease) *attempt {
	s, server := x.req.Settings, lease.Name()
	x.inFlight.server.Store(&server)
	ctx, cancel := context.WithCancelCause(x.ctx)
	return &attempt{
		x: x, lease: lease, warm: x.attempts.warmth, warming: x.query.MaxTokens == 0, start: time.Now(), ctx: ctx, cancel: cancel, client: x.ctx, timeouts: timeouts{cancel: cancel},
		idle: verdict.TimeoutError{Waiting: nextByte, After: s.Idle},
	}
}

// firstWait returns the time limit for the first content of a stream, or for the header of any
// other response.
func (x *exchange) firstWait(a *attempt) *verdict.TimeoutError {
	s := x.req.Settings
	if x.kind != kindStream {
		a.first = verdict.TimeoutError{Waiting: "response", After: s.NonStreaming}
		if x.isQuick() {
			a.first.After = x.quickLimit(a.lease, a.start)
		}
		return &a.first
	}
	limit := a.lease.FirstContentLimit(x.tokens(), s.FirstContent)
	if limit > 0 {
		a.activity.due = time.Now().Add(limit)
	}
	if left := s.Total - time.Since(x.admittedAt); s.Total > 0 && (limit <= 0 || left < limit) {
		a.deadlineShortened = true
		limit = max(left, time.Millisecond)
	}
	if limit > 0 {
		a.activity.until = time.Now().Add(limit)
	}
	a.first = verdict.TimeoutError{Waiting: firstContent, After: limit}
	return &a.first
}

// read reads from the body under the idle limit.
func (a *attempt) read(p []byte) (int, error) {
	a.timeouts.expect(forRead, &a.idle)
	n, err := a.body.Read(p)
	a.timeouts.arrived(forRead)
	return n, err
}

// status returns the status of the response, or 0.
func (a *attempt) status() int {
	if a.res == nil {
		return 0
	}
	return a.res.StatusCode
}

// streams reports whether the response is a stream of events that may follow a status 200.
func (a *attempt) streams() bool { return a.res.StatusCode == http.StatusOK && a.stream }

// close ends the response and releases the lease.
func (a *attempt) close() {
	if a.res != nil {
		a.res.Body.Close()
	}
	a.timeouts.stop()
	a.cancel(errEnded)
	a.lease.Release()
}

// close closes a settled attempt and ends its span.
func (x *exchange) close(a *attempt) {
	a.close()
	if a.endSpan != nil {
		a.endSpan(&x.entry.Attempts[a.place])
	}
}
