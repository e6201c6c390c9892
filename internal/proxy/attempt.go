package proxy

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"time"

	"claude-code-lb/internal/claude"
	"claude-code-lb/internal/upstream"
)

// answer is one attempt: the upstream's response as far as it has been read, and the verdict.
type answer struct {
	lease   *upstream.Lease
	start   time.Time
	res     *http.Response // nil when no head arrived
	body    io.Reader      // the rest of the body, decoded where it came encoded
	held    []byte         // read from body, not yet relayed
	whole   bool           // held is all there is
	torn    bool           // the client has got part of an event
	decoded bool           // the body was compressed: its length and encoding headers no longer hold
	outcome upstream.Outcome

	events   claude.EventScanner // over held, and then over the rest
	eventEnd int                 // offset in held just past the last complete event
	message  claude.Message
	first    *watch // over the time to the head, or to the first content of a stream
	gap      *watch // over every single read
	idle     *upstream.TimeoutError
	ctx      context.Context // of the attempt: its cause tells why reading failed
	cancel   context.CancelCauseFunc
	client   context.Context // of the client's request
}

// attempt sends the request to one endpoint and holds the answer until there
// is a verdict. The answer must be closed.
func (x *exchange) attempt(lease *upstream.Lease) *answer {
	s := x.req.Settings
	ctx, cancel := context.WithCancelCause(x.ctx)
	a := &answer{
		lease: lease, start: time.Now(), ctx: ctx, cancel: cancel, client: x.ctx, first: newWatch(cancel), gap: newWatch(cancel),
		idle:   &upstream.TimeoutError{Waiting: "next byte", After: s.Idle},
		events: claude.EventScanner{Want: claude.WantedEvent},
	}
	if x.kind == kindStream {
		a.first.expect(&upstream.TimeoutError{Waiting: "first content", After: s.FirstContent})
	} else {
		a.first.expect(&upstream.TimeoutError{Waiting: "response header", After: s.NonStreaming})
	}
	defer a.first.stop()
	out := x.outgoing(lease).WithContext(ctx)
	s.Dump.Attempt(ctx, x.req.ID, lease.Name(), out)
	res, err := lease.RoundTrip(out)
	if err != nil {
		a.judge(nil, a.explain(err))
		return a
	}
	a.res = res
	s.Dump.Answer(ctx, x.req.ID, lease.Name(), res)
	if x.kind != kindStream {
		a.first.stop()
	}
	claimed, err := a.hold(x.kind)
	if err != nil {
		err = a.explain(err)
	}
	a.judge(claimed, err)
	return a
}

// judge settles the verdict on what is known by now.
func (a *answer) judge(claimed *claude.Error, err error) {
	ev := upstream.Evidence{Error: claimed, Err: err, Now: time.Now()}
	if a.res != nil {
		ev.Status, ev.Header = a.res.StatusCode, a.res.Header
	}
	a.outcome = upstream.Judge(ev)
}

// explain replaces the bare cancellation that reading or sending reports by its cause.
func (a *answer) explain(err error) error {
	if a.client.Err() != nil {
		if cause := context.Cause(a.client); errors.Is(cause, upstream.ErrStopping) {
			return cause
		}
		return upstream.ErrClientGone
	}
	if cause := context.Cause(a.ctx); cause != nil {
		return cause
	}
	return err
}

// close gives up the upstream's answer and the lease.
func (a *answer) close() {
	if a.res != nil {
		a.res.Body.Close()
	}
	a.cancel(errors.New("attempt ended"))
	a.lease.Release()
}

// read reads on, under the idle limit.
func (a *answer) read(p []byte) (int, error) {
	a.gap.expect(a.idle)
	n, err := a.body.Read(p)
	a.gap.stop()
	return n, err
}

// decode undoes a compression that was not asked for.
func (a *answer) decode(k kind) error {
	a.body = a.res.Body
	if k == kindOther {
		return nil
	}
	switch encoding := strings.ToLower(a.res.Header.Get("Content-Encoding")); encoding {
	case "", "identity":
		return nil
	case "gzip", "x-gzip":
		z, err := gzip.NewReader(a.res.Body)
		if err != nil {
			return fmt.Errorf("%w: gzip: %w", upstream.ErrUnusable, err)
		}
		a.body, a.decoded = z, true
		return nil
	default:
		return fmt.Errorf("%w: unknown content-encoding", upstream.ErrUnusable)
	}
}

func (a *answer) isEventStream() bool {
	media, _, err := mime.ParseMediaType(a.res.Header.Get("Content-Type"))
	return err == nil && media == "text/event-stream"
}
