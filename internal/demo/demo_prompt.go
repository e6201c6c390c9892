package demo

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
)

// demoRequest is the body of a request as the demo's clients write it.
type demoRequest struct {
	Model     string        `json:"model"`
	Messages  []demoMessage `json:"messages"`
	System    []demoBlock   `json:"system,omitempty"`
	Tools     []demoTool    `json:"tools,omitempty"`
	Metadata  *demoMetadata `json:"metadata,omitempty"`
	MaxTokens int           `json:"max_tokens,omitempty"`
	Stream    bool          `json:"stream,omitempty"`
}

type demoMetadata struct {
	UserID string `json:"user_id"`
}

type demoMessage struct {
	Role    string      `json:"role"`
	Content demoContent `json:"content"`
}

// demoContent is written as a plain string when it is one text without a cache mark.
type demoContent []demoBlock

// MarshalJSON writes a string or a list of blocks.
func (c demoContent) MarshalJSON() ([]byte, error) {
	if len(c) == 1 && c[0].Type == "text" && c[0].CacheControl == nil {
		return json.Marshal(c[0].Text)
	}
	return json.Marshal([]demoBlock(c))
}

type demoBlock struct {
	Type         string          `json:"type"`
	Text         string          `json:"text,omitempty"`
	ID           string          `json:"id,omitempty"`
	Name         string          `json:"name,omitempty"`
	Input        json.RawMessage `json:"input,omitempty"`
	ToolUseID    string          `json:"tool_use_id,omitempty"`
	Content      string          `json:"content,omitempty"`
	CacheControl *cacheControl   `json:"cache_control,omitempty"`
}

type cacheControl struct {
	Type string `json:"type"`
}

type demoTool struct {
	Name        string          `json:"name"`
	Description string          `json:"description"`
	InputSchema json.RawMessage `json:"input_schema"`
}

// marked is the block as a breakpoint of the prompt cache.
func (b demoBlock) marked() demoBlock {
	b.CacheControl = &cacheControl{Type: "ephemeral"}
	return b
}

// demoPrompt is what all conversations begin with.
type demoPrompt struct {
	tools  []demoTool
	system []demoBlock
}

// newDemoPrompt makes a prompt of the order of size that a coding agent has.
// The first block of system stands where Claude Code says its version, and the
// two others carry marks.
func newDemoPrompt(seed uint64) demoPrompt {
	dice := rand.New(rand.NewPCG(seed, 0))
	p := demoPrompt{system: []demoBlock{
		{Type: "text", Text: "x-anthropic-billing-header: cc_version=0.0.0; cc_entrypoint=demo;"},
		demoBlock{Type: "text", Text: "You are an agent that works on code. " + demoProse(dice, 60)}.marked(),
		demoBlock{Type: "text", Text: demoProse(dice, 4000)}.marked(),
	}}
	for _, name := range []string{"read", "write", "search", "shell", "list", "plan"} {
		p.tools = append(p.tools, demoTool{
			Name: name, Description: demoProse(dice, 250),
			InputSchema: json.RawMessage(`{"type":"object","properties":{"target":{"type":"string"},"limit":{"type":"integer"}},"required":["target"]}`),
		})
	}
	return p
}

// ask is the request for the next turn.
func (c *demoConversation) ask(stream bool) demoRequest {
	r := c.counted()
	r.MaxTokens, r.Stream, r.Metadata = 32000, stream, c.metadata()
	return r
}

// counted is what the prompt consists of. The last block of the last message
// carries the third mark, which so moves on with every turn.
func (c *demoConversation) counted() demoRequest {
	messages := slices.Clone(c.history)
	last := &messages[len(messages)-1]
	last.Content = slices.Clone(last.Content)
	end := &last.Content[len(last.Content)-1]
	*end = end.marked()
	return demoRequest{Model: c.model, Messages: messages, System: c.traffic.prompt.system, Tools: c.traffic.prompt.tools}
}

// title is a side call: a small model names the conversation.
func (c *demoConversation) title() demoRequest {
	return demoRequest{
		Model: "claude-haiku-5-5", MaxTokens: 40, Metadata: c.metadata(),
		System:   []demoBlock{{Type: "text", Text: "Write a title of at most six words."}},
		Messages: c.history[:1],
	}
}

// metadata holds the session in the form that Claude Code has: JSON inside a string.
func (c *demoConversation) metadata() *demoMetadata {
	return &demoMetadata{UserID: fmt.Sprintf(`{"device_id":"%s","account_uuid":"","session_id":"%s"}`, strings.Repeat("0", 64), c.id)}
}

// demoProse invents so many words. What they say does not matter, only that they are many and always the same.
func demoProse(dice *rand.Rand, words int) string {
	vocabulary := strings.Fields(`the a this every next open small whole first other function test file request answer change
		branch module error line value reader writer check keeps needs returns calls moves holds reads before after inside without`)
	var text strings.Builder
	for i := range words {
		if i > 0 {
			text.WriteByte(' ')
		}
		text.WriteString(vocabulary[dice.IntN(len(vocabulary))])
		if i%12 == 11 {
			text.WriteByte('.')
		}
	}
	return text.String()
}
