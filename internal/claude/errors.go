package claude

import (
	"bytes"
	"encoding/json"
	"net/http"
)

// ErrorType is the machine-readable part of an error. The set is open (api/errors docs).
type ErrorType string

// The documented error types.
const (
	ErrInvalidRequest ErrorType = "invalid_request_error"
	ErrAuthentication ErrorType = "authentication_error"
	ErrBilling        ErrorType = "billing_error"
	ErrPermission     ErrorType = "permission_error"
	ErrNotFound       ErrorType = "not_found_error"
	ErrConflict       ErrorType = "conflict_error"
	ErrTooLarge       ErrorType = "request_too_large"
	ErrRateLimit      ErrorType = "rate_limit_error"
	ErrAPI            ErrorType = "api_error"
	ErrTimeout        ErrorType = "timeout_error"
	ErrOverloaded     ErrorType = "overloaded_error"
)

// StatusOverloaded is the status of ErrOverloaded; net/http has no name for it.
const StatusOverloaded = 529

// Error is the error envelope of the Messages API (api/errors docs): the body of an
// error status, and the data of an error event.
type Error struct {
	Type      ErrorType
	Message   string
	Code      string // error.details.error_code, finer than Type; mostly ""
	RequestID string
}

// ParseError reads an error envelope. It accepts parts that are missing or of the wrong type. If
// error is a string, as some relays write it, it is the Message, and the Type is "". ParseError
// returns false if body is not an envelope: not a JSON object, of another type than "error", or
// without an error.
func ParseError(body []byte) (Error, bool) {
	var e Error
	kind, found := "error", false
	s := scanner{text: body}
	for name := range s.document {
		switch string(name) {
		case "type":
			s.replace(&kind)
		case "error":
			found = e.scan(&s)
		case "request_id":
			e.RequestID, _ = s.string()
		}
	}
	if s.err != nil || kind != "error" || !found {
		return Error{}, false
	}
	return e, true
}

// scan reads the value of the member error and reports whether it can be an error.
func (e *Error) scan(s *scanner) bool {
	e.Type, e.Message, e.Code = "", "", ""
	if s.peek() != '{' {
		var ok bool
		e.Message, ok = s.string()
		return ok
	}
	for name := range s.members {
		switch string(name) {
		case "type":
			kind, _ := s.string()
			e.Type = ErrorType(kind)
		case "message":
			e.Message, _ = s.string()
		case "details":
			e.scanDetails(s)
		}
	}
	return true
}

func (e *Error) scanDetails(s *scanner) {
	e.Code = ""
	for name := range s.members {
		if string(name) == "error_code" {
			e.Code, _ = s.string()
		}
	}
}

// envelope is the JSON form of Error.
type envelope struct {
	Type      string        `json:"type"`
	Error     envelopeError `json:"error"`
	RequestID string        `json:"request_id,omitempty"`
}

type envelopeError struct {
	Type    ErrorType        `json:"type"`
	Message string           `json:"message"`
	Details *envelopeDetails `json:"details,omitempty"`
}

type envelopeDetails struct {
	ErrorCode string `json:"error_code"`
}

// AppendJSON appends the envelope, on one line and without a line end. An empty Type is written as
// ErrAPI.
func (e Error) AppendJSON(dst []byte) []byte {
	out := envelope{Type: "error", Error: envelopeError{Type: e.Type, Message: e.Message}, RequestID: e.RequestID}
	if e.Type == "" {
		out.Error.Type = ErrAPI
	}
	if e.Code != "" {
		out.Error.Details = &envelopeDetails{ErrorCode: e.Code}
	}
	buf := bytes.NewBuffer(dst)
	enc := json.NewEncoder(buf)
	enc.SetEscapeHTML(false) // clients match messages by their wording, some of them before decoding
	if err := enc.Encode(out); err != nil {
		panic("claude: encode an error of strings: " + err.Error()) // there is no string that cannot be encoded
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n"))
}

// AppendEvent appends the envelope as a whole server-sent event.
func (e Error) AppendEvent(dst []byte) []byte {
	dst = append(dst, "event: error\ndata: "...)
	return append(e.AppendJSON(dst), "\n\n"...)
}

// TypeForStatus is the error type that the API sends with an error status (api/errors docs).
func TypeForStatus(status int) ErrorType {
	switch status {
	case http.StatusUnauthorized:
		return ErrAuthentication
	case http.StatusPaymentRequired:
		return ErrBilling
	case http.StatusForbidden:
		return ErrPermission
	case http.StatusNotFound:
		return ErrNotFound
	case http.StatusConflict:
		return ErrConflict
	case http.StatusRequestEntityTooLarge:
		return ErrTooLarge
	case http.StatusTooManyRequests:
		return ErrRateLimit
	case http.StatusGatewayTimeout:
		return ErrTimeout
	case StatusOverloaded:
		return ErrOverloaded
	}
	if 400 <= status && status < 500 {
		return ErrInvalidRequest
	}
	return ErrAPI
}

// StatusForType is the status that the API sends with an error type: the inverse of
// TypeForStatus. An unknown type counts as the upstream's fault, 500.
func StatusForType(t ErrorType) int {
	switch t {
	case ErrInvalidRequest:
		return http.StatusBadRequest
	case ErrAuthentication:
		return http.StatusUnauthorized
	case ErrBilling:
		return http.StatusPaymentRequired
	case ErrPermission:
		return http.StatusForbidden
	case ErrNotFound:
		return http.StatusNotFound
	case ErrConflict:
		return http.StatusConflict
	case ErrTooLarge:
		return http.StatusRequestEntityTooLarge
	case ErrRateLimit:
		return http.StatusTooManyRequests
	case ErrTimeout:
		return http.StatusGatewayTimeout
	case ErrOverloaded:
		return StatusOverloaded
	default:
		return http.StatusInternalServerError
	}
}
