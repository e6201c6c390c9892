package claude

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

func TestScanRequest(t *testing.T) {
	f := func(body string, want Request) {
		t.Helper()
		got, err := ScanRequest([]byte(body))
		if err != nil {
			t.Errorf("%s: %v", body, err)
		}
		if got != want {
			t.Errorf("%s:\n got %+v\nwant %+v", body, got, want)
		}
	}
	f(`{}`, Request{})
	f(" {\n\"model\" : \"claude-opus-5\" } \r\n", Request{Model: "claude-opus-5", ModelStart: 13, ModelEnd: 28})
	f(`{"stream":true,"max_tokens":32000,"messages":[{"role":"user","content":"a"},{"role":"system"},[]]}`,
		Request{Stream: true, MaxTokens: 32000, Messages: 3})
	f(`{"metadata":{"user_id":"{\"session_id\":\"s\"}","other":{"user_id":"no"}}}`, Request{UserID: `{"session_id":"s"}`})
	f(`{"mod\u0065l":"\u00e9\ud83d\ude00\n"}`, Request{Model: "é😀\n", ModelStart: 14, ModelEnd: 36})

	f(`{"speed":"fast"}`, Request{Speed: "fast"})
	f(`{"speed":true,"tools":[{"speed":"fast"}]}`, Request{})

	// Only the top level counts, and there the last of several.
	f(`{"tools":[{"model":"x","stream":true}],"system":{"max_tokens":1}}`, Request{})
	f(`{"model":"a","model":"b","stream":true,"stream":null,"messages":[1],"messages":[]}`,
		Request{Model: "b", ModelStart: 21, ModelEnd: 24})
	f(`{"model":"a","model":null,"metadata":{"user_id":"u"},"metadata":{}}`, Request{})

	// The upstream refuses values of a wrong type.
	f(`{"model":7,"stream":"true","max_tokens":1e3,"metadata":"u","messages":{"a":1}}`, Request{StreamUnclear: true})
	f(`{"model":["a"],"stream":1,"max_tokens":"1","metadata":[{"user_id":"u"}],"messages":null}`, Request{StreamUnclear: true})
	f(`{"max_tokens":99999999999999999999}`, Request{})
}

func TestScanRequestSyntaxError(t *testing.T) {
	f := func(body string, offset int, msg string) {
		t.Helper()
		_, err := ScanRequest([]byte(body))
		syntax, ok := errors.AsType[*SyntaxError](err)
		if !ok {
			t.Errorf("%s: got %v, want a *SyntaxError", body, err)
			return
		}
		if syntax.Offset != offset || syntax.Msg != msg {
			t.Errorf("%s: got %v, want byte %d: %s", body, err, offset, msg)
		}
	}
	const early = "the text ends too early"
	f(``, 0, early)
	f(`  `, 2, early)
	f(`null`, 0, "want a JSON object")
	f(`[{}]`, 0, "want a JSON object")
	f("\x00{}", 0, "want a JSON object")
	f(`{`, 1, early)
	f(`{"a`, 3, early)
	f(`{"a\`, 4, early)
	f(`{"a\u12`, 7, early)
	f(`{"a"`, 4, early)
	f(`{"a":`, 5, early)
	f(`{"a":1`, 6, early)
	f(`{"a":[{"b":1}`, 13, early)
	f(`{"a":tru`, 5, "want true")
	f(`{"a":-`, 6, early)
	f(`{"a":1}x`, 7, "the object is followed by something")
	f("{}\x00", 2, "the object is followed by something")
	f(`{"a":1,}`, 7, "want the name of a member")
	f(`{a:1}`, 1, "want the name of a member")
	f(`{"a" 1}`, 5, "want a colon")
	f(`{"a":1 "b":2}`, 7, "want a comma or the end of the object")
	f(`{"a":[1 2]}`, 8, "want a comma or the end of the array")
	f(`{"a":[1}`, 7, "want a comma or the end of the array")
	f(`{"a":{"b":1]}`, 11, "want a comma or the end of the object")
	f(`{"a":[1,]}`, 8, "want a value")
	f(`{"a":}`, 5, "want a value")
	f(`{"a":+1}`, 5, "want a value")
	f(`{"a":01}`, 6, "want a comma or the end of the object")
	f(`{"a":1.}`, 7, "want a digit after the decimal point")
	f(`{"a":1e+}`, 8, "want a digit of the exponent")
	f(`{"a":True}`, 5, "want a value")
	f(`{"a":"\x"}`, 7, "unknown escape in a string")
	f(`{"a":"\u12g4"}`, 10, "want a hexadecimal digit")
	f("{\"a\":\"12345678901234567890\n\"}", 26, "control character in a string")
	f(`{"messages":[1,2,]}`, 17, "want a value")
	f(`{"metadata":{"user_id"}}`, 22, "want a colon")
}

func TestScanRequestKeepsWhatStoodBeforeTheFault(t *testing.T) {
	got, err := ScanRequest([]byte(`{"model":"m","stream":true,"messages":[`))
	if err == nil || got.Model != "m" || !got.Stream {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestScanRequestDepth(t *testing.T) {
	nested := func(depth int) []byte { // counting the outermost object
		return []byte(`{"a":` + strings.Repeat(`[`, depth-1) + strings.Repeat(`]`, depth-1) + `}`)
	}
	if _, err := ScanRequest(nested(maxDepth)); err != nil {
		t.Errorf("depth %d: %v", maxDepth, err)
	}
	if _, err := ScanRequest(nested(maxDepth + 1)); err == nil {
		t.Errorf("depth %d: no error", maxDepth+1)
	}
	if _, err := ScanRequest(bytes.Repeat([]byte(`{"a":`), 1<<20)); err == nil {
		t.Error("a million objects: no error")
	}
}

func TestScanRequestAllocations(t *testing.T) {
	body := requestBody(50 << 10)
	allocs := testing.AllocsPerRun(20, func() {
		if _, err := ScanRequest(body); err != nil {
			t.Fatal(err)
		}
	})
	// The model, and user_id with its escapes, which encoding/json decodes.
	if allocs > 6 {
		t.Errorf("%v allocations", allocs)
	}
}

// FuzzScanRequest compares ScanRequest with encoding/json.
func FuzzScanRequest(f *testing.F) {
	f.Add([]byte(`{"model":"claude-opus-5","stream":true,"max_tokens":1024,"metadata":{"user_id":"user_1_session_a"},"messages":[{"role":"user","content":[{"type":"text","text":"\"\\\u00e9"}]}]}`))
	f.Add([]byte(`{"model":"a","Model":"b","model":7,"max_tokens":-0,"max_tokens":1.5e+3}`))
	f.Add([]byte("{\"mod\\u0065l\":\"\xff\\ud800\",\"stream\":false}\n"))
	f.Add([]byte(`{"metadata":{"user_id":"a","user_id":null},"messages":[[],{},"",[1,[2,{"a":[]}]]]}`))
	f.Add([]byte(`{"a":"1234567\\","b":"12345678\"","c":"\t"}`))
	f.Add([]byte("{\"a\":\"0123456789abcdef\x1f\"}"))
	f.Add([]byte(` [{"model":"a"}] `))
	f.Add(requestBody(2 << 10))
	f.Fuzz(func(t *testing.T, body []byte) {
		got, err := ScanRequest(body)
		var members map[string]json.RawMessage
		valid := json.Unmarshal(body, &members) == nil && members != nil
		if valid != (err == nil) {
			t.Fatalf("error %v, but encoding/json says valid object: %v", err, valid)
		}
		if syntax, ok := errors.AsType[*SyntaxError](err); ok {
			if syntax.Offset < 0 || syntax.Offset > len(body) {
				t.Fatalf("offset %d of %d", syntax.Offset, len(body))
			}
			return
		}
		want := requestByEncodingJSON(members)
		if raw := members["model"]; want.Model != "" && !bytes.Equal(body[got.ModelStart:got.ModelEnd], raw) {
			t.Errorf("model range holds %q, want %q", body[got.ModelStart:got.ModelEnd], raw)
		}
		got.ModelStart, got.ModelEnd = 0, 0
		if got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	})
}

func requestByEncodingJSON(members map[string]json.RawMessage) Request {
	var r Request
	r.Model = stringByEncodingJSON(members["model"])
	r.Stream = string(members["stream"]) == "true"
	if json.Unmarshal(members["max_tokens"], &r.MaxTokens) != nil {
		r.MaxTokens = 0
	}
	var metadata map[string]json.RawMessage
	if json.Unmarshal(members["metadata"], &metadata) == nil {
		r.UserID = stringByEncodingJSON(metadata["user_id"])
	}
	var messages []json.RawMessage
	if json.Unmarshal(members["messages"], &messages) == nil {
		r.Messages = len(messages)
	}
	return r
}

func stringByEncodingJSON(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) != nil {
		return ""
	}
	return s
}

func BenchmarkScanRequest(b *testing.B) {
	for _, bench := range []struct {
		name string
		body []byte
	}{
		{"turn", requestBody(300 << 10)},
		{"image", []byte(`{"model":"claude-opus-5","messages":[{"role":"user","content":[{"type":"image","data":"` + strings.Repeat("iVBORw0KGgo", 300<<10/11) + `"}]}]}`)},
	} {
		b.Run(bench.name, func(b *testing.B) {
			var p PromptScanner
			b.SetBytes(int64(len(bench.body)))
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := p.Scan(bench.body); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// requestBody returns a request like a coding session's: tool schemas, and then turns with source
// code, of about size bytes.
func requestBody(size int) []byte {
	type object = map[string]any
	const code = "func (s *Server) handle(w http.ResponseWriter, r *http.Request) {\n\tif r.Method != \"POST\" {\n\t\thttp.Error(w, \"method not allowed\", 405)\n\t\treturn\n\t}\n}\n"
	tool := object{"name": "Read", "description": strings.Repeat("Reads a file from the local file system. ", 40), "input_schema": object{
		"type": "object", "properties": object{"path": object{"type": "string", "description": "The path."}, "limit": object{"type": "number"}}, "required": []string{"path"},
	}}
	messages := []any{}
	for n := 0; n < size; n += 4200 {
		messages = append(messages,
			object{"role": "assistant", "content": []any{object{"type": "tool_use", "id": "toolu_01", "name": "Read", "input": object{"path": "/src/server.go"}}}},
			object{"role": "user", "content": []any{object{"type": "tool_result", "tool_use_id": "toolu_01", "content": strings.Repeat(code, 25)}}})
	}
	body, err := json.Marshal(object{
		"model": "claude-opus-5", "max_tokens": 32000, "stream": true, "tools": []any{tool, tool},
		"metadata": object{"user_id": `{"device_id":"d","account_uuid":"","session_id":"8d1c1a52-6f0e-4a58-9b0e-0f6a3d2c7b11"}`}, "messages": messages,
	})
	if err != nil {
		panic(err)
	}
	return body
}
