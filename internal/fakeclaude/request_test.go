package fakeclaude

import (
	"encoding/json"
	"testing"
)

// FuzzDecodeRequest checks that every body is either refused or split into blocks whose sums
// only grow and end at the total, and that encoding/json reads the same.
func FuzzDecodeRequest(f *testing.F) {
	f.Add([]byte(body(true, thinking+","+bashTool+`,"system":"x"`)))
	f.Add([]byte(body(false, `"system":[{"type":"text","text":"a\"\\","cache_control":{"type":"ephemeral","ttl":"1h"}}]`)))
	f.Add([]byte(`{"model":"m","max_tokens":null,"messages":[{"role":"user","content":[{"type":"tool_result","content":[{"cache_control":{}}]}]}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		req, err := decodeRequest(body)
		if err != nil || req.missing(true) != nil {
			return
		}
		p, err := buildPrompt(req, 4)
		if err != nil {
			return
		}
		last := int64(0)
		for i, b := range p.blocks {
			if b.prefixTokens < last {
				t.Fatalf("block %d ends at %d tokens after %d", i, b.prefixTokens, last)
			}
			last = b.prefixTokens
		}
		if last != p.tokens {
			t.Fatalf("blocks end at %d of %d tokens", last, p.tokens)
		}
		var members map[string]json.RawMessage
		if err := json.Unmarshal(body, &members); err != nil {
			t.Fatalf("encoding/json rejects it: %v", err)
		}
		var model string
		if err := json.Unmarshal(members["model"], &model); err == nil && model != req.Model && members["model"] != nil {
			t.Fatalf("model is %q, not %q", req.Model, model)
		}
	})
}
