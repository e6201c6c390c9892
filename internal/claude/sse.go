package claude

import "bytes"

const (
	defaultMaxData = 1 << 20
	maxEventName   = 128
	maxFieldName   = len("event") + 1 // a longer one is no field that matters
)

// Event is one event of a stream.
type Event struct {
	Name      string // of the event: field, cut at 128 bytes; "" without one, and the official SDKs skip such an event
	Data      []byte // lines joined by LF; valid until emit returns; nil when the event is not wanted
	Truncated bool   // Data is not all of it
	Size      int    // bytes of the data, wanted or not
	End       int    // offset in the fed slice just past the blank line that ends the event
}

// EventScanner finds the events of a text/event-stream that comes in arbitrary
// pieces: the events are the same however the bytes are cut. It frames as the
// official SDKs do: lines end with LF or CRLF, never with CR alone, comments and
// unknown fields do not make an event, and data may stand before the name.
//
// The zero value keeps the data of all events. Memory is bounded by MaxData, and
// an event with one of the documented names costs no allocation. Not safe for concurrent use.
type EventScanner struct {
	Want    func(name string) bool // the events whose data is kept; nil: all
	MaxData int                    // bytes kept of one event's data; 0: 1 MiB

	event pendingEvent
	data  []byte // of the event, reused
	line  pendingLine
	field []byte // name of the line's field so far, while no colon has come; reused
	name  []byte // value of an event: line so far; reused
	begun bool   // bytes came after the last boundary
}

// pendingEvent is what the lines of the present event have told.
type pendingEvent struct {
	name    string
	named   bool
	wanted  bool // holds only when named
	hasData bool
	lost    bool // some data was not kept
	size    int
}

// pendingLine is what the bytes of the present line have told.
type pendingLine struct {
	kind       lineKind
	afterColon bool // a space that comes now is not part of the value
	heldCR     bool // the last byte was a CR: part of the line only if no LF follows
}

type lineKind uint8

const (
	lineUndecided lineKind = iota // no colon yet
	lineName
	lineData
	lineIgnored
)

// Feed takes the next piece of the stream and calls emit for each event that ends
// in it. It returns the offset in p just past the last blank line, which is where
// the stream can be cut without tearing an event or a comment, and 0 when p has none.
func (s *EventScanner) Feed(p []byte, emit func(Event)) (boundary int) {
	for at := 0; at < len(p); {
		s.begun = true
		n := bytes.IndexByte(p[at:], '\n')
		if n < 0 {
			s.take(p[at:])
			break
		}
		s.take(p[at : at+n])
		at += n + 1
		if blank := s.endLine(); blank {
			boundary = at
			s.endEvent(at, emit)
		}
	}
	return boundary
}

// MidEvent reports whether anything, be it part of a comment, was fed after the last blank line.
func (s *EventScanner) MidEvent() bool { return s.begun }

// take takes bytes of the present line.
func (s *EventScanner) take(p []byte) {
	if len(p) == 0 {
		return
	}
	if s.line.heldCR {
		s.line.heldCR = false
		s.takeText([]byte{'\r'})
	}
	if last := len(p) - 1; p[last] == '\r' {
		s.line.heldCR = true
		p = p[:last]
	}
	s.takeText(p)
}

func (s *EventScanner) takeText(p []byte) {
	if s.line.kind == lineUndecided {
		colon := bytes.IndexByte(p, ':')
		if colon < 0 {
			s.field = appendBounded(s.field, p, maxFieldName)
			return
		}
		s.field = appendBounded(s.field, p[:colon], maxFieldName)
		s.beginValue()
		p = p[colon+1:]
	}
	if s.line.afterColon && len(p) > 0 {
		s.line.afterColon = false
		if p[0] == ' ' {
			p = p[1:]
		}
	}
	switch s.line.kind {
	case lineName:
		s.name = appendBounded(s.name, p, maxEventName)
	case lineData:
		s.keep(p)
	}
}

// beginValue knows the line's field.
func (s *EventScanner) beginValue() {
	s.line.afterColon = true
	switch string(s.field) {
	case "event":
		s.line.kind = lineName
		s.name = s.name[:0]
	case "data":
		s.line.kind = lineData
		if s.event.hasData {
			s.keep([]byte{'\n'})
		}
		s.event.hasData = true
	default:
		s.line.kind = lineIgnored
	}
}

// keep appends to the event's data, as far as it is wanted or may turn out to be.
func (s *EventScanner) keep(p []byte) {
	s.event.size += len(p)
	if s.event.named && !s.event.wanted {
		s.event.lost = true
		return
	}
	bound := s.MaxData
	if bound <= 0 {
		bound = defaultMaxData
	}
	before := len(s.data)
	s.data = appendBounded(s.data, p, bound)
	if len(s.data)-before < len(p) {
		s.event.lost = true
	}
}

// endLine ends the present line and reports whether it is blank.
func (s *EventScanner) endLine() (blank bool) {
	if s.line.kind == lineUndecided {
		if len(s.field) == 0 {
			s.line = pendingLine{}
			return true
		}
		s.beginValue() // a field without a colon has an empty value
	}
	if s.line.kind == lineName {
		s.endName()
	}
	s.line, s.field = pendingLine{}, s.field[:0]
	return false
}

func (s *EventScanner) endName() {
	e := &s.event
	e.name, e.named = eventName(s.name), true
	e.wanted = s.wants(e.name)
	if !e.wanted && len(s.data) > 0 {
		s.data, e.lost = s.data[:0], true
	}
}

func (s *EventScanner) endEvent(end int, emit func(Event)) {
	if s.event.named || s.event.hasData {
		ev := Event{Name: s.event.name, End: end, Size: s.event.size}
		if s.wants(ev.Name) {
			ev.Data, ev.Truncated = s.data, s.event.lost
		}
		emit(ev)
	}
	s.event, s.data, s.begun = pendingEvent{}, s.data[:0], false
}

func (s *EventScanner) wants(name string) bool { return s.Want == nil || s.Want(name) }

func appendBounded(dst, p []byte, bound int) []byte {
	return append(dst, p[:min(len(p), max(bound-len(dst), 0))]...)
}

// eventName is string(name), without an allocation for the names of the API (streaming docs).
func eventName(name []byte) string {
	switch string(name) {
	case "message_start":
		return "message_start"
	case "content_block_start":
		return "content_block_start"
	case "content_block_delta":
		return "content_block_delta"
	case "content_block_stop":
		return "content_block_stop"
	case "message_delta":
		return "message_delta"
	case "message_stop":
		return "message_stop"
	case "ping":
		return "ping"
	case "error":
		return "error"
	default:
		return string(name)
	}
}
