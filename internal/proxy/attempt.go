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

// What an attempt waits for, as its failure names it.
const (
	firstContent = "first content"
	moreSigns    = "first content or further sign of life"
	nextByte     = "next byte"
)

var errEnded = errors.New("attempt ended")

// attempt is one attempt: the upstream's response as far as it has been read, and the verdict.
type attempt struct {
	x                *exchange
	lease            *upstream.Lease
	warm             routing.Warmth // what its account holds of the prompt
	start            time.Time
	res              *http.Response // nil when no head arrived
	body             io.Reader      // the rest of the body, decoded where it came encoded
	buffered         []byte         // read from body, not yet relayed
	complete         bool           // held is all there is
	partialEventSent bool           // the client has got part of an event
	stream           bool           // it is a stream of events, as its first bytes tell
	decoded          bool           // the body was compressed: its length and encoding headers no longer hold
	claimed          *claude.Error  // what an error answer says, if it is one of the API
	outcome          verdict.Outcome
	judged           time.Time // when outcome was found
	warming          bool      // the request asks for no output
	// wrongShape is set if the upstream sent status 200 with a body of another kind than the request asks for.
	wrongShape   bool
	wrongAccount bool // the account does not know the resource that the request names
	// timedOut says that a wait of the balancer's own ran out; curtailed, that the first one was shorter than the endpoint is due.
	timedOut, deadlineShortened bool

	events   claude.EventScanner // over held, and then over the rest
	eventEnd int                 // offset in held just past the last complete event
	offset   int                 // where what is fed to events begins, in held or in the buffer of the relay
	// relabelings are written with the next bytes that are sent, ordered by position.
	relabelings []relabeling
	message     claude.Message
	noted       int      // of message.Kept, how many the owners know of
	continues   int      // of message.Continues, how many are remembered
	remembered  bool     // so is its id
	place       int      // in the entry's attempts, once it is settled
	timeouts    timeouts // the time limits of the attempt
	activity    activity
	first       verdict.TimeoutError // the error if the first content, or the header, does not arrive in time
	idle        verdict.TimeoutError // the same for every later read
	ctx         context.Context      // of the attempt: its cause tells why reading failed
	cancel      context.CancelCauseFunc
	client      context.Context       // of the client's request
	traced      func(*ledger.Attempt) // ends the span of the attempt; nil without tracing
}

// open begins an attempt at an endpoint. It must be closed.
func (x *exchange) open(lease *upstream.Lease) *attempt {
	s, server := x.req.Settings, lease.Name()
	x.inFlight.server.Store(&server)
	ctx, cancel := context.WithCancelCause(x.ctx)
	return &attempt{
		x: x, lease: lease, warm: x.warmth, warming: x.query.MaxTokens == 0, start: time.Now(), ctx: ctx, cancel: cancel, client: x.ctx, timeouts: timeouts{cancel: cancel},
		idle: verdict.TimeoutError{Waiting: nextByte, After: s.Idle},
	}
}

// roundTrip sends the request and holds the answer until there is a verdict.
func (x *exchange) roundTrip(a *attempt) {
	s := x.req.Settings
	limit := x.firstWait(a)
	a.timeouts.expect(forFirst, limit)
	defer a.timeouts.over(forFirst)
	// How long sending takes is the client's affair: an upload only has to go on.
	if x.req.Upload != nil {
		x.req.Upload.watched(func() { a.timeouts.expect(forFirst, limit) })
	}
	out := x.outgoing(a.ctx, a.lease)
	x.traceOut(a, out)
	s.Dump.Attempt(a.ctx, x.req.ID, a.lease.Name(), out)
	res, err := a.lease.RoundTrip(out)
	x.req.Upload.watched(nil)
	if err != nil {
		x.judge(a, nil, a.explain(err))
		return
	}
	a.res = res
	a.lease.Learn(res.StatusCode, res.Header, time.Now())
	s.Dump.Answer(a.ctx, x.req.ID, a.lease.Name(), res)
	if x.requestKind == kindOther {
		a.timeouts.over(forFirst)
	}
	a.claimed, err = a.buffer(x.requestKind)
	if err != nil {
		err = a.explain(err)
	}
	x.judge(a, a.claimed, err)
}

// firstWait is how long an attempt may take to its first content, or its head where the answer is not streamed.
func (x *exchange) firstWait(a *attempt) *verdict.TimeoutError {
	s := x.req.Settings
	if x.requestKind != kindStream {
		a.first = verdict.TimeoutError{Waiting: "answer", After: s.NonStreaming}
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

// judge settles the verdict on what is known by now.
func (x *exchange) judge(a *attempt, claimed *claude.Error, err error) {
	ev := verdict.Evidence{
		Error: claimed, Err: err, Now: time.Now(), Server: a.lease.Name(), Model: x.entry.Model, Path: x.query.Subject.Path,
		Variant: x.query.Subject.Variant, OwnCredential: x.req.Settings.PassCredentials && !a.lease.HasToken(),
	}
	if a.res != nil {
		ev.Status, ev.Header = a.res.StatusCode, a.res.Header
	}
	if a.wrongShape && err != nil && states(a.buffered, x.entry.Model) {
		ev.Err, ev.Error, claimed = nil, &claude.Error{Type: claude.ErrAPI}, nil
		ev.Body = a.buffered
	}
	switch {
	case ev.Status >= http.StatusBadRequest:
		ev.Body = a.buffered
	case claimed != nil && a.message.Err != nil:
		ev.Body = a.message.ErrData
	case claimed != nil:
		ev.Body = a.buffered
	}
	a.outcome, a.judged = x.req.Settings.Rules.Judge(ev), ev.Now
	if errors.Is(err, verdict.ErrUnusable) && claude.ReadRefusal(a.buffered).Page {
		a.outcome.Cause = verdict.CausePage
	}
	x.judgeSearch(a)
	if x.uploadProblem() != nil {
		a.outcome = verdict.Outcome{Scope: verdict.ScopeClient, Reason: "the upload broke off"}
	}
	timeout, ok := errors.AsType[*verdict.TimeoutError](err)
	a.timedOut = ok
	if ok && a.deadlineShortened && timeout.Waiting != nextByte {
		// It was given less than it is due: nothing is known of the endpoint.
		a.outcome = verdict.Outcome{Scope: verdict.ScopeRequest, Ambiguous: true, Reason: "the time for all attempts is over"}
	}
}

// states reports whether a body with status 200 is a vendor's refusal that we understand.
func states(body []byte, model string) bool {
	switch claude.ReadRefusal(body).Read(model).Meaning {
	case claude.NoModel, claude.NoQuota, claude.Saturated:
		return true
	}
	return false
}

// symptom names a failure that a request may bring upon any endpoint, and is "" for every other.
func (a *attempt) symptom() string {
	switch {
	case a.outcome.Scope != verdict.ScopeEndpoint || a.timedOut:
		return ""
	case a.wrongShape, a.res != nil && a.res.StatusCode >= http.StatusBadRequest && (a.outcome.Cause == verdict.CausePage || a.outcome.Cause == verdict.CauseNoRoute): // a firewall's, perhaps
		return a.outcome.Reason
	case a.res != nil && (a.res.StatusCode >= http.StatusInternalServerError || a.res.StatusCode < http.StatusBadRequest && a.claimed != nil):
		return a.outcome.Reason
	case a.res == nil && !a.outcome.Unbilled:
		return "broken connection"
	default:
		return ""
	}
}

// explain replaces the bare cancellation that reading or sending reports by its cause.
func (a *attempt) explain(err error) error {
	if a.client.Err() != nil {
		if cause := context.Cause(a.client); errors.Is(cause, verdict.ErrStopping) {
			return cause
		}
		return verdict.ErrClientGone
	}
	if cause := context.Cause(a.ctx); cause != nil {
		return cause
	}
	return err
}

// close gives up the upstream's answer and the lease.
func (a *attempt) close() {
	if a.res != nil {
		a.res.Body.Close()
	}
	a.timeouts.stop()
	a.cancel(errEnded)
	a.lease.Release()
}

// read reads on, under the idle limit.
func (a *attempt) read(p []byte) (int, error) {
	a.timeouts.expect(forRead, &a.idle)
	n, err := a.body.Read(p)
	a.timeouts.over(forRead)
	return n, err
}

// decode undoes a compression that was not asked for.
func (a *attempt) decode(k kind) error {
	a.body = a.res.Body
	if k == kindOther {
		return nil
	}
	body, changed, err := decoded(a.res.Body, a.res.Header.Values("Content-Encoding"))
	if err != nil {
		return err
	}
	a.res.Body, a.body, a.decoded = body, body, changed
	return nil
}
