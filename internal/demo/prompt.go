package demo

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
)

// requestBody is the body of a request as the demo's clients write it.
type requestBody struct {
	Model     string        `json:"model"`
	Messages  []chatMessage `json:"messages"`
	System    []block       `json:"system,omitempty"`
	Tools     []tool        `json:"tools,omitempty"`
	Metadata  *metadata     `json:"metadata,omitempty"`
	MaxTokens int           `json:"max_tokens,omitempty"`
	Stream    bool          `json:"stream,omitempty"`
}

type metadata struct {
	UserID string `json:"user_id"`
}

type chatMessage struct {
	Role    string  `json:"role"`
	Content content `json:"content"`
}

// content is written as a plain string if it is one text without a cache mark.
type content []block

// MarshalJSON implements json.Marshaler.
func (c content) MarshalJSON() ([]byte, error) {
	if len(c) == 1 && c[0].Type == "text" && c[0].CacheControl == nil {
		return json.Marshal(c[0].Text)
	}
	return json.Marshal([]block(c))
}

type block struct {
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

type tool struct {
	Name        string          `json:"name"`
	Description string          `json:"description"`
	InputSchema json.RawMessage `json:"input_schema"`
}

// withCacheMark returns the block with a cache mark.
func (b block) withCacheMark() block {
	b.CacheControl = &cacheControl{Type: "ephemeral"}
	return b
}

// sharedPrompt is the common beginning of all conversations.
type sharedPrompt struct {
	tools  []tool
	system []block
}

// newSharedPrompt returns a prompt with the size of a coding agent's. The first block of system is
// where Claude Code writes its version, and the two others have cache marks.
func newSharedPrompt(seed uint64) sharedPrompt {
	random := rand.New(rand.NewPCG(seed, 0))
	p := sharedPrompt{system: []block{
		{Type: "text", Text: "x-anthropic-billing-header: cc_version=0.0.0; cc_entrypoint=demo;"},
		block{Type: "text", Text: "You are an agent that works on code. " + prose(random, 60)}.withCacheMark(),
		block{Type: "text", Text: prose(random, 4000)}.withCacheMark(),
	}}
	for _, name := range []string{"read", "write", "search", "shell", "list", "plan"} {
		p.tools = append(p.tools, tool{
			Name: name, Description: prose(random, 250),
			InputSchema: json.RawMessage(`{"type":"object","properties":{"target":{"type":"string"},"limit":{"type":"integer"}},"required":["target"]}`),
		})
	}
	return p
}

// nextRequest returns the request for the next turn.
func (c *conversation) nextRequest(stream bool) requestBody {
	r := c.promptBody()
	r.MaxTokens, r.Stream, r.Metadata = 32000, stream, c.metadata()
	return r
}

// promptBody returns the prompt. The last block of the last message has the third cache mark, which
// moves on with every turn.
func (c *conversation) promptBody() requestBody {
	messages := slices.Clone(c.history)
	last := &messages[len(messages)-1]
	last.Content = slices.Clone(last.Content)
	end := &last.Content[len(last.Content)-1]
	*end = end.withCacheMark()
	return requestBody{Model: c.model, Messages: messages, System: c.traffic.prompt.system, Tools: c.traffic.prompt.tools}
}

// titleRequest returns a side request: a small model names the conversation.
func (c *conversation) titleRequest() requestBody {
	return requestBody{
		Model: "claude-haiku-5-5", MaxTokens: 40, Metadata: c.metadata(),
		System:   []block{{Type: "text", Text: "Write a title of at most six words."}},
		Messages: c.history[:1],
	}
}

// metadata returns the session as Claude Code sends it: JSON inside a string.
func (c *conversation) metadata() *metadata {
	return &metadata{UserID: fmt.Sprintf(`{"device_id":"%s","account_uuid":"","session_id":"%s"}`, strings.Repeat("0", 64), c.id)}
}

// prose returns the given number of words. Only their number and their repeatability matter.
func prose(random *rand.Rand, words int) string {
	vocabulary := strings.Fields(`the a this every next open small whole first other function test file request answer change
		branch module error line value reader writer check keeps needs returns calls moves holds reads before after inside without`)
	var text strings.Builder
	for i := range words {
		if i > 0 {
			text.WriteByte(' ')
		}
		text.WriteString(vocabulary[random.IntN(len(vocabulary))])
		if i%12 == 11 {
			text.WriteByte('.')
		}
	}
	return text.String()
}
