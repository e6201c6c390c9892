package fakeclaude

import (
	"context"
	"math"
	"net/http"
	"strings"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/claude"
	"github.com/9bingyin/claude-code-lb/internal/fakeclaude/fault"
)

// Injection positions besides the number of events or bytes that are sent before the fault.
const (
	beforeHeader = -1
	never        = math.MinInt
)

// faultResponse returns the response that a fault sends instead of the normal one; false if the
// fault only changes the normal one. Such a request costs nothing: neither the rate limits nor the
// cache see it.
func faultResponse(f fault.Fault, c *call) (response, bool) {
	resp := response{
		status:   http.StatusOK,
		media:    mediaJSON,
		prefill:  time.Duration(f.Delay),
		limited:  strings.HasPrefix(c.request.URL.Path, claude.MessagesPath),
		replaced: true,
	}
	switch {
	case f.Kind == fault.Status:
		resp.status, resp.body, resp.apiError = f.Status, []byte(f.Body), f.APIError()
	case f.Kind == fault.Error && !c.stream:
		resp.apiError = f.APIError()
		resp.status = claude.StatusForType(resp.apiError.Type)
	case f.Kind == fault.HTML:
		resp.media = "text/html; charset=utf-8"
		if f.Status != 0 {
			resp.status = f.Status
		}
		resp.body = f.Page(resp.status)
	case f.Kind == fault.Shape:
		var isStream bool
		if resp.body, isStream = f.ShapeBody(c.stream); isStream {
			resp.media = mediaStream
		}
	case f.Kind == fault.Empty && c.stream:
		resp.media = mediaStream
	case f.Kind == fault.Empty:
	default:
		return response{}, false
	}
	return resp, true
}

// inDialect writes a response in the dialect of a fault. Error responses stay as they are.
func inDialect(f fault.Fault, resp response) response {
	if resp.events == nil {
		if !resp.replaced && resp.apiError == nil {
			resp.body = f.RewriteBody(resp.body)
		}
		return resp
	}
	events := make([]event, len(resp.events))
	for i, e := range resp.events {
		e.frame = f.RewriteEvent(e.frame, i == 0, i == len(events)-1)
		events[i] = e
	}
	resp.events = events
	return resp
}

// inject lets the fault happen at the position that the delivery has reached. It returns nil if the
// response continues after it.
func (d *delivery) inject(ctx context.Context) error {
	f := d.fault
	delay := time.Duration(f.Delay)
	switch f.Kind {
	case fault.Stall:
		return d.stall(ctx, delay)
	case fault.Slow:
		if d.status == 0 || d.resp.events == nil {
			return d.sleep(ctx, delay)
		}
		return d.pause(ctx, delay)
	}
	if err := d.sleep(ctx, delay); err != nil {
		return err
	}
	switch f.Kind {
	case fault.Reset, fault.Close:
		if err := d.wire.breakConnection(f.Kind == fault.Reset); err != nil {
			return err
		}
		return errCut
	case fault.End:
		if err := d.wire.finish(); err != nil {
			return err
		}
		return errCut
	case fault.Error:
		apiError := f.APIError()
		apiError.RequestID = d.call.id
		if err := d.wire.send(ctx, apiError.AppendEvent(nil)); err != nil {
			return err
		}
		return errCut
	case fault.Malformed:
		return d.wire.send(ctx, fault.MalformedEvent())
	}
	return nil
}

// stall waits for t, or if t is 0 until the client or the server gives up.
func (d *delivery) stall(ctx context.Context, t time.Duration) error {
	if t > 0 {
		return d.sleep(ctx, t)
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-d.call.server.closed:
		return errAbort
	}
}

// injectionIndex returns the number of events of a stream that are sent before the fault,
// beforeHeader, or never.
func injectionIndex(f fault.Fault, events []event) int {
	if !f.Kind.HasPoint() {
		return never
	}
	point := f.Point()
	if n, ok := point.EventIndex(); ok {
		return min(n, len(events))
	}
	endOfContent := len(events) - 2
	switch point {
	case fault.AtStart:
		if f.Kind == fault.Error || f.Kind == fault.End || f.Kind == fault.Malformed {
			return 0 // these need a response header
		}
		return beforeHeader
	case fault.AtHeaders:
		return 0
	case fault.AtMessageDelta:
		return len(events) - 1
	}
	for i, e := range events {
		if isPointAfter(point, e) {
			return i + 1
		}
	}
	return endOfContent
}

// isPointAfter reports whether the point is the position after this event, if it is the first of
// its kind.
func isPointAfter(p fault.Point, e event) bool {
	switch p {
	case fault.AtMessageStart:
		return e.name == "message_start"
	case fault.AtBlockStart:
		return e.name == "content_block_start"
	case fault.AtMidText:
		return e.name == "content_block_delta" && e.block == "text"
	case fault.AtFirstBlock:
		return e.name == "content_block_stop"
	case fault.AtToolBlock:
		return e.name == "content_block_stop" && e.block == "tool_use"
	}
	return false
}

// injectionOffset returns the number of bytes of a plain body that are sent before the fault,
// beforeHeader, or never. A plain body has no events, so that each point has a share of its size.
func injectionOffset(f fault.Fault, size int) int {
	if !f.Kind.HasPoint() {
		return never
	}
	point := f.Point()
	if n, ok := point.EventIndex(); ok {
		return min(n, size-1)
	}
	switch point {
	case fault.AtStart:
		if f.Kind == fault.End || f.Kind == fault.Malformed {
			return 0
		}
		return beforeHeader
	case fault.AtHeaders:
		return 0
	case fault.AtMessageStart:
		return size / 10
	case fault.AtBlockStart:
		return size / 4
	case fault.AtMidText:
		return size / 3
	case fault.AtFirstBlock:
		return size / 2
	case fault.AtToolBlock:
		return size * 3 / 4
	}
	return size - 1
}
