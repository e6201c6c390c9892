package fakeclaude

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/fakeclaude/fault"
)

// delivery sends one answer and works one fault into it.
type delivery struct {
	call  *call
	resp  response
	fault fault.Fault
	wire  *wire

	status int   // sent; 0 before the head
	begun  bool  // the first token has gone out
	events int   // sent, fillers not counted
	tokens int64 // output tokens sent
}

// errCut means that a fault ended the answer as it should.
var errCut = errors.New("cut by a fault")

func newDelivery(w http.ResponseWriter, c *call, resp response, f fault.Fault) *delivery {
	d := &delivery{call: c, resp: resp, fault: f, wire: newWire(w, c.server.clock)}
	switch f.Kind {
	case fault.Dialect:
		d.resp = inDialect(f, resp)
	case fault.Gzip:
		d.wire.compress(f.Coding)
	case fault.Trickle:
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
	if d.resp.events != nil {
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
	strikeAt := injectionIndex(d.fault, d.resp.events)
	if strikeAt == beforeHeader {
		if err := d.inject(ctx); err != nil {
			return err
		}
	}
	if err := d.sleep(ctx, d.resp.prefill); err != nil {
		return err
	}
	d.head(-1)
	if err := d.wire.flush(); err != nil {
		return err
	}
	interval := time.Duration(d.call.settings.TokenInterval)
	for i, e := range d.resp.events {
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
	if strikeAt == len(d.resp.events) {
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
	if d.resp.begin != nil {
		d.resp.begin()
	}
}

func (d *delivery) sendPlain(ctx context.Context) error {
	strikeAt := never
	if !d.resp.replaced && d.fault.Kind != fault.Error {
		strikeAt = injectionOffset(d.fault, len(d.resp.body))
	}
	if strikeAt == beforeHeader {
		if err := d.inject(ctx); err != nil {
			return err
		}
	}
	if err := d.sleep(ctx, d.resp.prefill); err != nil {
		return err
	}
	d.begin()
	if err := d.sleep(ctx, time.Duration(d.resp.tokens)*time.Duration(d.call.settings.TokenInterval)); err != nil {
		return err
	}
	body, length := d.framed(strikeAt)
	d.head(length)
	d.tokens = d.resp.tokens
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
	body := d.resp.body
	switch {
	case d.fault.Kind == fault.Malformed:
		return body[:strikeAt], strikeAt
	case d.resp.status == http.StatusNoContent || d.resp.status == http.StatusNotModified:
		return nil, -1
	case d.wire.encoder != nil || d.fault.Kind == fault.End || d.resp.media == mediaStream:
		return body, -1
	}
	return body, len(body)
}

// head sends status and headers. A negative length leaves the framing to the server.
func (d *delivery) head(length int) {
	h := d.wire.w.Header()
	h.Set("Content-Type", d.resp.media)
	h.Set("Request-Id", d.call.id)
	h.Set("Anthropic-Organization-Id", d.call.account.Organization())
	if d.resp.media == mediaStream {
		h.Set("Cache-Control", "no-cache")
	}
	if d.resp.limited && !d.fault.Bare {
		d.call.account.writeLimitHeaders(h, d.call.model, d.now())
	}
	for name, value := range d.resp.header {
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
	d.status = d.resp.status
	d.wire.w.WriteHeader(d.status)
}

// report writes into the log how it went.
func (d *delivery) report(e *RecordedRequest, err error) {
	e.Status, e.Events, e.Fault = d.status, d.events, d.fault.Kind
	e.Model, e.Stream = d.call.model, d.call.stream
	e.Took = Duration(d.now().Sub(d.call.start))
	switch {
	case err == nil && d.resp.replaced:
		e.Outcome = OutcomeReplaced
	case err == nil:
		e.Outcome = OutcomeComplete
	case errors.Is(err, errCut), errors.Is(err, errAbort):
		e.Outcome = OutcomeCut
	default:
		e.Outcome = OutcomeCancelled
	}
	if d.begun && d.resp.usage.ServiceTier != "" {
		e.Usage = d.resp.usage
		e.Usage.OutputTokens = d.tokens
	}
}
