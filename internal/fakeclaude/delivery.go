package fakeclaude

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"
)

// delivery sends one answer and works one fault into it.
type delivery struct {
	call  *call
	ans   answer
	fault Fault
	wire  *wire

	status int   // sent; 0 before the head
	begun  bool  // the first token has gone out
	events int   // sent, fillers not counted
	tokens int64 // output tokens sent
}

// errCut means that a fault ended the answer as it should.
var errCut = errors.New("cut by a fault")

func newDelivery(w http.ResponseWriter, c *call, ans answer, f Fault) *delivery {
	d := &delivery{call: c, ans: ans, fault: f, wire: newWire(w, c.server.clock)}
	switch f.Kind {
	case FaultDialect:
		d.ans = f.spoken(ans)
	case FaultGzip:
		d.wire.compress(f.Coding)
	case FaultTrickle:
		d.wire.pause = time.Duration(f.Delay)
		d.wire.piece = f.Bytes
		if f.Bytes == 0 {
			d.wire.piece = 16
		}
	}
	return d
}

// run sends the answer. It returns nil when all of it went out, errCut or
// errAbort when a fault cut it, and any other error when the client has gone.
func (d *delivery) run(ctx context.Context) error {
	send := d.sendPlain
	if d.ans.events != nil {
		send = d.sendStream
	}
	err := send(ctx)
	if d.begun && d.tokens > 0 {
		d.call.account.spendOutput(d.call.model, d.tokens, d.now())
	}
	return err
}

func (d *delivery) now() time.Time { return d.call.server.clock.Now() }

func (d *delivery) sleep(ctx context.Context, t time.Duration) error {
	return d.call.server.clock.Sleep(ctx, t)
}

func (d *delivery) sendStream(ctx context.Context) error {
	strikeAt := d.fault.streamIndex(d.ans.events)
	if strikeAt == beforeHead {
		if err := d.inject(ctx); err != nil {
			return err
		}
	}
	if err := d.sleep(ctx, d.ans.prefill); err != nil {
		return err
	}
	d.head(-1)
	if err := d.wire.flush(); err != nil {
		return err
	}
	interval := time.Duration(d.call.settings.TokenInterval)
	for i, e := range d.ans.events {
		if i == strikeAt {
			if err := d.inject(ctx); err != nil {
				return err
			}
		}
		if err := d.pause(ctx, time.Duration(e.tokens)*interval); err != nil {
			return err
		}
		d.begin()
		if err := d.wire.send(ctx, e.frame); err != nil {
			return err
		}
		d.events++
		d.tokens += e.tokens
	}
	if strikeAt == len(d.ans.events) {
		if err := d.inject(ctx); err != nil {
			return err
		}
	}
	return d.wire.finish()
}

// pause waits between two events and fills a long silence with pings.
func (d *delivery) pause(ctx context.Context, t time.Duration) error {
	every := time.Duration(d.call.settings.PingInterval)
	for ; t > every; t -= every {
		if err := d.sleep(ctx, every); err != nil {
			return err
		}
		if err := d.wire.send(ctx, pingEvent().frame); err != nil {
			return err
		}
	}
	if t <= 0 {
		return nil
	}
	return d.sleep(ctx, t)
}

// begin makes what this request writes into the prompt cache readable.
func (d *delivery) begin() {
	if d.begun {
		return
	}
	d.begun = true
	if d.ans.begin != nil {
		d.ans.begin()
	}
}

func (d *delivery) sendPlain(ctx context.Context) error {
	strikeAt := never
	if !d.ans.replaced && d.fault.Kind != FaultError {
		strikeAt = d.fault.plainOffset(len(d.ans.body))
	}
	if strikeAt == beforeHead {
		if err := d.inject(ctx); err != nil {
			return err
		}
	}
	if err := d.sleep(ctx, d.ans.prefill); err != nil {
		return err
	}
	d.begin()
	if err := d.sleep(ctx, time.Duration(d.ans.tokens)*time.Duration(d.call.settings.TokenInterval)); err != nil {
		return err
	}
	body, length := d.framed(strikeAt)
	d.head(length)
	d.tokens = d.ans.tokens
	if strikeAt >= 0 && strikeAt < len(body) {
		if err := d.wire.send(ctx, body[:strikeAt]); err != nil {
			return err
		}
		if err := d.inject(ctx); err != nil {
			return err
		}
		body = body[strikeAt:]
	}
	if err := d.wire.send(ctx, body); err != nil {
		return err
	}
	return d.wire.finish()
}

// framed is the body and the length that the head announces, -1 for none. A
// malformed body is a short one of the right length.
func (d *delivery) framed(strikeAt int) ([]byte, int) {
	body := d.ans.body
	switch {
	case d.fault.Kind == FaultMalformed:
		return body[:strikeAt], strikeAt
	case d.ans.status == http.StatusNoContent || d.ans.status == http.StatusNotModified:
		return nil, -1
	case d.wire.encoder != nil || d.fault.Kind == FaultEnd || d.ans.media == mediaStream:
		return body, -1
	}
	return body, len(body)
}

// head sends status and headers. A negative length leaves the framing to the server.
func (d *delivery) head(length int) {
	h := d.wire.w.Header()
	h.Set("Content-Type", d.ans.media)
	h.Set("Request-Id", d.call.id)
	h.Set("Anthropic-Organization-Id", d.call.account.Organization())
	if d.ans.media == mediaStream {
		h.Set("Cache-Control", "no-cache")
	}
	if d.ans.limited && !d.fault.Bare {
		d.call.account.writeLimitHeaders(h, d.call.model, d.now())
	}
	for name, value := range d.ans.header {
		h.Set(name, value)
	}
	if d.wire.encoder != nil {
		h.Set("Content-Encoding", d.wire.coding)
	}
	if length >= 0 {
		h.Set("Content-Length", strconv.Itoa(length))
	}
	for name, value := range d.fault.Headers {
		if h.Del(name); value != "" {
			h.Set(name, value)
		}
	}
	d.status = d.ans.status
	d.wire.w.WriteHeader(d.status)
}

// report writes into the log how it went.
func (d *delivery) report(e *RecordedRequest, err error) {
	e.Status, e.Events, e.Fault = d.status, d.events, d.fault.Kind
	e.Model, e.Stream = d.call.model, d.call.stream
	e.Took = Duration(d.now().Sub(d.call.start))
	switch {
	case err == nil && d.ans.replaced:
		e.Outcome = OutcomeReplaced
	case err == nil:
		e.Outcome = OutcomeComplete
	case errors.Is(err, errCut), errors.Is(err, errAbort):
		e.Outcome = OutcomeCut
	default:
		e.Outcome = OutcomeCancelled
	}
	if d.begun && d.ans.usage.ServiceTier != "" {
		e.Usage = d.ans.usage
		e.Usage.OutputTokens = d.tokens
	}
}
