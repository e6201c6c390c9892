package claude

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"
)

// prefixes scans a body and returns its fingerprints: tools, system, then each turn.
func prefixes(t *testing.T, body string) []uint64 {
	t.Helper()
	var p PromptScanner
	_, prompt, err := p.Scan([]byte(body))
	if err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	out := []uint64{prompt.Tools.Fingerprint, prompt.System.Fingerprint}
	for _, b := range prompt.Turns {
		out = append(out, b.Fingerprint)
	}
	return out
}

// shared counts the prefixes that two bodies have in common, from the front.
func shared(t *testing.T, a, b string) int {
	t.Helper()
	x, y, n := prefixes(t, a), prefixes(t, b), 0
	for n < len(x) && n < len(y) && x[n] == y[n] {
		n++
	}
	return n
}

func TestPromptPrefixes(t *testing.T) {
	const head = `"model":"m","tools":[{"name":"bash"}],"system":"be brief",`
	f := func(a, b string, want int) {
		t.Helper()
		if got := shared(t, `{`+a+`}`, `{`+b+`}`); got != want {
			t.Errorf("%s\n%s\nshare %d prefixes, want %d", a, b, got, want)
		}
	}
	one, two, three := `{"role":"user","content":"a"}`, `{"role":"assistant","content":"b"}`, `{"role":"user","content":"c"}`
	f(head+`"messages":[`+one+`]`, head+`"messages":[`+one+`,`+two+`,`+three+`]`, 3)
	f(head+`"messages":[`+one+`,`+two+`]`, head+`"messages":[`+one+`,`+three+`]`, 3)
	f(head+`"messages":[`+one+`]`, `"messages":[`+one+`],"max_tokens":5,"stream":true,"metadata":{"user_id":"u"},`+head[:len(head)-1], 3)
	f(`"model":"m","messages":[`+one+`]`, `"model":"n","messages":[`+one+`]`, 0)
	f(`"model":"m","tools":[{"name":"x"}],"messages":[]`, `"model":"m","tools":[{"name":"y"}],"messages":[]`, 0)
	f(`"model":"m","system":"x","messages":[`+one+`]`, `"model":"m","system":"y","messages":[`+one+`]`, 1)

	// Differences that the cache ignores.
	f(`"model":"m","messages":[`+one+`]`, `"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"a"}]}]`, 3)
	f(`"model":"m","messages":[`+one+`]`, `"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"a","cache_control":{"type":"ephemeral"}}]}]`, 3)
	f(`"model":"m","messages":[{"role":"user","content":[{"type":"tool_result","tool_use_id":"t","content":"x"}]}]`,
		`"model":"m","messages":[{"role":"user","content":[{"type":"tool_result","tool_use_id":"t","content":"x","cache_control":{"type":"ephemeral"}}]}]`, 3)
	f(`"model":"m","system":"x"`, `"model":"m","system":[{"type":"text","text":"x","cache_control":{"type":"ephemeral","ttl":"1h"}}]`, 2)

	// Differences that the cache sees.
	f(`"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}]`, `"model":"m","messages":[{"role":"user","content":"ab"}]`, 2)
	f(`"model":"m","messages":[{"role":"user","content":"a"}]`, `"model":"m","messages":[{"role":"assistant","content":"a"}]`, 2)
	f(`"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"a","citations":[]}]}]`, `"model":"m","messages":[{"role":"user","content":"a"}]`, 2)
}

func TestPromptTellsBytesAndTTL(t *testing.T) {
	var p PromptScanner
	body := `{"model":"m","tools":[1],"system":[{"type":"text","text":"x","cache_control":{"type":"ephemeral","ttl":"1h"}}],"messages":[{"role":"user","content":"a"}]}`
	r, prompt, err := p.Scan([]byte(body))
	if err != nil || r.Messages != 1 || r.Model != "m" {
		t.Fatalf("%+v, %v", r, err)
	}
	if !prompt.HasBreakpoint || !prompt.LongTTL || prompt.Tools.Bytes != 3 || prompt.Last().Bytes != prompt.Turns[0].Bytes || prompt.Last().Bytes < 100 {
		t.Errorf("%+v", prompt)
	}
	_, prompt, _ = p.Scan([]byte(`{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"a","cache_control":{"type":"ephemeral"}}]}]}`))
	if !prompt.HasBreakpoint || prompt.LongTTL || len(prompt.Turns) != 1 {
		t.Errorf("the second body: %+v", prompt)
	}
	if _, prompt, _ = p.Scan([]byte(`{"cache_control":null,"messages":[]}`)); prompt.HasBreakpoint {
		t.Error("null is no mark")
	}
	if _, prompt, err := p.Scan([]byte(`{"model":`)); err == nil || prompt != nil {
		t.Error("a broken body has fingerprints")
	}
}

func TestSeedsMakeFingerprintsIncomparable(t *testing.T) {
	body := []byte(`{"model":"m","messages":[{"role":"user","content":"a"}]}`)
	a, b := PromptScanner{Seed: 1}, PromptScanner{Seed: 2}
	_, x, _ := a.Scan(body)
	_, y, _ := b.Scan(body)
	if x.Last().Fingerprint == y.Last().Fingerprint {
		t.Error("two seeds, one fingerprint")
	}
}

// TestScanBearsAnythingInStrings checks any bytes inside strings, and errors elsewhere.
func TestScanBearsAnythingInStrings(t *testing.T) {
	f := func(body string, want bool) {
		t.Helper()
		if _, prompt, err := new(PromptScanner).Scan([]byte(body)); (err == nil) != want || (prompt != nil) != want {
			t.Errorf("%q: %v", body, err)
		}
	}
	long := strings.Repeat("0123456789", 1000)
	f("{\"model\":\"a\x01\"}", true)
	f("{\"system\":\""+long+"\n"+long+"\"}", true)
	f("{\"system\":\""+long+"\\n"+long+"\"}", true)
	f("{\"system\":\""+long+"\\x"+long+"\"}", true)
	f(`{"system":"\\","messages":[]}`, true)
	f(`{"system":"\\\","messages":[]}`, false)
	f(`{"system":"\"\\\"","messages":[]}`, true)
	f(`{"system":"`, false)
	f("{\"system\":\""+long, false)
	f("{\"model\":\x01\"a\"}", false)
	r, _, _ := new(PromptScanner).Scan([]byte("{\"model\":\"a\nb\"}"))
	if r.Model != "" {
		t.Errorf("the model is %q", r.Model)
	}
}

// FuzzPrompt compares fingerprints with a slow reference that parses the body as a tree: two bodies
// share a fingerprint exactly if the reference has the same text.
func FuzzPrompt(f *testing.F) {
	f.Add(`[{"role":"user","content":"a"}]`, `[{"role":"user","content":[{"type":"text","text":"a"}]}]`)
	f.Add(`[{"role":"user","content":[{"type":"x","cache_control":1,"y":[1,2]}]}]`, `[{"role":"user","content":[{"type":"x","y":[1,2]}]}]`)
	f.Add(`[1,{"content":{}}]`, `[[]]`)
	f.Fuzz(func(t *testing.T, a, b string) {
		x, y := `{"model":"m","messages":`+a+`}`, `{"model":"m","messages":`+b+`}`
		if !json.Valid([]byte(x)) || !json.Valid([]byte(y)) {
			return
		}
		if escapesNames(a) || escapesNames(b) || !utf8.ValidString(a+b) {
			return
		}
		u, v := prefixes(t, x)[2:], prefixes(t, y)[2:]
		m, n := canonical(t, a), canonical(t, b)
		if len(u) != len(m) || len(v) != len(n) {
			t.Fatalf("%d and %d turns, want %d and %d", len(u), len(v), len(m), len(n))
		}
		for i := range min(len(u), len(v)) {
			same := strings.Join(m[:i+1], "\n") == strings.Join(n[:i+1], "\n")
			if (u[i] == v[i]) != same {
				t.Fatalf("turn %d: fingerprints equal %v, texts equal %v\n%s\n%s", i, u[i] == v[i], same, a, b)
			}
		}
	})
}

// escapesNames reports whether a member's name may be written in two ways, on which the two ways of
// reading differ.
func escapesNames(text string) bool { return strings.Contains(text, `\`) }

// canonical writes every message in one way, regardless of its form.
func canonical(t *testing.T, messages string) []string {
	var elements []json.RawMessage
	if json.Unmarshal([]byte(messages), &elements) != nil {
		return nil
	}
	var out []string
	for _, e := range elements {
		var line strings.Builder
		for _, m := range orderedMembers(e) {
			if m.name == "content" {
				fmt.Fprintf(&line, "content=%s ", canonicalContent(m.value))
			} else {
				fmt.Fprintf(&line, "%q=%s ", m.name, m.value)
			}
		}
		out = append(out, line.String())
	}
	return out
}

func canonicalContent(content json.RawMessage) string {
	var blocks []json.RawMessage
	if !bytes.HasPrefix(content, []byte("[")) || json.Unmarshal(content, &blocks) != nil {
		return "text " + string(content) + " "
	}
	var out strings.Builder
	for _, b := range blocks {
		out.WriteString(canonicalBlock(b))
	}
	return out.String()
}

func canonicalBlock(block json.RawMessage) string {
	if !bytes.HasPrefix(block, []byte("{")) {
		return "other " + string(block) + " "
	}
	var kind, text string
	others := 0
	var members strings.Builder
	for _, m := range orderedMembers(block) {
		switch m.name {
		case "cache_control":
		case "type":
			kind = string(m.value)
		case "text":
			text = string(m.value)
		default:
			others++
			fmt.Fprintf(&members, "%q=%s ", m.name, m.value)
		}
	}
	if others == 0 && text != "" && kind == `"text"` {
		return "text " + text + " "
	}
	return "block {" + members.String() + "type=" + kind + " text=" + text + "} "
}

type member struct {
	name  string
	value json.RawMessage
}

// orderedMembers are the members of an object in the order of its text; none of anything else.
func orderedMembers(object json.RawMessage) []member {
	dec := json.NewDecoder(bytes.NewReader(object))
	if token, err := dec.Token(); err != nil || token != json.Delim('{') {
		return nil
	}
	var out []member
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return out
		}
		var value json.RawMessage
		if dec.Decode(&value) != nil {
			return out
		}
		out = append(out, member{name.(string), value})
	}
	return out
}

func BenchmarkPrompt(b *testing.B) {
	var turns []string
	for i := range 60 {
		turns = append(turns, fmt.Sprintf(`{"role":"user","content":[{"type":"text","text":%q}]}`, strings.Repeat(fmt.Sprint("word ", i), 800)))
	}
	body := []byte(`{"model":"m","messages":[` + strings.Join(turns, ",") + `]}`)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	var p PromptScanner
	for b.Loop() {
		if _, _, err := p.Scan(body); err != nil {
			b.Fatal(err)
		}
	}
}
