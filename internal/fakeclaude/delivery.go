package fakeclaude

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/fakeclaude/fault"
)

// delivery sends one response and injects one fault into it.
type delivery struct {
	call  *call
	resp  response
	fault fault.Fault
	wire  *wire

	status  int   // that was sent; 0 before the response header
	started bool  // the first token was sent
	events  int   // that were sent, without pings that fill a silence
	tokens  int64 // output tokens that were sent
}

// errCut means that a fault ended the response as intended.
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

// run sends the response. It returns nil if all of it was sent, errCut or errAbort if a fault cut
// it, and any other error if the client left.
func (d *delivery) run(ctx context.Context) error {
	send := d.sendPlain
	if d.resp.events != nil {
		send = d.sendStream
	}
	err := send(ctx)
	if d.started && d.tokens > 0 {
		d.call.account.spendOutput(d.call.model, d.tokens, d.now())
	}
	return err
}

func (d *delivery) now() time.Time { return d.call.server.clock.Now() }

func (d *delivery) sleep(ctx context.Context, t time.Duration) error {
	return d.call.server.clock.Sleep(ctx, t)
}

func (d *delivery) sendStream(ctx context.Context) error {
	injectAt := injectionIndex(d.fault, d.resp.events)
	if injectAt == beforeHeader {
		if err := d.inject(ctx); err != nil {
			return err
		}
	}
	if err := d.sleep(ctx, d.resp.prefill); err != nil {
		return err
	}
	d.writeHeader(-1)
	if err := d.wire.flush(); err != nil {
		return err
	}
	interval := time.Duration(d.call.settings.TokenInterval)
	for i, e := range d.resp.events {
		if i == injectAt {
			if err := d.inject(ctx); err != nil {
				return err
			}
		}
		if err := d.pause(ctx, time.Duration(e.tokens)*interval); err != nil {
			return err
		}
		d.start()
		if err := d.wire.send(ctx, e.frame); err != nil {
			return err
		}
		d.events++
		d.tokens += e.tokens
	}
	if injectAt == len(d.resp.events) {
		if err := d.inject(ctx); err != nil {
			return err
		}
	}
	return d.wire.finish()
}

// pause waits between two events. It fills a long silence with pings.
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

// start marks the first token. From here on, other requests can read what this one writes to the
// prompt cache.
func (d *delivery) start() {
	if d.started {
		return
	}
	d.started = true
	if d.resp.begin != nil {
		d.resp.begin()
	}
}

func (d *delivery) sendPlain(ctx context.Context) error {
	injectAt := never
	if !d.resp.replaced && d.fault.Kind != fault.Error {
		injectAt = injectionOffset(d.fault, len(d.resp.body))
	}
	if injectAt == beforeHeader {
		if err := d.inject(ctx); err != nil {
			return err
		}
	}
	if err := d.sleep(ctx, d.resp.prefill); err != nil {
		return err
	}
	d.start()
	if err := d.sleep(ctx, time.Duration(d.resp.tokens)*time.Duration(d.call.settings.TokenInterval)); err != nil {
		return err
	}
	body, length := d.framedBody(injectAt)
	d.writeHeader(length)
	d.tokens = d.resp.tokens
	if injectAt >= 0 && injectAt < len(body) {
		if err := d.wire.send(ctx, body[:injectAt]); err != nil {
			return err
		}
		if err := d.inject(ctx); err != nil {
			return err
		}
		body = body[injectAt:]
	}
	if err := d.wire.send(ctx, body); err != nil {
		return err
	}
	return d.wire.finish()
}

// framedBody returns the body and its Content-Length, -1 for none. A malformed body is truncated
// and has the length of what is left.
func (d *delivery) framedBody(injectAt int) ([]byte, int) {
	body := d.resp.body
	switch {
	case d.fault.Kind == fault.Malformed:
		return body[:injectAt], injectAt
	case d.resp.status == http.StatusNoContent || d.resp.status == http.StatusNotModified:
		return nil, -1
	case d.wire.encoder != nil || d.fault.Kind == fault.End || d.resp.media == mediaStream:
		return body, -1
	}
	return body, len(body)
}

// writeHeader sends the status and the headers. With a negative length, package net/http chooses
// the framing.
func (d *delivery) writeHeader(length int) {
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

// recordResult completes the recorded request with the result of run.
func (d *delivery) recordResult(r *RecordedRequest, err error) {
	r.Status, r.Events, r.Fault = d.status, d.events, d.fault.Kind
	r.Model, r.Stream = d.call.model, d.call.stream
	r.Took = Duration(d.now().Sub(d.call.start))
	switch {
	case err == nil && d.resp.replaced:
		r.Outcome = OutcomeReplaced
	case err == nil:
		r.Outcome = OutcomeComplete
	case errors.Is(err, errCut), errors.Is(err, errAbort):
		r.Outcome = OutcomeCut
	default:
		r.Outcome = OutcomeCancelled
	}
	if d.started && d.resp.usage.ServiceTier != "" {
		r.Usage = d.resp.usage
		r.Usage.OutputTokens = d.tokens
	}
}
