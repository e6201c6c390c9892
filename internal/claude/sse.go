package claude

import "bytes"

const (
	defaultMaxData = 1 << 20
	maxEventName   = 128
	byteOrderMark  = "\ufeff"
	maxFieldName   = len(byteOrderMark+"event") + 1 // a longer one is no field that matters
)

// Event is one event of a stream.
type Event struct {
	Name      string // of the event: field, cut at 128 bytes; "" without one, and the official SDKs skip such an event
	Named     bool   // there was an event: field, be it an empty one
	Data      []byte // lines joined by LF; valid until emit returns; nil when the event is not wanted
	Truncated bool   // Data is not all of it
	Size      int    // bytes of the data, wanted or not
	Blank     int    // offset in the fed slice of the blank line that ends the event: a line written there still belongs to it
	End       int    // offset in the fed slice just past that blank line
}

// EventScanner finds the events of a text/event-stream that comes in arbitrary
// pieces: the events are the same however the bytes are cut. It frames as the
// official SDKs do: lines end with LF, CRLF or CR alone, a byte order mark at the
// beginning of a line is not part of it, comments and unknown fields do not make
// an event, and data may stand before the name.
//
// The zero value keeps the data of all events. Memory is bounded by MaxData, and
// an event with one of the documented names costs no allocation. Not safe for concurrent use.
type EventScanner struct {
	KeepData func(name string) bool // the events whose data is kept; nil: all
	MaxData  int                    // bytes kept of one event's data; 0: 1 MiB

	event  pendingEvent
	data   []byte // of the event, reused
	line   pendingLine
	field  []byte // name of the line's field so far, while no colon has come; reused
	name   []byte // value of an event: line so far; reused
	begun  bool   // bytes were fed after the last boundary
	skipLF bool   // the last byte was a CR that ended a line: an LF that follows belongs to it
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
	at := 0
	if s.skipLF && len(p) > 0 {
		s.skipLF = false
		if p[0] == '\n' {
			at = 1
			if !s.begun { // the rest of the blank line that the last piece ended with
				boundary = at
			}
		}
	}
	for at < len(p) {
		s.begun = true
		n, ending := lineEnd(p[at:])
		if ending == 0 {
			s.takeText(p[at:])
			break
		}
		s.takeText(p[at : at+n])
		blank := at + n
		at = blank + ending
		s.skipLF = at == len(p) && p[at-1] == '\r'
		if s.endLine() {
			boundary = at
			s.endEvent(blank, at, emit)
		}
	}
	return boundary
}

// lineEnd returns the length of the line that p begins with and the length of its ending, which is 0 when p has no
// ending. A CR at the very end of p is an ending, whether or not an LF follows in the next piece.
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

// InEvent reports whether anything, be it part of a comment, was fed after the last blank line.
func (s *EventScanner) InEvent() bool { return s.begun }

// Incomplete is the event that the end of the stream would cut off, because the blank line after it is missing, as far
// as its lines have come. The official SDKs drop such an event.
func (s *EventScanner) Incomplete() Event {
	if !s.begun {
		return Event{}
	}
	return Event{Name: s.event.name, Named: s.event.named, Data: s.data, Truncated: s.event.lost, Size: s.event.size}
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
	switch string(s.fieldName()) {
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

// fieldName is the name of the line's field. Like the official TypeScript SDK it drops a byte order mark at the
// beginning of any line, for relays write one wherever they join pieces.
func (s *EventScanner) fieldName() []byte { return bytes.TrimPrefix(s.field, []byte(byteOrderMark)) }

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
		if len(s.fieldName()) == 0 {
			s.line, s.field = pendingLine{}, s.field[:0]
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

func (s *EventScanner) endEvent(blank, end int, emit func(Event)) {
	if s.event.named || s.event.hasData {
		ev := Event{Name: s.event.name, Named: s.event.named, Blank: blank, End: end, Size: s.event.size}
		if s.wants(ev.Name) {
			ev.Data, ev.Truncated = s.data, s.event.lost
		}
		emit(ev)
	}
	s.event, s.data, s.begun = pendingEvent{}, s.data[:0], false
}

func (s *EventScanner) wants(name string) bool { return s.KeepData == nil || s.KeepData(name) }

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
