package claude

import "bytes"

// Message is what one answer of /v1/messages tells about itself. The zero value
// is ready to observe a stream. Not safe for concurrent use.
type Message struct {
	ID, Model, StopReason string
	Usage                 Usage
	// Streamed estimates the output tokens of the deltas that came: what an answer has used at least that breaks off before
	// it tells. It is 0 for a plain answer.
	Streamed int64
	// Kept are the ids of what the answering account keeps: the container that was used, and files that
	// were made in it. It only ever grows while a stream is observed.
	Kept []string

	Started bool   // message_start was seen
	Content bool   // a content_block_start was seen
	Delta   bool   // a message_delta was seen
	Stopped bool   // message_stop was seen
	Err     *Error // of the first error event
	ErrData []byte // the data of that event, up to a few KB
}

// WantedEvent reports whether Observe reads the data of an event; of the others the name is enough.
func WantedEvent(name string) bool {
	return name == "message_start" || name == "content_block_start" || name == "message_delta" || name == "error"
}

// Observe takes the next event of a stream: message_start is the base, and each
// message_delta overwrites the fields that it has (streaming docs). Data that
// breaks off counts as far as it goes. Nothing of ev is kept.
func (m *Message) Observe(ev Event) {
	switch ev.Name {
	case "message_start":
		m.ID, m.Model, m.StopReason, m.Usage, m.Streamed = "", "", "", Usage{}, 0
		m.Started = true
		s := scanner{text: ev.Data}
		for name := range s.document {
			if string(name) == "message" {
				for name := range s.members {
					m.scan(name, &s)
				}
			}
		}
	case "content_block_start":
		m.Content = true
		(*namedIDs)(&m.Kept).addWithin(ev.Data)
	case "content_block_delta":
		m.Streamed += tokensOfDelta(ev.Size)
	case "message_delta":
		m.Delta = true
		s := scanner{text: ev.Data}
		for name := range s.document {
			switch string(name) {
			case "delta":
				for name := range s.members {
					if string(name) == "stop_reason" || string(name) == "container" {
						m.scan(name, &s)
					}
				}
			case "usage":
				m.Usage.scan(&s)
			}
		}
	case "message_stop":
		m.Stopped = true
	case "error":
		m.observeError(ev.Data)
	}
}

const (
	// deltaFrame is the usual size of a content_block_delta without its text, in bytes.
	deltaFrame = 82
	// bytesPerToken is what a token of an answer usually has.
	bytesPerToken = 4
)

// tokensOfDelta is about how many tokens a delta of some bytes holds.
func tokensOfDelta(size int) int64 {
	return max(int64(size-deltaFrame+bytesPerToken-1)/bytesPerToken, 1)
}

// Output is how many tokens the answer has used: as told, or at least estimated where it broke off before it could tell.
func (m *Message) Output() int64 {
	if m.Delta || m.Stopped {
		return m.Usage.OutputTokens
	}
	return max(m.Usage.OutputTokens, m.Streamed)
}

func (m *Message) observeError(data []byte) {
	if m.Err != nil {
		return
	}
	e, ok := ParseError(data)
	if !ok {
		e = Error{Type: ErrAPI, Message: "The upstream sent an error event without a readable error."}
	}
	m.Err, m.ErrData = &e, bytes.Clone(data[:min(len(data), maxRefusal)])
}

// scan takes the value of one member of a message object.
func (m *Message) scan(name []byte, s *scanner) {
	switch string(name) {
	case "id":
		s.replace(&m.ID)
	case "model":
		s.replace(&m.Model)
	case "stop_reason":
		s.replace(&m.StopReason)
	case "container":
		for name := range s.members {
			if string(name) == "id" {
				(*namedIDs)(&m.Kept).add(s.value())
			}
		}
	case "content":
		(*namedIDs)(&m.Kept).addWithin(s.value())
	case "usage":
		m.Usage.scan(s)
	}
}

// ParseMessage reads a plain answer of /v1/messages in one pass over its text,
// whatever the size of its content. The Message is one that has gone through all
// stages of a stream. It reports false when body is not a JSON object of type "message".
func ParseMessage(body []byte) (Message, bool) {
	m := Message{Started: true, Content: true, Delta: true, Stopped: true}
	kind := ""
	s := scanner{text: body}
	for name := range s.document {
		if string(name) == "type" {
			s.replace(&kind)
		} else {
			m.scan(name, &s)
		}
	}
	if s.err != nil || kind != "message" {
		return Message{}, false
	}
	return m, true
}

// replace takes the value that comes next and stores it if it is a string.
func (s *scanner) replace(to *string) {
	if v, ok := s.string(); ok {
		*to = v
	}
}
