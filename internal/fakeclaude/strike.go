package fakeclaude

import (
	"context"
	"math"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/claude"
)

const (
	beforeHead = -1
	never      = math.MinInt
)

// replacement is the answer that stands in place of the deserved one, for the
// faults that leave nothing of it. A refused request costs nothing: it touches
// neither the limits nor the cache.
func (f Fault) replacement(c *call) (answer, bool) {
	ans := answer{
		status:   http.StatusOK,
		media:    mediaJSON,
		prefill:  time.Duration(f.Delay),
		limited:  strings.HasPrefix(c.request.URL.Path, "/v1/messages"),
		replaced: true,
	}
	switch {
	case f.Kind == FaultStatus:
		ans.status, ans.body, ans.problem = f.Status, []byte(f.Body), f.problem()
	case f.Kind == FaultError && !c.stream:
		ans.problem = f.problem()
		ans.status = claude.StatusForType(ans.problem.Type)
	case f.Kind == FaultHTML:
		ans.media = "text/html; charset=utf-8"
		if f.Status != 0 {
			ans.status = f.Status
		}
		ans.body = f.page(ans.status)
	case f.Kind == FaultShape:
		ans = f.shaped(c, ans)
	case f.Kind == FaultEmpty && c.stream:
		ans.media = mediaStream
	case f.Kind == FaultEmpty:
	default:
		return answer{}, false
	}
	return ans, true
}

// inject lets the fault happen at the point the delivery has reached. It returns
// nil when the answer goes on after it.
func (d *delivery) inject(ctx context.Context) error {
	f := d.fault
	delay := time.Duration(f.Delay)
	switch f.Kind {
	case FaultStall:
		return d.stall(ctx, delay)
	case FaultSlow:
		if d.status == 0 || d.ans.events == nil {
			return d.sleep(ctx, delay)
		}
		return d.pause(ctx, delay)
	}
	if err := d.sleep(ctx, delay); err != nil {
		return err
	}
	switch f.Kind {
	case FaultReset, FaultClose:
		if err := d.wire.sever(f.Kind == FaultReset); err != nil {
			return err
		}
		return errCut
	case FaultEnd:
		if err := d.wire.finish(); err != nil {
			return err
		}
		return errCut
	case FaultError:
		problem := f.problem()
		problem.RequestID = d.call.id
		if err := d.wire.send(ctx, problem.AppendEvent(nil)); err != nil {
			return err
		}
		return errCut
	case FaultMalformed:
		return d.wire.send(ctx, newEvent("content_block_delta",
			[]byte(`{"type":"content_block_delta","index":0,"delta":{"type":"text_de`)).frame)
	}
	return nil
}

// stall is silent for ever, that is until the client or the server gives up, or
// for a time.
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

// streamIndex is the number of events after which the fault strikes, beforeHead, or
// never.
func (f Fault) streamIndex(events []event) int {
	if !f.Kind.hasPoint() {
		return never
	}
	point := f.point()
	if n, ok := point.event(); ok {
		return min(n, len(events))
	}
	endOfContent := len(events) - 2
	switch point {
	case AtStart:
		if f.Kind == FaultError || f.Kind == FaultEnd || f.Kind == FaultMalformed {
			return 0 // these need a head
		}
		return beforeHead
	case AtHeaders:
		return 0
	case AtMessageDelta:
		return len(events) - 1
	}
	for i, e := range events {
		if pointAfter(point, e) {
			return i + 1
		}
	}
	return endOfContent
}

// pointAfter reports whether the point is the place after this event, the first of
// its kind.
func pointAfter(p Point, e event) bool {
	switch p {
	case AtMessageStart:
		return e.name == "message_start"
	case AtBlockStart:
		return e.name == "content_block_start"
	case AtMidText:
		return e.name == "content_block_delta" && e.block == "text"
	case AtFirstBlock:
		return e.name == "content_block_stop"
	case AtToolBlock:
		return e.name == "content_block_stop" && e.block == "tool_use"
	}
	return false
}

// plainOffset is the same place in a plain body of the given size: the share of it
// that has gone out.
func (f Fault) plainOffset(size int) int {
	if !f.Kind.hasPoint() {
		return never
	}
	point := f.point()
	if n, ok := point.event(); ok {
		return min(n, size-1)
	}
	switch point {
	case AtStart:
		if f.Kind == FaultEnd || f.Kind == FaultMalformed {
			return 0
		}
		return beforeHead
	case AtHeaders:
		return 0
	case AtMessageStart:
		return size / 10
	case AtBlockStart:
		return size / 4
	case AtMidText:
		return size / 3
	case AtFirstBlock:
		return size / 2
	case AtToolBlock:
		return size * 3 / 4
	}
	return size - 1
}

// hasPoint reports whether the kind happens at a point of the answer.
func (k FaultKind) hasPoint() bool { return slices.Contains(kindsWith("at"), k) }

// problem is the error that the fault sends; nil when it brings a body of its own.
func (f Fault) problem() *claude.Error {
	if f.Body != "" {
		return nil
	}
	e := &claude.Error{Type: claude.ErrorType(f.Type), Message: f.Message, Code: f.Code}
	switch {
	case e.Type == "" && f.Status != 0:
		e.Type = claude.TypeForStatus(f.Status)
	case e.Type == "":
		e.Type = claude.ErrOverloaded
	}
	if e.Message == "" {
		e.Message = usualMessage(e.Type)
	}
	return e
}

// usualMessage is what an error of this type says.
func usualMessage(kind claude.ErrorType) string {
	switch kind {
	case claude.ErrAuthentication:
		return "invalid x-api-key"
	case claude.ErrBilling:
		return "There is an issue with your payment method"
	case claude.ErrPermission:
		return "Your API key does not have permission to use the specified resource"
	case claude.ErrNotFound:
		return "Not found"
	case claude.ErrTooLarge:
		return "Request exceeds the maximum size"
	case claude.ErrRateLimit:
		return "This request would exceed your organization's rate limit"
	case claude.ErrTimeout:
		return "The request took too long to process"
	case claude.ErrOverloaded:
		return "Overloaded"
	case claude.ErrAPI:
		return "Internal server error"
	}
	return "Invalid request"
}

func (f Fault) page(status int) []byte {
	if f.Body != "" {
		return []byte(f.Body)
	}
	title := http.StatusText(status)
	return []byte("<!DOCTYPE html>\n<html><head><title>" + title + "</title></head>\n<body><h1>" + title +
		"</h1><hr><center>cloudflare</center></body></html>\n")
}
