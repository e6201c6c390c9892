package fault

import (
	"net/http"

	"github.com/9bingyin/claude-code-lb/internal/claude"
)

// APIError returns the error that the fault sends; nil if Body replaces it.
func (f Fault) APIError() *claude.Error {
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
		e.Message = defaultMessage(e.Type)
	}
	return e
}

// defaultMessage returns the message that the API sends with an error type.
func defaultMessage(kind claude.ErrorType) string {
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

// Page returns the web page of an HTML fault with this status.
func (f Fault) Page(status int) []byte {
	if f.Body != "" {
		return []byte(f.Body)
	}
	title := http.StatusText(status)
	return []byte("<!DOCTYPE html>\n<html><head><title>" + title + "</title></head>\n<body><h1>" + title +
		"</h1><hr><center>cloudflare</center></body></html>\n")
}

// MalformedEvent returns the event of broken JSON that a Malformed fault inserts into a stream.
func MalformedEvent() []byte {
	return []byte("event: content_block_delta\n" + `data: {"type":"content_block_delta","index":0,"delta":{"type":"text_de` + "\n\n")
}

// Shapes lists the forms of a Shape fault: bodies that come with status 200 in place of a response
// of the API.
//
//	code     an error code of a vendor
//	openai   a completion in OpenAI's format, plain or as a stream
//	wrapped  a message inside another object
//	blank    a message with neither content nor output tokens
func Shapes() []string { return []string{"code", "openai", "wrapped", "blank"} }

// ShapeBody returns the body of a Shape fault, and whether it is an event stream. stream states
// whether the request asks for one.
func (f Fault) ShapeBody(stream bool) (body []byte, isStream bool) {
	const (
		message = `{"id":"msg_1","type":"message","role":"assistant","model":"m","content":[],"stop_reason":"end_turn",` +
			`"stop_sequence":null,"usage":{"input_tokens":0,"output_tokens":0}}`
		chunk = `data: {"id":"c1","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"hi"}}]}` + "\n\n"
		start = "event: message_start\ndata: " + `{"type":"message_start","message":` + message + "}\n\n"
		end   = "event: message_delta\ndata: " + `{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":0}}` +
			"\n\nevent: message_stop\ndata: " + `{"type":"message_stop"}` + "\n\n"
	)
	switch {
	case f.Form == "code":
		return []byte(`{"code":500,"msg":"404 NOT_FOUND","success":false}`), false
	case f.Form == "wrapped":
		return []byte(`{"code":0,"data":` + message + `}`), false
	case f.Form == "openai" && stream:
		return []byte(chunk + chunk + "data: [DONE]\n\n"), true
	case f.Form == "openai":
		return []byte(`{"id":"c1","object":"chat.completion","choices":[{"message":{"role":"assistant","content":"hi"}}]}`), false
	case stream:
		return []byte(start + end), true
	}
	return []byte(message), false
}
