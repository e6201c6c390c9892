package fakeclaude

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// apiErrorf returns an error about a request in the wording of the API.
func apiErrorf(format string, args ...any) error {
	return requestError(fmt.Sprintf(format, args...))
}

type requestError string

func (e requestError) Error() string { return string(e) }

// messageRequest is the part of a body that the simulator evaluates. The simulator has its own
// parser, because it must not share the parser of the program that it tests.
type messageRequest struct {
	Model     string
	MaxTokens *int64
	Stream    bool
	tools     []json.RawMessage
	turns     []turn

	system, toolChoice, thinking, speed json.RawMessage
}

type turn struct {
	role    string
	content json.RawMessage
}

// decodeRequest reads a body of /v1/messages or count_tokens. With an error, the request has the
// valid members.
func decodeRequest(body []byte) (*messageRequest, error) {
	req := &messageRequest{}
	if !json.Valid(body) {
		var nothing json.RawMessage
		return req, apiErrorf("The request body is not valid JSON: %v", json.Unmarshal(body, &nothing))
	}
	body = bytes.TrimSpace(body)
	if body[0] != '{' {
		return req, apiErrorf("The request body is not a JSON object")
	}
	var first error
	for m := range members(body) {
		if err := req.read(string(body[m.keyStart+1:m.keyEnd-1]), body[m.valueStart:m.valueEnd]); err != nil && first == nil {
			first = err
		}
	}
	return req, first
}

func (r *messageRequest) read(name string, value json.RawMessage) error {
	switch name {
	case "model":
		return decodeMember(name, "string", value, &r.Model)
	case "max_tokens":
		return decodeMember(name, "integer", value, &r.MaxTokens)
	case "stream":
		return decodeMember(name, "boolean", value, &r.Stream)
	case "messages":
		return r.readTurns(value)
	case "tools":
		return r.readTools(value)
	case "system":
		r.system = value
	case "tool_choice":
		r.toolChoice = value
	case "thinking":
		r.thinking = value
	case "speed":
		r.speed = value
	}
	return nil
}

func decodeMember(name, kind string, value json.RawMessage, into any) error {
	if json.Unmarshal(value, into) != nil {
		return apiErrorf("%s: Input should be a valid %s", name, kind)
	}
	return nil
}

func (r *messageRequest) readTurns(value json.RawMessage) error {
	if isNull(value) {
		return nil
	}
	if value[0] != '[' {
		return apiErrorf("messages: Input should be a valid list")
	}
	r.turns = []turn{}
	for start, end := range elements(value) {
		message := value[start:end]
		if message[0] != '{' {
			return apiErrorf("messages.%d: Input should be a valid object", len(r.turns))
		}
		t := turn{content: memberValue(message, `"content"`)}
		if isNull(t.content) {
			return apiErrorf("messages.%d.content: Field required", len(r.turns))
		}
		if json.Unmarshal(memberValue(message, `"role"`), &t.role) != nil {
			return apiErrorf("messages.%d.role: Field required", len(r.turns))
		}
		r.turns = append(r.turns, t)
	}
	return nil
}

func (r *messageRequest) readTools(value json.RawMessage) error {
	if isNull(value) {
		return nil
	}
	if value[0] != '[' {
		return apiErrorf("tools: Input should be a valid list")
	}
	r.tools = nil
	for start, end := range elements(value) {
		r.tools = append(r.tools, value[start:end])
	}
	return nil
}

// missing returns an error about the first required member that is missing or invalid.
func (r *messageRequest) missing(needMaxTokens bool) error {
	switch {
	case r.Model == "":
		return apiErrorf("model: Field required")
	case needMaxTokens && r.MaxTokens == nil:
		return apiErrorf("max_tokens: Field required")
	case needMaxTokens && *r.MaxTokens < 0:
		return apiErrorf("max_tokens: Input should be greater than or equal to 0")
	case r.turns == nil:
		return apiErrorf("messages: Field required")
	case len(r.turns) == 0:
		return apiErrorf("messages: at least one message is required")
	}
	return nil
}

func isNull(raw json.RawMessage) bool {
	return len(raw) == 0 || string(raw) == "null"
}
