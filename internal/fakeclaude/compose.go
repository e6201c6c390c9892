package fakeclaude

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"math/rand/v2"
	"strings"
)

// reply is the turn of the simulated model.
type reply struct {
	blocks     []replyBlock
	stopReason string
	tokens     int64 // all output tokens
}

// replyBlock is a thinking, text or tool_use block, split into deltas.
type replyBlock struct {
	kind      string // "thinking", "text" or "tool_use"
	pieces    []piece
	signature string // of thinking
	toolID    string
	toolName  string
}

// piece is the payload of one delta.
type piece struct {
	text   string
	tokens int64
}

func (b replyBlock) text() string {
	var s strings.Builder
	for _, p := range b.pieces {
		s.WriteString(p.text)
	}
	return s.String()
}

// turnOptions are what a reply depends on besides the request and the random numbers.
type turnOptions struct {
	minOutput, maxOutput int
	maxTokens            int64
	forceTool            bool // a fault happens after a tool call
}

// composeReply returns a turn. The same request and the same random numbers give the same reply.
func composeReply(req *messageRequest, rng *rand.Rand, o turnOptions) reply {
	var r reply
	if asksForThinking(req) {
		r.blocks = append(r.blocks, thinkingBlock(rng))
	}
	length := o.minOutput + rng.IntN(o.maxOutput-o.minOutput+1)
	tool := chooseTool(req, rng, o.forceTool)
	if length > 0 {
		r.blocks = append(r.blocks, replyBlock{kind: "text", pieces: prose(rng, length)})
	}
	r.stopReason = "end_turn"
	if tool != nil {
		r.blocks = append(r.blocks, toolBlock(tool, rng))
		r.stopReason = "tool_use"
	}
	r.limit(o.maxTokens)
	return r
}

// limit truncates the reply at max_tokens.
func (r *reply) limit(maxTokens int64) {
	left := maxTokens
	for i := range r.blocks {
		b := &r.blocks[i]
		for j, p := range b.pieces {
			if p.tokens <= left {
				left -= p.tokens
				r.tokens += p.tokens
				continue
			}
			b.pieces = b.pieces[:j]
			r.blocks = r.blocks[:i+1]
			if j == 0 || b.kind == "tool_use" {
				r.blocks = r.blocks[:i]
			}
			r.stopReason, r.tokens = "max_tokens", maxTokens
			return
		}
	}
}

func asksForThinking(req *messageRequest) bool {
	var thinking struct {
		Type string `json:"type"`
	}
	if isNull(req.thinking) || json.Unmarshal(req.thinking, &thinking) != nil {
		return false
	}
	return thinking.Type == "enabled" || thinking.Type == "adaptive"
}

func thinkingBlock(rng *rand.Rand) replyBlock {
	signature := make([]byte, 96)
	for i := range signature {
		signature[i] = byte(rng.Uint32())
	}
	return replyBlock{
		kind:      "thinking",
		pieces:    prose(rng, 12+rng.IntN(24)),
		signature: base64.StdEncoding.EncodeToString(signature),
	}
}

// toolChoice is a tool that the turn calls.
type toolChoice struct {
	Name   string          `json:"name"`
	Schema json.RawMessage `json:"input_schema"`
}

// chooseTool returns the tool that the turn calls, or nil. It always returns one if the request or
// a fault demands it, otherwise in two turns of five.
func chooseTool(req *messageRequest, rng *rand.Rand, force bool) *toolChoice {
	roll, pick := rng.IntN(5), rng.Uint64()
	if len(req.tools) == 0 {
		return nil
	}
	var choice struct {
		Type string `json:"type"`
		Name string `json:"name"`
	}
	if !isNull(req.toolChoice) && json.Unmarshal(req.toolChoice, &choice) != nil {
		choice.Type = "auto"
	}
	force = force || choice.Type == "any" || choice.Type == "tool"
	if choice.Type == "none" || (!force && roll >= 2) {
		return nil
	}
	var tool toolChoice
	for i := range req.tools {
		at := (int(pick%uint64(len(req.tools))) + i) % len(req.tools)
		tool = toolChoice{}
		if json.Unmarshal(req.tools[at], &tool) != nil || tool.Name == "" {
			continue
		}
		if choice.Type != "tool" || tool.Name == choice.Name {
			return &tool
		}
	}
	return nil
}

func toolBlock(t *toolChoice, rng *rand.Rand) replyBlock {
	b := replyBlock{kind: "tool_use", toolID: "toolu_" + token(rng), toolName: t.Name}
	input := string(makeToolInput(t.Schema, rng))
	// In the API, every call begins with an empty piece.
	b.pieces = append(b.pieces, piece{})
	for len(input) > 0 {
		n := min(len(input), 12)
		b.pieces = append(b.pieces, piece{text: input[:n], tokens: int64(n+3) / 4})
		input = input[n:]
	}
	return b
}

// makeToolInput returns a JSON object with the required properties of the schema.
func makeToolInput(schema json.RawMessage, rng *rand.Rand) []byte {
	var s struct {
		Properties map[string]struct {
			Type any               `json:"type"`
			Enum []json.RawMessage `json:"enum"`
		} `json:"properties"`
		Required []string `json:"required"`
	}
	if json.Unmarshal(schema, &s) != nil {
		return []byte(`{}`)
	}
	var out bytes.Buffer
	out.WriteByte('{')
	for i, name := range s.Required {
		if i > 0 {
			out.WriteByte(',')
		}
		out.Write(quoted(name))
		out.WriteByte(':')
		property := s.Properties[name]
		switch {
		case len(property.Enum) > 0:
			var compact bytes.Buffer
			if json.Compact(&compact, property.Enum[rng.IntN(len(property.Enum))]) == nil {
				out.Write(compact.Bytes())
			}
		default:
			out.Write(makeValue(property.Type, rng))
		}
	}
	out.WriteByte('}')
	return asciiOnly(out.Bytes())
}

func makeValue(kind any, rng *rand.Rand) []byte {
	switch kind {
	case "integer", "number":
		return []byte{'1' + byte(rng.IntN(9))}
	case "boolean":
		return []byte("true")
	case "array":
		return []byte("[]")
	case "object":
		return []byte("{}")
	case "null":
		return []byte("null")
	}
	return quoted(randomWord(rng) + " " + randomWord(rng))
}

// asciiOnly escapes all characters that are not ASCII, so that the JSON text can be split at any
// byte.
func asciiOnly(text []byte) []byte {
	var out bytes.Buffer
	for _, r := range string(text) {
		if r < 0x80 {
			out.WriteRune(r)
			continue
		}
		for _, unit := range utf16Units(r) {
			out.WriteString(`\u`)
			out.WriteString(unit)
		}
	}
	return out.Bytes()
}
