package proxy

import (
	"net/http"
	"strconv"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/claude"
)

// WriteError sends an error of the balancer in the form of the Messages API and returns its status.
// A wait above 0 becomes a Retry-After header of at most 60 seconds: Claude Code gives up at once
// on more.
func WriteError(w http.ResponseWriter, status int, wait time.Duration, e claude.Error) int {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	if e.RequestID != "" && h.Get("Request-Id") == "" {
		h.Set("Request-Id", e.RequestID)
	}
	if wait > 0 {
		h.Set("Retry-After", seconds(wait))
	}
	if isFinal(status) && h.Get("X-Should-Retry") == "" {
		// Claude Code would try for minutes to get past a 401 or 403 before it shows the message.
		h.Set("X-Should-Retry", "false")
	}
	body := e.AppendJSON(nil)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	w.Write(body)
	return status
}

// isFinal reports whether a retry by the client would get the same error from the balancer.
func isFinal(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusConflict, http.StatusTooManyRequests:
		return false
	}
	return http.StatusBadRequest <= status && status < http.StatusInternalServerError
}

// sendError sends an error of the balancer: as an error event if keep-alive comments have opened
// the response, else with a status.
func (x *exchange) sendError(opened bool, status int, wait time.Duration, e claude.Error) {
	e.RequestID = x.req.ID
	if opened {
		x.sendErrorEvent(e)
		return
	}
	x.entry.Status = WriteError(x.client.w, status, wait, e)
}

// sendErrorEvent ends a response that keep-alive comments have opened with an error event.
func (x *exchange) sendErrorEvent(e claude.Error) {
	x.entry.Status = http.StatusOK
	_ = x.client.send(e.AppendEvent(nil))
}

// preventRetry keeps the official SDKs from repeating the request by themselves.
func (x *exchange) preventRetry() { x.client.w.Header().Set("X-Should-Retry", "false") }

// seconds formats a wait for a Retry-After header: whole seconds, rounded up, at most
// maxRetryAfter.
func seconds(wait time.Duration) string {
	return strconv.Itoa(int((min(wait, maxRetryAfter) + time.Second - 1) / time.Second))
}

// wholeSeconds formats a wait of any length for a Retry-After header: rounded up, at least a
// second.
func wholeSeconds(wait time.Duration) string {
	return strconv.FormatInt(max(int64((wait+time.Second-1)/time.Second), 1), 10)
}
