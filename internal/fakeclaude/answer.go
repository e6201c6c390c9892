package fakeclaude

import (
	"net/http"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/claude"
)

// answer is all that is to be sent for one request, as a value.
type answer struct {
	status  int
	media   string            // Content-Type
	kind    string            // Content-Type of what is no JSON, else ""
	header  map[string]string // besides those every answer has
	body    []byte            // of a plain answer
	problem *claude.Error     // an error in place of body; gets the request's id
	events  []event           // of a stream, otherwise nil

	prefill time.Duration // to the head
	tokens  int64         // output tokens of a plain body; a stream's are on its events
	limited bool          // carries rate-limit headers
	usage   Usage
	begin   func() // called when the first token goes out; may be nil

	replaced bool // a fault took the place of the deserved answer
}

const (
	mediaJSON   = "application/json"
	mediaStream = "text/event-stream; charset=utf-8"
)

// signed puts the request's id into an error.
func (a answer) signed(id string) answer {
	if a.problem != nil {
		problem := *a.problem
		problem.RequestID = id
		a.body = problem.AppendJSON(nil)
	}
	return a
}

// failure is an answer in the API's error shape.
func failure(status int, kind claude.ErrorType, message string) answer {
	return answer{status: status, problem: &claude.Error{Type: kind, Message: message}}
}

func invalid(message string) answer {
	return failure(http.StatusBadRequest, claude.ErrInvalidRequest, message)
}
