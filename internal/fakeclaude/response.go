package fakeclaude

import (
	"net/http"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/claude"
)

// response is everything that one request gets, as a value.
type response struct {
	status   int
	media    string            // Content-Type; "" for JSON or an event stream
	header   map[string]string // besides those that every response has
	body     []byte            // of a plain response
	apiError *claude.Error     // replaces body; gets the id of the request
	events   []event           // of a stream, otherwise nil

	prefill time.Duration // time to the response header
	tokens  int64         // output tokens of a plain body; those of a stream are in its events
	limited bool          // has rate-limit headers
	usage   Usage
	begin   func() // called when the first token is sent; may be nil

	replaced bool // a fault has replaced the normal response
}

const (
	mediaJSON   = "application/json"
	mediaStream = "text/event-stream; charset=utf-8"
)

// withRequestID writes the body of an error, with the id of the request.
func (r response) withRequestID(id string) response {
	if r.apiError != nil {
		apiError := *r.apiError
		apiError.RequestID = id
		r.body = apiError.AppendJSON(nil)
	}
	return r
}

// errorResponse returns an error in the format of the API.
func errorResponse(status int, kind claude.ErrorType, message string) response {
	return response{status: status, apiError: &claude.Error{Type: kind, Message: message}}
}

func invalidRequest(message string) response {
	return errorResponse(http.StatusBadRequest, claude.ErrInvalidRequest, message)
}
