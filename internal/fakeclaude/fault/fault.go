// Package fault describes what can go wrong with a response, in which requests, and how a user
// writes it down.
//
// A Fault is one thing that goes wrong with one response, a Rule states the requests that it
// applies to, and a Schedule holds the rules and the script of a server. All of it is data: package
// fakeclaude injects the faults.
package fault

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// Kind is what goes wrong.
type Kind string

// The kinds of fault. The default of a kind that takes a Point is in parentheses.
const (
	None      Kind = ""          // nothing goes wrong
	Status    Kind = "status"    // any status, with an error body of the API or with Body
	Error     Kind = "error"     // an error event in a stream (headers); a plain response gets the status of the type
	Empty     Kind = "empty"     // status 200 without a body
	Stall     Kind = "stall"     // silence (start), without end or for Delay
	Reset     Kind = "reset"     // TCP RST (start), RST_STREAM in HTTP/2
	Close     Kind = "close"     // the connection is closed before the response ends (start)
	End       Kind = "end"       // the response ends early but cleanly (message_delta: a stream without message_stop)
	Slow      Kind = "slow"      // Delay longer than usual (start), with the pings of a slow response
	Trickle   Kind = "trickle"   // the body is sent in pieces of Bytes with Delay between them
	HTML      Kind = "html"      // a web page, with status 200 or Status
	Gzip      Kind = "gzip"      // a compressed body, whether the client accepts it or not
	Malformed Kind = "malformed" // an event of broken JSON (message_start), then the rest; a plain response is truncated
	Shape     Kind = "shape"     // status 200 with a body that is not a response of the API: one of Shapes
	Dialect   Kind = "dialect"   // a healthy response, written in one of Dialects
)

// Kinds lists the kinds in the order of the documentation.
func Kinds() []Kind {
	return []Kind{Status, Error, Empty, Stall, Reset, Close, End, Slow, Trickle, HTML, Gzip, Malformed, Shape, Dialect}
}

// HasPoint reports whether the kind happens at a point of the response.
func (k Kind) HasPoint() bool { return slices.Contains(kindsWith("at"), k) }

// Codings lists the codings of Gzip by their names in Content-Encoding, the default first.
func Codings() []string { return []string{"gzip", "deflate", "br", "zstd"} }

// Fault is one thing that goes wrong with one response. The zero value is a healthy response.
type Fault struct {
	Kind Kind  `json:"kind"`
	At   Point `json:"at,omitempty"`

	Status  int    `json:"status,omitempty"`  // of Status and HTML
	Type    string `json:"type,omitempty"`    // error type; default: that of the status, overloaded_error in a stream
	Message string `json:"message,omitempty"` // error message
	Code    string `json:"code,omitempty"`    // error.details.error_code
	Body    string `json:"body,omitempty"`    // of Status and HTML: sent unchanged

	Headers map[string]string `json:"headers,omitempty"` // set on the response; an empty value removes a header
	Bare    bool              `json:"bare,omitempty"`    // no rate-limit headers

	// Delay is the length of a stall or of slowness, and the pause between the pieces of a trickle.
	// For the other kinds, except gzip and dialect, it is the wait before the fault.
	Delay  Duration `json:"delay,omitempty"`
	Bytes  int      `json:"bytes,omitempty"`  // of Trickle: size of a piece; default 16
	Coding string   `json:"coding,omitempty"` // of Gzip: one of Codings; default gzip
	Form   string   `json:"form,omitempty"`   // of Shape and Dialect: one of Shapes or Dialects
}

// Validate returns an error that describes what is wrong with the fault.
func (f Fault) Validate() error {
	if f.Kind == None {
		if len(f.usedFields()) > 0 {
			return errors.New("fault: kind is missing")
		}
		return nil
	}
	if !slices.Contains(Kinds(), f.Kind) {
		return fmt.Errorf("fault: unknown kind %q (known: %s)", f.Kind, Join(Kinds()))
	}
	for _, field := range f.usedFields() {
		if kinds := kindsWith(field); kinds != nil && !slices.Contains(kinds, f.Kind) {
			return fmt.Errorf("fault %s: %s has no meaning here (only with %s)", f.Kind, field, Join(kinds))
		}
	}
	if f.At != "" && !f.At.valid() {
		return fmt.Errorf("fault %s: unknown point %q (known: %s, event:N)", f.Kind, f.At, Join(Points()))
	}
	if err := f.validateValues(); err != nil {
		return err
	}
	for name, value := range f.Headers {
		if !validHeader(name, value) {
			return fmt.Errorf("fault %s: header %q is not valid", f.Kind, name)
		}
	}
	return nil
}

func (f Fault) validateValues() error {
	switch {
	case f.Kind == Status && f.Status == 0:
		return errors.New("fault status: status is missing")
	case f.Status != 0 && (f.Status < 200 || f.Status > 599):
		return fmt.Errorf("fault %s: status %d is outside 200 to 599", f.Kind, f.Status)
	case f.Delay < 0:
		return fmt.Errorf("fault %s: delay is negative", f.Kind)
	case f.Delay == 0 && (f.Kind == Slow || f.Kind == Trickle):
		return fmt.Errorf("fault %s: delay is missing", f.Kind)
	case f.Bytes < 0:
		return fmt.Errorf("fault %s: bytes is negative", f.Kind)
	case f.Coding != "" && !slices.Contains(Codings(), f.Coding):
		return fmt.Errorf("fault %s: unknown coding %q (known: %s)", f.Kind, f.Coding, Join(Codings()))
	case f.Kind == Shape && !slices.Contains(Shapes(), f.Form):
		return fmt.Errorf("fault shape: unknown shape %q (known: %s)", f.Form, Join(Shapes()))
	case f.Kind == Dialect && !slices.Contains(Dialects(), f.Form):
		return fmt.Errorf("fault dialect: unknown dialect %q (known: %s)", f.Form, Join(Dialects()))
	}
	return nil
}

// usedFields names the fields, besides the kind, that are not zero.
func (f Fault) usedFields() []string {
	var names []string
	for _, field := range []struct {
		name string
		used bool
	}{
		{"at", f.At != ""}, {"status", f.Status != 0}, {"type", f.Type != ""}, {"message", f.Message != ""},
		{"code", f.Code != ""}, {"body", f.Body != ""}, {"bytes", f.Bytes != 0}, {"coding", f.Coding != ""},
		{"form", f.Form != ""}, {"headers", len(f.Headers) > 0}, {"bare", f.Bare}, {"delay", f.Delay != 0},
	} {
		if field.used {
			names = append(names, field.name)
		}
	}
	return names
}

// kindsWith returns the kinds that use a field; nil if all of them do.
func kindsWith(field string) []Kind {
	switch field {
	case "at":
		return []Kind{Error, Stall, Reset, Close, End, Slow, Malformed}
	case "status", "body":
		return []Kind{Status, HTML}
	case "type", "message", "code":
		return []Kind{Status, Error}
	case "bytes":
		return []Kind{Trickle}
	case "coding":
		return []Kind{Gzip}
	case "form":
		return []Kind{Shape, Dialect}
	case "delay":
		return slices.DeleteFunc(Kinds(), func(k Kind) bool { return k == Gzip || k == Dialect })
	}
	return nil
}

// validHeader reports whether a fault may set the header. It must not set Content-Length.
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

// Point is a position in a response: one of the constants below, or EventPoint(n). A point that the
// response turns out not to have (no text, no tool call) is the end of its content.
type Point string

// The named points.
const (
	AtStart        Point = "start"         // before the response header
	AtHeaders      Point = "headers"       // after the response header
	AtMessageStart Point = "message_start" // after that event
	AtBlockStart   Point = "block_start"   // after the first content_block_start
	AtMidText      Point = "mid_text"      // between two deltas of the first text
	AtFirstBlock   Point = "first_block"   // after the first content_block_stop
	AtToolBlock    Point = "tool_block"    // after a complete tool call, which the response has if the request has tools
	AtMessageDelta Point = "message_delta" // after that event, so that only message_stop is missing
)

// Points lists the named points in the order of a response.
func Points() []Point {
	return []Point{AtStart, AtHeaders, AtMessageStart, AtBlockStart, AtMidText, AtFirstBlock, AtToolBlock, AtMessageDelta}
}

// EventPoint is the position after the nth event of a stream. Pings that fill a silence do not
// count.
func EventPoint(n int) Point { return Point("event:" + strconv.Itoa(n)) }

// EventIndex returns n if the point is EventPoint(n).
func (p Point) EventIndex() (n int, ok bool) {
	digits, ok := strings.CutPrefix(string(p), "event:")
	n, err := strconv.Atoi(digits)
	return n, ok && err == nil && n >= 0 && EventPoint(n) == p
}

func (p Point) valid() bool {
	_, isEvent := p.EventIndex()
	return isEvent || slices.Contains(Points(), p)
}

// Point returns the position at which the fault happens: At, or the default of its kind.
func (f Fault) Point() Point {
	if f.At != "" {
		return f.At
	}
	switch f.Kind {
	case Error:
		return AtHeaders
	case End:
		return AtMessageDelta
	case Malformed:
		return AtMessageStart
	}
	return AtStart
}
