package claude

import "bytes"

const (
	defaultMaxData = 1 << 20
	maxEventName   = 128
	byteOrderMark  = "\ufeff"
	maxFieldName   = len(byteOrderMark+"event") + 1 // a longer name is an unknown field
)

// Event is one event of a stream.
type Event struct {
	Name      string // value of the event field, at most 128 bytes; "" without one: the official SDKs skip such an event
	Named     bool   // there is an event field, even if it is empty
	Data      []byte // values of the data fields, joined by LF; valid until emit returns; nil if KeepData is false
	Truncated bool   // Data is incomplete
	Size      int    // bytes of the data, even if it is not kept
	Blank     int    // offset in the fed slice of the blank line that ends the event; a line inserted there belongs to it
	End       int    // offset in the fed slice after that blank line
}

// EventScanner parses a text/event-stream (WHATWG HTML, server-sent events) in pieces. The events
// do not depend on how the stream is split. The scanner parses as the official SDKs do: lines end
// with LF, CRLF or CR, a byte order mark at the beginning of any line is ignored, a block of only
// comments and unknown fields is not an event, and a data field may come before the event field.
//
// The zero value keeps the data of all events. MaxData bounds the memory. An event with a
// documented name needs no allocation. Not safe for concurrent use.
type EventScanner struct {
	KeepData func(name string) bool // whether to keep the data of events with this name; nil: always
	MaxData  int                    // bytes of the data of one event that are kept; 0: 1 MiB

	event   pendingEvent
	data    []byte // data buffer; reused
	line    pendingLine
	field   []byte // field name of the line, up to the colon; reused
	name    []byte // value of the event field so far; reused
	inEvent bool   // bytes were fed after the last boundary
	skipLF  bool   // the last byte was a CR that ended a line: a following LF belongs to it
}

// pendingEvent is the state of the event whose blank line has not been read.
type pendingEvent struct {
	name    string
	named   bool
	keep    bool // KeepData of the name; valid only if named
	hasData bool
	lost    bool // a part of the data was not kept
	size    int
}

// pendingLine is the state of the current line.
type pendingLine struct {
	kind       fieldKind
	afterColon bool // a space at this position is not part of the value
}

type fieldKind uint8

const (
	fieldUndecided fieldKind = iota // the colon has not been read
	fieldEvent
	fieldData
	fieldIgnored
)

// Feed processes the next piece of the stream and calls emit for each event that ends in it. It
// returns the offset in p after the last blank line, or 0 if p has none. The stream can be split
// there without splitting an event or a comment.
func (s *EventScanner) Feed(p []byte, emit func(Event)) (boundary int) {
	at := 0
	if s.skipLF && len(p) > 0 {
		s.skipLF = false
		if p[0] == '\n' {
			at = 1
			if !s.inEvent { // the LF of the blank line that ended the last piece
				boundary = at
			}
		}
	}
	for at < len(p) {
		s.inEvent = true
		n, ending := lineEnd(p[at:])
		if ending == 0 {
			s.feedLine(p[at:])
			break
		}
		s.feedLine(p[at : at+n])
		blank := at + n
		at = blank + ending
		s.skipLF = at == len(p) && p[at-1] == '\r'
		if s.endLine() {
			boundary = at
			s.dispatch(blank, at, emit)
		}
	}
	return boundary
}

// lineEnd returns the length of the first line in p and the length of its line ending, 0 without
// one. A CR at the end of p is a line ending, even if the next piece begins with an LF.
func lineEnd(p []byte) (n, ending int) {
	n = bytes.IndexByte(p, '\n')
	line := p
	if n >= 0 {
		line = p[:n]
	}
	switch cr := bytes.IndexByte(line, '\r'); {
	case cr >= 0 && cr+1 == n:
		return cr, 2
	case cr >= 0:
		return cr, 1
	case n >= 0:
		return n, 1
	default:
		return len(p), 0
	}
}

// InEvent reports whether bytes were fed after the last blank line, even if they are part of a
// comment.
func (s *EventScanner) InEvent() bool { return s.inEvent }

// Incomplete returns the received part of an event whose blank line has not been read. The official
// SDKs discard such an event at the end of the stream.
func (s *EventScanner) Incomplete() Event {
	if !s.inEvent {
		return Event{}
	}
	return Event{Name: s.event.name, Named: s.event.named, Data: s.data, Truncated: s.event.lost, Size: s.event.size}
}

// feedLine processes the next part of a line, without its ending.
func (s *EventScanner) feedLine(p []byte) {
	if s.line.kind == fieldUndecided {
		colon := bytes.IndexByte(p, ':')
		if colon < 0 {
			s.field = appendBounded(s.field, p, maxFieldName)
			return
		}
		s.field = appendBounded(s.field, p[:colon], maxFieldName)
		s.beginFieldValue()
		p = p[colon+1:]
	}
	if s.line.afterColon && len(p) > 0 {
		s.line.afterColon = false
		if p[0] == ' ' {
			p = p[1:]
		}
	}
	switch s.line.kind {
	case fieldEvent:
		s.name = appendBounded(s.name, p, maxEventName)
	case fieldData:
		s.appendData(p)
	}
}

// beginFieldValue starts the value of the line's field.
func (s *EventScanner) beginFieldValue() {
	s.line.afterColon = true
	switch string(s.fieldName()) {
	case "event":
		s.line.kind = fieldEvent
		s.name = s.name[:0]
	case "data":
		s.line.kind = fieldData
		if s.event.hasData {
			s.appendData([]byte{'\n'})
		}
		s.event.hasData = true
	default:
		s.line.kind = fieldIgnored
	}
}

// fieldName returns the field name of the line. Like the official TypeScript SDK, it removes a byte
// order mark at the beginning of any line, because relays write one when they join pieces.
func (s *EventScanner) fieldName() []byte { return bytes.TrimPrefix(s.field, []byte(byteOrderMark)) }

// appendData adds to the data of the event, unless the event is known to be one whose data is not
// kept.
func (s *EventScanner) appendData(p []byte) {
	s.event.size += len(p)
	if s.event.named && !s.event.keep {
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

// endLine ends the current line and reports whether it is blank.
func (s *EventScanner) endLine() (blank bool) {
	if s.line.kind == fieldUndecided {
		if len(s.fieldName()) == 0 {
			s.line, s.field = pendingLine{}, s.field[:0]
			return true
		}
		s.beginFieldValue() // a field without a colon has an empty value
	}
	if s.line.kind == fieldEvent {
		s.endEventField()
	}
	s.line, s.field = pendingLine{}, s.field[:0]
	return false
}

func (s *EventScanner) endEventField() {
	e := &s.event
	e.name, e.named = eventName(s.name), true
	e.keep = s.keepsData(e.name)
	if !e.keep && len(s.data) > 0 {
		s.data, e.lost = s.data[:0], true
	}
}

func (s *EventScanner) dispatch(blank, end int, emit func(Event)) {
	if s.event.named || s.event.hasData {
		ev := Event{Name: s.event.name, Named: s.event.named, Blank: blank, End: end, Size: s.event.size}
		if s.keepsData(ev.Name) {
			ev.Data, ev.Truncated = s.data, s.event.lost
		}
		emit(ev)
	}
	s.event, s.data, s.inEvent = pendingEvent{}, s.data[:0], false
}

func (s *EventScanner) keepsData(name string) bool { return s.KeepData == nil || s.KeepData(name) }

func appendBounded(dst, p []byte, bound int) []byte {
	return append(dst, p[:min(len(p), max(bound-len(dst), 0))]...)
}

// eventName returns string(name), without an allocation for the names of the API (streaming docs).
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
