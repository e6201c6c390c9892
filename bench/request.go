package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
)

const (
	model     = "claude-sonnet-4-5"
	clientKey = "sk-bench-client"
	// turn marks the part that differs between requests: digits of fixed width, written again for
	// each request.
	turn      = "turn 0000000000"
	turnWidth = 10
)

// request is what one client sends repeatedly: a separate conversation with a new end each time.
type request struct {
	raw    []byte
	at     int // of the digits
	number int
}

// newRequest returns a request of the client with the given number, with a body of about size
// bytes.
func newRequest(host string, client, size int, stream bool) *request {
	body := newBody(client, size, stream)
	head := fmt.Sprintf("POST /v1/messages?beta=true HTTP/1.1\r\nHost: %s\r\n"+
		"Accept: application/json\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n"+
		"Anthropic-Beta: claude-code-20250219,interleaved-thinking-2025-05-14\r\nAnthropic-Version: 2023-06-01\r\n"+
		"Authorization: Bearer %s\r\nContent-Type: application/json\r\n"+
		"User-Agent: claude-cli/2.0.1 (external, cli)\r\nX-App: cli\r\nX-Stainless-Lang: js\r\nX-Stainless-Runtime: node\r\nX-Stainless-Timeout: 600\r\n"+
		"Content-Length: %d\r\n\r\n", host, clientKey, len(body))
	raw := append([]byte(head), body...)
	return &request{raw: raw, at: bytes.LastIndex(raw, []byte(turn)) + len(turn) - turnWidth}
}

// next returns the request's bytes, valid until the next call.
func (r *request) next() []byte {
	r.number++
	copy(r.raw[r.at:], fmt.Appendf(nil, "%0*d", turnWidth, r.number))
	return r.raw
}

type object map[string]any

// newBody returns a body like Claude Code's: a third tools, a tenth system, the rest a conversation
// in which files are read. A small one has no tools and no history.
func newBody(client, size int, stream bool) []byte {
	ask := func(text string, cached bool) object {
		block := object{"type": "text", "text": text}
		if cached {
			block["cache_control"] = object{"type": "ephemeral"}
		}
		return object{"role": "user", "content": []object{block}}
	}
	messages := []object{ask(fmt.Sprintf("Client %d. %s", client, prose(size/8)), false)}
	var tools []object
	system := size / 2
	if large := size > 16<<10; large {
		system = size / 10
		for i := range 16 {
			tools = append(tools, newTool(i, size/3/16))
		}
		const reads = 12
		for i := range reads {
			messages = append(messages, readsFile(i), fileRead(i, size*2/5/reads))
		}
		messages = append(messages, object{"role": "assistant", "content": "Done."})
	} else {
		messages = append(messages, object{"role": "assistant", "content": "What next?"})
	}
	messages = append(messages, ask(turn, true))
	body := object{
		"model": model, "max_tokens": 32000, "stream": stream, "messages": messages,
		"metadata": object{"user_id": fmt.Sprintf(`{"device_id":"bench","account_uuid":"","session_id":"%08d-0000-4000-8000-000000000000"}`, client)},
		"system": []object{
			{"type": "text", "text": "You are an agent that writes programs.", "cache_control": object{"type": "ephemeral"}},
			{"type": "text", "text": prose(system)},
		},
	}
	if tools != nil {
		body["tools"] = tools
	}
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false) // clients do not escape HTML
	if err := encoder.Encode(body); err != nil {
		panic(err) // maps of strings and numbers can always be encoded
	}
	return bytes.TrimSpace(text.Bytes())
}

func newTool(i, size int) object {
	return object{
		"name": fmt.Sprint("Tool", i), "description": prose(size - 180),
		"input_schema": object{"type": "object", "required": []string{"path"}, "properties": object{
			"path": object{"type": "string", "description": "absolute path"}, "limit": object{"type": "number"},
		}},
	}
}

func readsFile(i int) object {
	use := object{"type": "tool_use", "id": fmt.Sprintf("toolu_%022d", i), "name": "Tool0", "input": object{"path": fmt.Sprintf("/src/part%d.go", i)}}
	return object{"role": "assistant", "content": []object{use}}
}

func fileRead(i, size int) object {
	result := object{"type": "tool_result", "tool_use_id": fmt.Sprintf("toolu_%022d", i), "content": code(size - 180)}
	return object{"role": "user", "content": []object{result}}
}

// prose returns size bytes of a description, as in tools and system prompts.
func prose(size int) string {
	return fill("Reads a file and returns its lines, each with its number. The path has to be absolute; what is longer than the\n"+
		"limit is cut. Use it before you change a file, and say which one you mean: \"the test\" may be any of several.\n", size)
}

// code returns size bytes of a file. As in real files, every line contains something that JSON must
// escape.
func code(size int) string {
	return fill("  12\texport async function load(name: string, options: Options = {}): Promise<Page | undefined> {\n"+
		"  13\t  const page = await store.get(`${options.prefix ?? 'pages'}/${name}`);\n"+
		"  14\t  if (page === undefined || page.expires < Date.now()) {\n"+
		"  15\t    log.warn(\"no such page\", { name, options });\n"+
		"  16\t    return undefined;\n  17\t  }\n  18\t  return page;\n  19\t}\n  20\t\n", size)
}

func fill(text string, size int) string {
	return strings.Repeat(text, max(size, 0)/len(text)+1)[:max(size, 0)]
}
