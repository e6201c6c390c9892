package fakeclaude

import (
	"encoding/json"
	"fmt"
)

// event is one encoded server-sent event.
type event struct {
	name   string
	frame  []byte // "event: …\ndata: …\n\n"
	tokens int64  // output tokens that the model produces before it
	block  string // type of its content block
}

// Usage has the fields of the API's usage object (streaming docs).
type Usage struct {
	InputTokens   int64         `json:"input_tokens"`
	CacheCreation int64         `json:"cache_creation_input_tokens"`
	CacheRead     int64         `json:"cache_read_input_tokens"`
	Split         cacheCreation `json:"cache_creation"`
	OutputTokens  int64         `json:"output_tokens"`
	ServiceTier   string        `json:"service_tier"`
}

type cacheCreation struct {
	FiveMinutes int64 `json:"ephemeral_5m_input_tokens"`
	OneHour     int64 `json:"ephemeral_1h_input_tokens"`
}

func newUsage(u cacheUse, output int64) Usage {
	return Usage{
		InputTokens:   u.plain,
		CacheCreation: u.write5m + u.write1h,
		CacheRead:     u.read,
		Split:         cacheCreation{FiveMinutes: u.write5m, OneHour: u.write1h},
		OutputTokens:  output,
		ServiceTier:   "standard",
	}
}

// message is the message object of the API: a plain response, or the data of message_start.
type message struct {
	ID           string            `json:"id"`
	Type         string            `json:"type"`
	Role         string            `json:"role"`
	Model        string            `json:"model"`
	Content      []json.RawMessage `json:"content"`
	StopReason   *string           `json:"stop_reason"`
	StopSequence *string           `json:"stop_sequence"`
	Usage        Usage             `json:"usage"`
}

func newMessage(id, model string, u Usage) message {
	return message{ID: id, Type: "message", Role: "assistant", Model: model, Content: []json.RawMessage{}, Usage: u}
}

// plainMessage returns the reply as a plain response.
func plainMessage(m message, r reply) []byte {
	for _, b := range r.blocks {
		m.Content = append(m.Content, blockJSON(b, b.text(), b.signature))
	}
	m.StopReason = &r.stopReason
	return mustMarshal(m)
}

// blockJSON returns a content block with the given content.
func blockJSON(b replyBlock, text, signature string) json.RawMessage {
	switch b.kind {
	case "thinking":
		return fmt.Appendf(nil, `{"type":"thinking","thinking":%s,"signature":%s}`, quoted(text), quoted(signature))
	case "tool_use":
		return fmt.Appendf(nil, `{"type":"tool_use","id":%s,"name":%s,"input":%s}`, quoted(b.toolID), quoted(b.toolName), text)
	}
	return fmt.Appendf(nil, `{"type":"text","text":%s}`, quoted(text))
}

// streamEvents returns the events of the reply as a stream.
func streamEvents(m message, r reply) []event {
	events := []event{
		newEvent("message_start", fmt.Appendf(nil, `{"type":"message_start","message":%s}`, mustMarshal(m))),
		pingEvent(),
	}
	for i, b := range r.blocks {
		events = appendBlock(events, i, b)
	}
	final := m.Usage
	final.OutputTokens = r.tokens
	events = append(events, newEvent("message_delta", fmt.Appendf(nil,
		`{"type":"message_delta","delta":{"stop_reason":%s,"stop_sequence":null},"usage":{"input_tokens":%d,`+
			`"cache_creation_input_tokens":%d,"cache_read_input_tokens":%d,"output_tokens":%d}}`,
		quoted(r.stopReason), final.InputTokens, final.CacheCreation, final.CacheRead, final.OutputTokens)))
	return append(events, newEvent("message_stop", []byte(`{"type":"message_stop"}`)))
}

func appendBlock(events []event, index int, b replyBlock) []event {
	first := len(events)
	empty := ""
	if b.kind == "tool_use" {
		empty = "{}"
	}
	events = append(events, newEvent("content_block_start", fmt.Appendf(nil,
		`{"type":"content_block_start","index":%d,"content_block":%s}`, index, blockJSON(b, empty, ""))))
	delta := func(kind, field, text string, tokens int64) {
		e := newEvent("content_block_delta", fmt.Appendf(nil,
			`{"type":"content_block_delta","index":%d,"delta":{"type":"%s","%s":%s}}`, index, kind, field, quoted(text)))
		e.tokens = tokens
		events = append(events, e)
	}
	for _, p := range b.pieces {
		switch b.kind {
		case "thinking":
			delta("thinking_delta", "thinking", p.text, p.tokens)
		case "tool_use":
			delta("input_json_delta", "partial_json", p.text, p.tokens)
		default:
			delta("text_delta", "text", p.text, p.tokens)
		}
	}
	if b.kind == "thinking" {
		delta("signature_delta", "signature", b.signature, 0)
	}
	events = append(events, newEvent("content_block_stop", fmt.Appendf(nil, `{"type":"content_block_stop","index":%d}`, index)))
	for i := first; i < len(events); i++ {
		events[i].block = b.kind
	}
	return events
}

func newEvent(name string, data []byte) event {
	return event{name: name, frame: fmt.Appendf(nil, "event: %s\ndata: %s\n\n", name, data)}
}

func pingEvent() event { return newEvent("ping", []byte(`{"type": "ping"}`)) }

// mustMarshal encodes types of this package, which cannot fail.
func mustMarshal(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("fakeclaude: encode %T: %v", v, err))
	}
	return b
}
