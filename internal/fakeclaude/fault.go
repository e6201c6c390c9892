package fakeclaude

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// FaultKind is what goes wrong.
type FaultKind string

// The kinds of fault. Where a kind takes a Point, the default is named here.
const (
	FaultNone      FaultKind = ""          // nothing goes wrong
	FaultStatus    FaultKind = "status"    // any status, an error body of the API's shape or a body of your own
	FaultError     FaultKind = "error"     // an error event inside a stream (headers); a plain answer gets the type's status
	FaultEmpty     FaultKind = "empty"     // 200 and not a byte of body
	FaultStall     FaultKind = "stall"     // silence (start), for ever or for Delay
	FaultReset     FaultKind = "reset"     // TCP RST (start), RST_STREAM in HTTP/2
	FaultClose     FaultKind = "close"     // the connection is closed without the end of the answer (start)
	FaultEnd       FaultKind = "end"       // the answer ends early but cleanly (message_delta: a stream without message_stop)
	FaultSlow      FaultKind = "slow"      // Delay more than usual (start), with the pings a slow answer has
	FaultTrickle   FaultKind = "trickle"   // the body comes in pieces of Bytes with Delay between them
	FaultHTML      FaultKind = "html"      // a web page, with 200 unless told otherwise
	FaultGzip      FaultKind = "gzip"      // the body is compressed, asked for or not
	FaultMalformed FaultKind = "malformed" // an event of broken JSON (message_start), then the rest; a plain answer is broken off
	FaultShape     FaultKind = "shape"     // 200 with a body that is not a response of the API: one of Shapes
	FaultDialect   FaultKind = "dialect"   // a healthy answer, written in one of Dialects
)

// FaultKinds lists the kinds in the order of the documentation.
func FaultKinds() []FaultKind {
	return []FaultKind{FaultStatus, FaultError, FaultEmpty, FaultStall, FaultReset, FaultClose, FaultEnd,
		FaultSlow, FaultTrickle, FaultHTML, FaultGzip, FaultMalformed, FaultShape, FaultDialect}
}

// Point is a place in an answer: one of the names below, or EventPoint(n). A point
// that the answer turns out not to have (no text, no tool call) counts as the end
// of its content.
type Point string

// The named points.
const (
	AtStart        Point = "start"         // before the head of the answer
	AtHeaders      Point = "headers"       // after the head
	AtMessageStart Point = "message_start" // after that event
	AtBlockStart   Point = "block_start"   // after the first content_block_start
	AtMidText      Point = "mid_text"      // between two deltas of the first text
	AtFirstBlock   Point = "first_block"   // after the first content_block_stop
	AtToolBlock    Point = "tool_block"    // after a whole tool call, which the answer makes if the request has tools
	AtMessageDelta Point = "message_delta" // after that event, so that only message_stop is missing
)

// Points lists the named points in the order of an answer.
func Points() []Point {
	return []Point{AtStart, AtHeaders, AtMessageStart, AtBlockStart, AtMidText, AtFirstBlock, AtToolBlock, AtMessageDelta}
}

// EventPoint is the place after the nth event of a stream, pings that only fill a silence not counted.
func EventPoint(n int) Point { return Point("event:" + strconv.Itoa(n)) }

func (p Point) event() (int, bool) {
	digits, ok := strings.CutPrefix(string(p), "event:")
	n, err := strconv.Atoi(digits)
	return n, ok && err == nil && n >= 0 && EventPoint(n) == p
}

// Fault is one thing that goes wrong with one answer. The zero value is a healthy answer.
type Fault struct {
	Kind FaultKind `json:"kind"`
	At   Point     `json:"at,omitempty"`

	Status  int    `json:"status,omitempty"`  // of FaultStatus and FaultHTML
	Type    string `json:"type,omitempty"`    // error type; default: the status's own, overloaded_error in a stream
	Message string `json:"message,omitempty"` // error message
	Code    string `json:"code,omitempty"`    // error.details.error_code
	Body    string `json:"body,omitempty"`    // of FaultStatus and FaultHTML: sent as it is

	Headers map[string]string `json:"headers,omitempty"` // set on the answer; an empty value removes one
	Bare    bool              `json:"bare,omitempty"`    // no rate-limit headers

	// Delay is how long a stall or slowness lasts and the pause between the pieces
	// of a trickle; for the other kinds, gzip and dialect aside, the wait before the fault.
	Delay  Duration `json:"delay,omitempty"`
	Bytes  int      `json:"bytes,omitempty"`  // of FaultTrickle; default 16
	Coding string   `json:"coding,omitempty"` // of FaultGzip: one of Codings, the default being gzip
	Form   string   `json:"form,omitempty"`   // of FaultShape and FaultDialect: one of Shapes or Dialects
}

// Validate says what is wrong with a fault.
func (f Fault) Validate() error {
	if f.Kind == FaultNone {
		if len(f.set()) > 0 {
			return errors.New("fault: kind is missing")
		}
		return nil
	}
	if !slices.Contains(FaultKinds(), f.Kind) {
		return fmt.Errorf("fault: unknown kind %q (known: %s)", f.Kind, joined(FaultKinds()))
	}
	for _, field := range f.set() {
		if kinds := kindsWith(field); kinds != nil && !slices.Contains(kinds, f.Kind) {
			return fmt.Errorf("fault %s: %s has no meaning here (only with %s)", f.Kind, field, joined(kinds))
		}
	}
	if _, isEvent := f.At.event(); f.At != "" && !isEvent && !slices.Contains(Points(), f.At) {
		return fmt.Errorf("fault %s: unknown point %q (known: %s, event:N)", f.Kind, f.At, joined(Points()))
	}
	switch {
	case f.Kind == FaultStatus && f.Status == 0:
		return errors.New("fault status: status is missing")
	case f.Status != 0 && (f.Status < 200 || f.Status > 599):
		return fmt.Errorf("fault %s: status %d is outside 200 to 599", f.Kind, f.Status)
	case f.Delay < 0:
		return fmt.Errorf("fault %s: delay is negative", f.Kind)
	case f.Delay == 0 && (f.Kind == FaultSlow || f.Kind == FaultTrickle):
		return fmt.Errorf("fault %s: delay is missing", f.Kind)
	case f.Bytes < 0:
		return fmt.Errorf("fault %s: bytes is negative", f.Kind)
	case f.Coding != "" && !slices.Contains(Codings(), f.Coding):
		return fmt.Errorf("fault %s: unknown coding %q (known: %s)", f.Kind, f.Coding, joined(Codings()))
	case f.Kind == FaultShape && !slices.Contains(Shapes(), f.Form):
		return fmt.Errorf("fault shape: unknown shape %q (known: %s)", f.Form, joined(Shapes()))
	case f.Kind == FaultDialect && !slices.Contains(Dialects(), f.Form):
		return fmt.Errorf("fault dialect: unknown dialect %q (known: %s)", f.Form, joined(Dialects()))
	}
	for name, value := range f.Headers {
		if !validHeader(name, value) {
			return fmt.Errorf("fault %s: header %q is not valid", f.Kind, name)
		}
	}
	return nil
}

// set names the fields that only some kinds have and that are in use.
func (f Fault) set() []string {
	var names []string
	for _, field := range []struct {
		name string
		used bool
	}{
		{"at", f.At != ""}, {"status", f.Status != 0}, {"type", f.Type != ""}, {"message", f.Message != ""},
		{"code", f.Code != ""}, {"body", f.Body != ""}, {"bytes", f.Bytes != 0}, {"coding", f.Coding != ""}, {"form", f.Form != ""},
		{"headers", len(f.Headers) > 0}, {"bare", f.Bare}, {"delay", f.Delay != 0},
	} {
		if field.used {
			names = append(names, field.name)
		}
	}
	return names
}

// kindsWith says which kinds a field belongs to; nil for those that belong to all.
func kindsWith(field string) []FaultKind {
	switch field {
	case "at":
		return []FaultKind{FaultError, FaultStall, FaultReset, FaultClose, FaultEnd, FaultSlow, FaultMalformed}
	case "status", "body":
		return []FaultKind{FaultStatus, FaultHTML}
	case "type", "message", "code":
		return []FaultKind{FaultStatus, FaultError}
	case "bytes":
		return []FaultKind{FaultTrickle}
	case "coding":
		return []FaultKind{FaultGzip}
	case "form":
		return []FaultKind{FaultShape, FaultDialect}
	case "delay":
		return slices.DeleteFunc(FaultKinds(), func(k FaultKind) bool { return k == FaultGzip || k == FaultDialect })
	}
	return nil
}

// point is where the fault strikes.
func (f Fault) point() Point {
	if f.At != "" {
		return f.At
	}
	switch f.Kind {
	case FaultError:
		return AtHeaders
	case FaultEnd:
		return AtMessageDelta
	case FaultMalformed:
		return AtMessageStart
	}
	return AtStart
}

func validHeader(name, value string) bool {
	if name == "" || strings.ContainsAny(value, "\r\n\x00") {
		return false
	}
	for _, c := range []byte(name) {
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`"(),/:;<=>?@[\]{}`, c) >= 0 {
			return false
		}
	}
	return http.CanonicalHeaderKey(name) != "Content-Length"
}

// UnmarshalJSON reads an object or a string in the syntax of ParseFault; null is
// the healthy answer. Unknown fields are errors.
func (f *Fault) UnmarshalJSON(b []byte) error {
	if text, ok := jsonString(b); ok {
		parsed, err := ParseFault(text)
		*f = parsed
		return err
	}
	type plain Fault // without this method
	var p plain
	if err := strictUnmarshal(b, &p); err != nil {
		return fmt.Errorf("fault: %w", err)
	}
	*f = Fault(p)
	return f.Validate()
}

func jsonString(b []byte) (string, bool) {
	if !bytes.HasPrefix(b, []byte(`"`)) {
		return "", false
	}
	var text string
	err := json.Unmarshal(b, &text)
	return text, err == nil
}

// strictUnmarshal refuses unknown fields and trailing data.
func strictUnmarshal(b []byte, into any) error {
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return err
	}
	if _, err := dec.Token(); err != io.EOF {
		return errors.New("more than one JSON value")
	}
	return nil
}

func joined[T ~string](names []T) string {
	parts := make([]string, len(names))
	for i, n := range names {
		parts[i] = string(n)
	}
	return strings.Join(parts, ", ")
}
