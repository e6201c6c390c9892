package claude

import "bytes"

// Message is what one response of /v1/messages reports about itself. The zero value is ready to
// observe a stream. Not safe for concurrent use.
type Message struct {
	ID, Model, StopReason string
	Usage                 Usage
	Reported              Reported    // parts of Usage
	Iterations            []Iteration // model calls within the response, if it reports them
	// EstimatedOutput is an estimate of the output tokens, from the size of the received content.
	// It replaces a count that the upstream does not report.
	EstimatedOutput int64
	// ResourceIDs are the ids of resources of the account: the container that was used, and the
	// files that were created in it. It only grows while a stream is observed.
	ResourceIDs []string
	// ContinuationIDs are ids and tokens, besides ID, by which later requests may continue the
	// response. It only grows.
	ContinuationIDs []string

	Started        bool   // message_start was seen
	Content        bool   // there is a content block, and it is not an empty text that has ended
	Delta          bool   // a message_delta was seen
	Stopped        bool   // message_stop was seen
	Err            *Error // of the first error event
	ErrData        []byte // the data of that event, up to a few KB
	ContentMissing bool   // a plain message lacks the list of its content

	// produced is set if output tokens were reported: in a plain message, or at the end of a
	// stream, because the count in message_start is only an initial value.
	produced bool
	// emptyText is set while the only content block so far is a text block without text.
	emptyText bool
}

// Empty reports whether a complete message has neither content nor output tokens, and no reason for
// that. Some valid messages have no content: a turn in which the model had nothing to add has
// output tokens; a refusal, or a prompt that fills the context window, may have no output tokens,
// but has a stop reason.
func (m *Message) Empty() bool {
	return !m.Content && !m.produced && m.StopReason != "refusal" && m.StopReason != "model_context_window_exceeded"
}

// Observe processes the next event of a stream: message_start is the base, and each message_delta
// overwrites the fields that it has (streaming docs). The valid part of truncated data counts.
// Observe keeps no reference to ev. An event that the official SDKs skip because it has no data
// changes nothing, except for message_stop.
func (m *Message) Observe(ev Event) {
	switch ev.Kind() {
	case "message_start":
		m.observeStart(ev.Data)
	case "content_block_start":
		if !m.Content && len(ev.Data) > 0 {
			m.Content, m.emptyText = true, startsEmptyText(ev.Data)
		}
		(*resourceIDs)(&m.ResourceIDs).addWithin(ev.Data)
	case "content_block_delta":
		m.emptyText = m.emptyText && isEmptyDelta(ev.Data)
		m.EstimatedOutput += tokensOfDelta(ev.Size)
	case "content_block_stop":
		if m.emptyText {
			m.Content, m.emptyText = false, false
		}
	case "message_delta":
		m.Delta = true
		m.produced = m.produced || !m.Content && reportsOutput(ev.Data)
		s := scanner{text: ev.Data}
		for name := range s.document {
			switch string(name) {
			case "delta":
				for name := range s.members {
					if string(name) == "stop_reason" || string(name) == "container" || string(name) == "resumption" {
						m.scan(name, &s)
					}
				}
			case "usage":
				m.scanUsage(&s)
			case "resumption":
				m.scan(name, &s)
			}
		}
	case "message_stop":
		m.Stopped = true
		m.produced = m.produced || !m.Content && reportsOutput(ev.Data)
		s := scanner{text: ev.Data}
		for name := range s.document {
			if string(name) == "usage" { // some relays send it here
				m.scanUsage(&s)
			}
		}
	case "error":
		m.observeError(ev.Data)
	}
}

// observeStart processes a message_start. Without a message, which clients need, it is not valid.
func (m *Message) observeStart(data []byte) {
	s := scanner{text: data}
	for name := range s.document {
		if string(name) == "resumption" {
			m.scan(name, &s)
		}
		if string(name) != "message" || s.peek() != '{' {
			continue
		}
		m.ID, m.Model, m.StopReason, m.Usage, m.EstimatedOutput, m.Reported, m.Iterations = "", "", "", Usage{}, 0, 0, nil
		m.Started = true
		for name := range s.members {
			m.scan(name, &s)
		}
		m.Reported &^= ReportedOutput
	}
}

// reportsOutput reports whether the usage in a message or an event counts output tokens.
func reportsOutput(data []byte) bool {
	reported := false
	s := scanner{text: data}
	for name := range s.document {
		if string(name) != "usage" {
			continue
		}
		for name := range s.members {
			if string(name) == "output_tokens" {
				n := s.count()
				reported = n.valid && n.n > 0
			}
		}
	}
	return reported
}

const (
	// deltaFrame is the usual size of a content_block_delta without its text, in bytes.
	deltaFrame = 82
	// bytesPerToken is the usual size of an output token.
	bytesPerToken = 4
)

// tokensOfDelta estimates the tokens in a content_block_delta from its size in bytes.
func tokensOfDelta(size int) int64 {
	return max(int64(size-deltaFrame+bytesPerToken-1)/bytesPerToken, 1)
}

// tokensOfContent estimates the tokens in the content of a plain response from its size as JSON.
func tokensOfContent(size int) int64 {
	const frame = len(`[{"type":"text","text":""}]`)
	return int64(max(size-frame, 0)+bytesPerToken-1) / bytesPerToken
}

// CompletedUsage returns the usage that the upstream reported, with estimates for the missing
// parts. prompt is the balancer's own estimate of the prompt in tokens. estimated reports whether
// any part is an estimate.
func (m *Message) CompletedUsage(prompt int64) (u Usage, estimated bool) {
	u = m.Usage
	if !m.Started {
		return u, false
	}
	ended := m.Delta || m.Stopped
	if !ended || m.Reported&ReportedOutput == 0 || u.OutputTokens == 0 && m.EstimatedOutput > 0 {
		u.OutputTokens, estimated = max(u.OutputTokens, m.EstimatedOutput), true
	}
	// A response that broke off before its first content may have no counts yet.
	if !m.Content && !ended {
		return u, estimated
	}
	total := u.TotalInputTokens()
	if m.Reported&ReportedInvalidInput != 0 || m.Reported&ReportedInput == 0 || total == 0 {
		u.InputTokens += max(prompt-total, 0)
		estimated = true
	}
	return u, estimated || m.Reported&ReportedInvalid != 0
}

// scanUsage reads a usage object.
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

// scan reads the value of one member of a message object.
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
				(*resourceIDs)(&m.ResourceIDs).add(s.value())
			}
		}
	case "content":
		content := s.value()
		m.EstimatedOutput = tokensOfContent(len(content))
		(*resourceIDs)(&m.ResourceIDs).addWithin(content)
	case "usage":
		m.scanUsage(s)
	case "thread", "resumption":
		(*continuationIDs)(&m.ContinuationIDs).addStrings(s.value())
	}
}

// ParseMessage reads a plain response of /v1/messages in one pass. The Message has the state of one
// whose stream has ended. ParseMessage returns false if body is not a JSON object of type
// "message".
func ParseMessage(body []byte) (Message, bool) {
	m := Message{Started: true, Delta: true, Stopped: true, ContentMissing: true}
	kind := ""
	s := scanner{text: body}
	for name := range s.document {
		switch string(name) {
		case "type":
			s.replace(&kind)
			continue
		case "content":
			m.ContentMissing, m.Content = s.peek() != '[', hasContent(s.text[s.at:])
		}
		m.scan(name, &s)
	}
	if s.err != nil || kind != "message" {
		return Message{}, false
	}
	m.produced = !m.Content && reportsOutput(body)
	return m, true
}

// hasContent reports whether text begins with a list of content blocks, one of which is not an
// empty text.
func hasContent(text []byte) bool {
	s := scanner{text: text}
	for range s.elements {
		if s.isFilledBlock() {
			return true
		}
	}
	return false
}

// startsEmptyText reports whether a content_block_start begins a text block without text.
func startsEmptyText(data []byte) bool {
	s := scanner{text: data}
	for name := range s.document {
		if string(name) == "content_block" {
			return s.peek() == '{' && !s.isFilledBlock()
		}
	}
	return false
}

// isFilledBlock reads a content block and reports whether it is not an empty text.
func (s *scanner) isFilledBlock() bool {
	kind := ""
	for name := range s.members {
		switch string(name) {
		case "type":
			s.replace(&kind)
		case "text":
			if !bytes.HasPrefix(s.text[s.at:], []byte(`""`)) {
				return true // the text may be long, so we do not scan it
			}
		}
	}
	return kind != "text"
}

// isEmptyDelta reports whether a content_block_delta adds no text. It is false if the data of the
// event was not kept.
func isEmptyDelta(data []byte) bool {
	s := scanner{text: data}
	for name := range s.document {
		if string(name) != "delta" {
			continue
		}
		for name := range s.members {
			if string(name) == "text" {
				text, ok := s.string()
				return ok && text == ""
			}
		}
	}
	return false
}

// replace reads the next value and stores it if it is a string.
func (s *scanner) replace(to *string) {
	if v, ok := s.string(); ok {
		*to = v
	}
}
