package claude

import "bytes"

// Message is what one answer of /v1/messages tells about itself. The zero value
// is ready to observe a stream. Not safe for concurrent use.
type Message struct {
	ID, Model, StopReason string
	Usage                 Usage
	Reported              Reported    // parts of Usage
	Iterations            []Iteration // model calls within the answer, as far as it reports them
	// Streamed estimates the output tokens from the size of the content that came. It stands in for a count
	// that the upstream does not report.
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
	switch name {
	case "message_start", "content_block_start", "message_delta", "message_stop", "error":
		return true
	}
	return false
}

// Observe takes the next event of a stream: message_start is the base, and each
// message_delta overwrites the fields that it has (streaming docs). Data that
// breaks off counts as far as it goes. Nothing of ev is kept.
func (m *Message) Observe(ev Event) {
	switch ev.Name {
	case "message_start":
		m.ID, m.Model, m.StopReason, m.Usage, m.Streamed, m.Reported, m.Iterations = "", "", "", Usage{}, 0, 0, nil
		m.Started = true
		s := scanner{text: ev.Data}
		for name := range s.document {
			if string(name) == "message" {
				for name := range s.members {
					m.scan(name, &s)
				}
			}
		}
		m.Reported &^= ReportedOutput
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
				m.scanUsage(&s)
			}
		}
	case "message_stop":
		m.Stopped = true
		s := scanner{text: ev.Data}
		for name := range s.document {
			if string(name) == "usage" { // of some relays
				m.scanUsage(&s)
			}
		}
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

// tokensOfContent is about how many tokens the content of a plain answer holds, given its size as JSON.
func tokensOfContent(size int) int64 {
	const frame = len(`[{"type":"text","text":""}]`)
	return int64(max(size-frame, 0)+bytesPerToken-1) / bytesPerToken
}

// Settled is the usage as far as the upstream reported it, completed by estimates: prompt is the balancer's
// own estimate of the prompt. It reports whether anything in it is an estimate.
func (m *Message) Settled(prompt int64) (u Usage, estimated bool) {
	u = m.Usage
	if !m.Started {
		return u, false
	}
	ended := m.Delta || m.Stopped
	if !ended || m.Reported&ReportedOutput == 0 || u.OutputTokens == 0 && m.Streamed > 0 {
		u.OutputTokens, estimated = max(u.OutputTokens, m.Streamed), true
	}
	// An answer that broke off before its first content may not have got so far as to count.
	if !m.Content && !ended {
		return u, estimated
	}
	total := u.TotalInputTokens()
	if m.Reported&ReportedOddInput != 0 || m.Reported&ReportedInput == 0 || total == 0 {
		u.InputTokens += max(prompt-total, 0)
		estimated = true
	}
	return u, estimated || m.Reported&ReportedOdd != 0
}

// scanUsage takes a usage object.
func (m *Message) scanUsage(s *scanner) { m.Reported |= m.Usage.scan(s, &m.Iterations) }

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
		content := s.value()
		m.Streamed = tokensOfContent(len(content))
		(*namedIDs)(&m.Kept).addWithin(content)
	case "usage":
		m.scanUsage(s)
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
