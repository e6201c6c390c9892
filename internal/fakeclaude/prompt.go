package fakeclaude

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash"
	"io"
	"math"
	"time"
)

// prompt is the cacheable part of a request, in the order of the cache: tools, system, messages.
type prompt struct {
	blocks      []promptBlock
	breakpoints []breakpoint
	tokens      int64
}

type promptBlock struct {
	hash         prefixHash // of the whole prefix that ends here
	prefixTokens int64      // tokens of that prefix
}

// breakpoint is a cache breakpoint.
type breakpoint struct {
	block int
	ttl   time.Duration
	path  string
}

// promptBuilder hashes block after block.
type promptBuilder struct {
	p             prompt
	sum           hash.Hash
	bytes         int64 // of the text so far
	bytesPerToken float64
	extra         int64 // tokens of images
}

// buildPrompt splits a request into blocks and hashes every prefix.
func buildPrompt(req *messageRequest, bytesPerToken float64) (*prompt, error) {
	b := &promptBuilder{sum: sha256.New(), bytesPerToken: bytesPerToken}
	b.fold("model", []byte(req.Model))
	for i, tool := range req.tools {
		if err := b.add("tool", tool, fmt.Sprintf("tools.%d", i)); err != nil {
			return nil, err
		}
	}
	// Each of the following settings invalidates only the part of the prompt after it.
	b.fold("speed", req.speed)
	if err := b.addContent("system", req.system, "system"); err != nil {
		return nil, err
	}
	b.fold("tool_choice", req.toolChoice)
	b.fold("thinking", req.thinking)
	for i, t := range req.turns {
		if err := b.addContent(t.role, t.content, fmt.Sprintf("messages.%d.content", i)); err != nil {
			return nil, err
		}
	}
	b.p.tokens = b.tokens()
	return &b.p, checkBreakpoints(b.p.breakpoints)
}

func (b *promptBuilder) tokens() int64 {
	return b.extra + int64(math.Ceil(float64(b.bytes)/b.bytesPerToken))
}

// fold adds a part with its label and length to the hash.
func (b *promptBuilder) fold(label string, part []byte) {
	var size [8]byte
	binary.LittleEndian.PutUint64(size[:], uint64(len(part)))
	io.WriteString(b.sum, label) // a hash never fails
	b.sum.Write(size[:])
	b.sum.Write(part)
}

// addContent adds a string or a list of blocks; a string is one text block.
func (b *promptBuilder) addContent(role string, raw json.RawMessage, path string) error {
	if isNull(raw) {
		return nil
	}
	if raw[0] == '"' {
		b.addText(role, raw)
		return nil
	}
	if raw[0] != '[' {
		return apiErrorf("%s: Input should be a valid string or list of content blocks", path)
	}
	i := 0
	for start, end := range elements(raw) {
		if err := b.add(role, raw[start:end], fmt.Sprintf("%s.%d", path, i)); err != nil {
			return err
		}
		i++
	}
	return nil
}

// addText adds a JSON string as a text block. A text block and the same text as a plain string are
// the same prefix, because clients convert one into the other.
func (b *promptBuilder) addText(role string, quoted json.RawMessage) {
	b.fold(role, []byte("text"))
	b.fold("text", quoted)
	b.close(int64(len(quoted) - 2))
}

func (b *promptBuilder) add(role string, raw json.RawMessage, path string) error {
	block, err := splitBlock(raw)
	if err != nil {
		return apiErrorf("%s: %v", path, err)
	}
	switch {
	case block.onlyText != nil:
		b.addText(role, block.onlyText)
	case block.kind == "image":
		b.fold(role, block.bare)
		b.extra += imageTokens
		b.close(0)
	default:
		b.fold(role, block.bare)
		b.close(int64(len(block.bare)))
	}
	if block.ttl > 0 {
		b.p.breakpoints = append(b.p.breakpoints, breakpoint{block: len(b.p.blocks) - 1, ttl: block.ttl, path: path})
	}
	return nil
}

// imageTokens is the number of tokens of an image, regardless of its size in bytes.
const imageTokens = 1600

// close ends a block.
func (b *promptBuilder) close(bytes int64) {
	b.bytes += bytes
	var sum [sha256.Size]byte
	b.sum.Sum(sum[:0])
	b.p.blocks = append(b.p.blocks, promptBlock{hash: prefixHash(sum[:16]), prefixTokens: b.tokens()})
}

// blockParts are the parts of a content block that matter to the cache.
type blockParts struct {
	kind     string
	bare     []byte          // the block without its cache_control members
	onlyText json.RawMessage // the quoted text of a block that has only a text
	ttl      time.Duration   // of its breakpoint; 0 without one
}

func splitBlock(raw json.RawMessage) (blockParts, error) {
	if raw[0] != '{' {
		return blockParts{}, apiErrorf("Input should be a valid object")
	}
	var text, control json.RawMessage
	parts := blockParts{bare: raw}
	kept := 0
	for m := range membersButCacheControl(raw) {
		value := raw[m.valueStart:m.valueEnd]
		switch string(raw[m.keyStart:m.keyEnd]) {
		case `"type"`:
			parts.kind = string(bytes.Trim(value, `"`))
		case `"text"`:
			text = value
		case `"content"`:
			control = nestedCacheControl(value)
		}
		kept++
	}
	if parts.kind == "text" && kept == 2 && len(text) > 1 && text[0] == '"' {
		parts.onlyText = text
	}
	if !bytes.Contains(raw, []byte(`"cache_control"`)) {
		return parts, nil
	}
	if own := memberValue(raw, `"cache_control"`); !isNull(own) {
		control = own
	}
	if parts.onlyText == nil {
		parts.bare = withoutCacheControl(raw)
	}
	if isNull(control) {
		return parts, nil
	}
	var err error
	parts.ttl, err = parseCacheControl(control)
	return parts, err
}

// nestedCacheControl returns the first cache_control of the blocks in a tool result. It applies to
// the result as a whole.
func nestedCacheControl(content json.RawMessage) json.RawMessage {
	if content[0] != '[' || !bytes.Contains(content, []byte(`"cache_control"`)) {
		return nil
	}
	for start, end := range elements(content) {
		if content[start] != '{' {
			continue
		}
		if control := memberValue(content[start:end], `"cache_control"`); !isNull(control) {
			return control
		}
	}
	return nil
}

func parseCacheControl(raw json.RawMessage) (time.Duration, error) {
	var control struct {
		Type string `json:"type"`
		TTL  string `json:"ttl"`
	}
	if err := json.Unmarshal(raw, &control); err != nil || control.Type != "ephemeral" {
		return 0, apiErrorf("cache_control.type: Input should be 'ephemeral'")
	}
	switch control.TTL {
	case "", "5m":
		return shortTTL, nil
	case "1h":
		return longTTL, nil
	}
	return 0, apiErrorf("cache_control.ttl: Input should be '5m' or '1h'")
}
