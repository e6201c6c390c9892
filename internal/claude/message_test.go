package claude

import (
	"bytes"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
)

// observe feeds a whole stream and returns its message.
func observe(stream string) Message {
	var m Message
	s := EventScanner{KeepData: NeedsData}
	s.Feed([]byte(stream), m.Observe)
	return m
}

func TestObserveStream(t *testing.T) {
	got := observe(string(messageStream(3)))
	want := Message{
		ID: "msg_01", Model: "claude-opus-5", StopReason: "end_turn",
		Usage: Usage{
			InputTokens: 12, OutputTokens: 421, CacheReadTokens: 90000,
			CacheCreation5mTokens: 100, CacheCreation1hTokens: 200, ServiceTier: "standard",
		},
		Reported:        ReportedInput | ReportedOutput,
		EstimatedOutput: 18,
		Started:         true, Content: true, Delta: true, Stopped: true,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("\n got %+v\nwant %+v", got, want)
	}
	if n := got.Usage.CacheCreationTokens(); n != 300 {
		t.Errorf("cache creation %d", n)
	}
	if n := got.Usage.TotalInputTokens(); n != 90312 {
		t.Errorf("total input %d", n)
	}
}

func TestObserveStages(t *testing.T) {
	f := func(stream string, want Message) {
		t.Helper()
		if got := observe(stream); !reflect.DeepEqual(got, want) {
			t.Errorf("%q:\n got %+v\nwant %+v", stream, got, want)
		}
	}
	f("", Message{})
	f("event: ping\ndata: {}\n\n: comment\n\n", Message{})
	f("event: message_start\ndata: {\"message\":{\"id\":\"a\"}}\n\n", Message{ID: "a", Started: true})
	f("event: message_start\ndata: {\"message\":{\"id\":\"a\",\"usage\":{\"input_tokens\":5,\n\n", Message{ID: "a", Usage: Usage{InputTokens: 5}, Reported: ReportedInput, Started: true})
	f("event: message_start\ndata: {\"message\":{\"id\":\"a\",\"model\":\"x\"}}\n\nevent: message_start\ndata: {\"message\":{\"id\":\"b\"}}\n\n",
		Message{ID: "b", Started: true})
	f("event: message_start\ndata: nonsense\n\n", Message{})
	f("event: message_start\ndata: {\"message\":null}\n\n", Message{})
	f("event: message_start\n\nevent: content_block_start\n\n", Message{}) // the SDKs skip events without data
	f("event: content_block_start\ndata: {}\n\n", Message{Content: true})
	f("event: message_delta\ndata: {\"delta\":{\"stop_reason\":null,\"id\":\"x\"},\"usage\":null}\n\n", Message{Delta: true})
	f("event: message_start\ndata: {\"message\":{\"container\":{\"id\":\"container_1\"}}}\n\nevent: message_delta\ndata: {\"delta\":{\"container\":{\"id\":\"container_1\"}}}\n\n",
		Message{Started: true, Delta: true, ResourceIDs: []string{"container_1"}})
	f("event: content_block_start\ndata: {\"content_block\":{\"type\":\"bash_code_execution_tool_result\",\"content\":{\"content\":[{\"file_id\":\"file_1\"}]}}}\n\n",
		Message{Content: true, ResourceIDs: []string{"file_1"}})
	f("event: message_stop\ndata: {}\n\n", Message{Stopped: true})
	f("data: {\"type\":\"message_stop\"}\n\n", Message{Stopped: true}) // such events get their name
	f("event: message\ndata: {\"type\":\"message_stop\"}\n\n", Message{Stopped: true})
	f("event: ping\ndata: {\"type\":\"message_stop\"}\n\ndata: message_stop\n\ndata: {\"type\":\"message_stop\"\n\n", Message{})
	f("data: [DONE]\n\nevent: done\ndata: [DONE]\n\nevent: ping\ndata: still there\n\n", Message{})

	f("event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}\n\nevent: error\ndata: {\"error\":\"second\"}\n\n",
		Message{Err: &Error{Type: ErrOverloaded, Message: "Overloaded"}, ErrData: []byte(`{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}`)})
	f("event: error\ndata: boom\n\n", Message{Err: &Error{Type: ErrAPI, Message: "The upstream sent an error event without a readable error."}, ErrData: []byte("boom")})
}

func TestObserveUsage(t *testing.T) {
	f := func(want Usage, usages ...string) {
		t.Helper()
		var m Message
		for i, usage := range usages {
			if i == 0 {
				m.Observe(Event{Name: "message_start", Data: []byte(`{"message":{"usage":` + usage + `}}`)})
			} else {
				m.Observe(Event{Name: "message_delta", Data: []byte(`{"usage":` + usage + `}`)})
			}
		}
		if m.Usage != want {
			t.Errorf("%s:\n got %+v\nwant %+v", usages, m.Usage, want)
		}
	}
	f(Usage{InputTokens: 10, OutputTokens: 50}, `{"input_tokens":10,"output_tokens":1}`, `{"output_tokens":20}`, `{"output_tokens":50}`)
	f(Usage{InputTokens: 90, CacheReadTokens: 7}, `{"input_tokens":100}`, `{"input_tokens":90,"cache_read_input_tokens":7}`)
	f(Usage{InputTokens: 10, OutputTokens: 3}, `{"input_tokens":10,"output_tokens":3}`, `{"input_tokens":0,"output_tokens":0}`)
	f(Usage{InputTokens: 10, OutputTokens: 2, CacheReadTokens: 9}, `{"input_tokens":10}`, `{"input_tokens":-5,"output_tokens":1.5,"cache_read_input_tokens":"9"}`, `{"input_tokens":null}`, `[]`, `7`)
	f(Usage{InputTokens: maxCount}, `{"input_tokens":1e8,"cache_creation_input_tokens":9223372036854775807}`)
	f(Usage{InputTokens: 5}, `{"input_tokens":5}`, `{"input_tokens":1e30,"output_tokens":"many"}`, `{"input_tokens":"0x10"}`, `{"input_tokens":"inf"}`, `{"input_tokens":true}`)
	// A zero is accepted if another count of the prompt is not zero.
	f(Usage{CacheReadTokens: 100}, `{"input_tokens":100,"output_tokens":1}`, `{"input_tokens":0,"cache_read_input_tokens":100,"output_tokens":0}`)
	f(Usage{InputTokens: 70}, `{"input_tokens":1,"cache_creation_input_tokens":9}`, `{"input_tokens":70,"cache_creation_input_tokens":0}`)
	f(Usage{Speed: "fast", InferenceGeo: "us", ServiceTier: "standard"}, `{"speed":"fast","inference_geo":"us","service_tier":"standard"}`, `{"speed":null}`)
	f(Usage{CodeRequests: 1, OtherToolRequests: 5}, `{"server_tool_use":{"web_fetch_requests":9,"code_execution_requests":1,"a":2,"b":3}}`)
	f(Usage{WebSearchRequests: 2, ServiceTier: "priority"}, `{"server_tool_use":{"web_search_requests":1},"service_tier":"priority"}`, `{"server_tool_use":{"web_search_requests":2},"service_tier":null}`)

	// The two lifetimes of cache writes, and a total without them.
	f(Usage{CacheCreation5mTokens: 9}, `{"cache_creation_input_tokens":9}`)
	f(Usage{CacheCreation5mTokens: 9}, `{"cache_creation_input_tokens":9,"cache_creation":{"ephemeral_5m_input_tokens":0,"ephemeral_1h_input_tokens":0}}`)
	f(Usage{CacheCreation1hTokens: 9}, `{"cache_creation":{"ephemeral_5m_input_tokens":0,"ephemeral_1h_input_tokens":9},"cache_creation_input_tokens":9}`)
	f(Usage{CacheCreation5mTokens: 4, CacheCreation1hTokens: 5}, `{"cache_creation_input_tokens":9,"cache_creation":{"ephemeral_5m_input_tokens":4,"ephemeral_1h_input_tokens":5}}`, `{"cache_creation_input_tokens":9}`)
	f(Usage{CacheCreation5mTokens: 6, CacheCreation1hTokens: 5}, `{"cache_creation":{"ephemeral_5m_input_tokens":4,"ephemeral_1h_input_tokens":5}}`, `{"cache_creation_input_tokens":11}`)
	f(Usage{CacheCreation1hTokens: 3}, `{"cache_creation":{"ephemeral_5m_input_tokens":4,"ephemeral_1h_input_tokens":5}}`, `{"cache_creation_input_tokens":3}`)
	f(Usage{CacheCreation1hTokens: 11}, `{"cache_creation":{"ephemeral_1h_input_tokens":5}}`, `{"cache_creation_input_tokens":11}`)
	f(Usage{CacheCreation5mTokens: 3, CacheCreation1hTokens: 4}, `{"cache_creation_input_tokens":0,"cache_creation":{"ephemeral_5m_input_tokens":3,"ephemeral_1h_input_tokens":4}}`)
}

func TestObserveAllocations(t *testing.T) {
	delta := Event{Name: "message_delta", Data: []byte(`{"type":"message_delta","delta":{"stop_sequence":null},"usage":{"output_tokens":421,"input_tokens":3}}`)}
	var m Message
	if n := testing.AllocsPerRun(100, func() { m.Observe(delta) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func outputOf(m Message) int64 {
	u, _ := m.CompletedUsage(0)
	return u.OutputTokens
}

func TestParseMessage(t *testing.T) {
	f := func(body string, want Message, wantOK bool) {
		t.Helper()
		got, ok := ParseMessage([]byte(body))
		if !reflect.DeepEqual(got, want) || ok != wantOK {
			t.Errorf("%s:\n got %+v, %v\nwant %+v, %v", body, got, ok, want, wantOK)
		}
	}
	whole := Message{Started: true, Delta: true, Stopped: true}
	withContent := whole
	withContent.Content = true
	f(`{"type":"message","content":[]}`, whole, true)
	f(`{"type":"message","content":[{"text":"","type":"text"}]}`, whole, true)
	mixed := withContent
	mixed.EstimatedOutput = 5
	f(`{"type":"message","content":[{"text":"","type":"text"},{"type":"tool_use"}]}`, mixed, true)
	full := withContent
	full.ID, full.Model, full.StopReason = "msg_01", "claude-opus-5", "tool_use"
	full.Reported, full.EstimatedOutput = ReportedInput|ReportedOutput, 12
	full.Usage = Usage{InputTokens: 1, OutputTokens: 2, CacheReadTokens: 3, CacheCreation5mTokens: 4}
	f(`{"id":"msg_01","content":[{"type":"tool_use","id":"no","model":"no","usage":{"input_tokens":99}}],"type":"message","model":"claude-opus-5","stop_reason":"tool_use",
		"usage":{"input_tokens":1,"output_tokens":2,"cache_read_input_tokens":3,"cache_creation_input_tokens":4}}`, full, true)
	making := withContent
	making.ResourceIDs, making.EstimatedOutput = []string{"file_1", "container_1"}, 18
	f(`{"type":"message","content":[{"type":"tool_use","input":{"file_id":"file_2"}},{"content":{"content":[{"file_id":"file_1"}]}}],"container":{"id":"container_1"}}`, making, true)
	f(`{"input_tokens":14}`, Message{}, false)
	f(`{"type":"error","error":{"type":"api_error","message":"m"}}`, Message{}, false)
	f(`{"type":"message","id":"msg_01"`, Message{}, false)
	f(`{"type":"message","content":[]} {}`, Message{}, false)
	f(`{"type":"message","content":[]}x`, Message{}, false)
	unlisted := whole
	unlisted.ContentMissing = true
	f(`{"type":"message"}`, unlisted, true)
	f(`{"type":"message","content":null}`, unlisted, true)
	f(`{"data":{"type":"message","content":[]}}`, Message{}, false)
	f(`{"message":{"type":"message","content":[]}}`, Message{}, false)
	f(`[{"type":"message"}]`, Message{}, false)
	f(`<html>`, Message{}, false)
	f(``, Message{}, false)
}

// TestEmpty distinguishes empty messages from turns in which the model had nothing to add.
func TestEmpty(t *testing.T) {
	f := func(content, stop, usage string, want bool) {
		t.Helper()
		body := `{"type":"message","content":[` + content + `],"stop_reason":"` + stop + `"` + usage + `}`
		m, ok := ParseMessage([]byte(body))
		if !ok || m.Empty() != want {
			t.Errorf("%s: empty %v, parsed %v", body, m.Empty(), ok)
		}
		start := `{"type":"message_start","message":{"usage":{"input_tokens":9,"output_tokens":1}}}`
		stream := "event: message_start\ndata: " + start + "\n\n"
		if content != "" {
			stream += "event: content_block_start\ndata: {\"content_block\":" + content + "}\n\nevent: content_block_stop\ndata: {}\n\n"
		}
		stream += "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"" + stop + "\"}" + usage + "}\n\nevent: message_stop\ndata: {}\n\n"
		if m := observe(stream); m.Empty() != want {
			t.Errorf("%s: empty %v", stream, m.Empty())
		}
	}
	for _, none := range []string{``, `,"usage":null`, `,"usage":{}`, `,"usage":{"output_tokens":0}`, `,"usage":{"input_tokens":7,"output_tokens":0}`,
		`,"usage":{"output_tokens":"0"}`, `,"usage":{"output_tokens":-1}`, `,"usage":{"output_tokens":null}`} {
		for _, stop := range []string{"end_turn", "max_tokens", "pause_turn", "tool_use", ""} {
			f("", stop, none, true)
			f(`{"type":"text","text":""}`, stop, none, true)
		}
		f("", "refusal", none, false)
		f("", "model_context_window_exceeded", none, false)
		f(`{"type":"tool_use"}`, "tool_use", none, false)
		f(`{"type":"text","text":"hi"}`, "end_turn", none, false)
	}
	delta := func(text string) string {
		return "event: content_block_delta\ndata: {\"delta\":{\"type\":\"text_delta\",\"text\":\"" + text + "\"}}\n\n"
	}
	for content, want := range map[string]bool{"": true, delta(""): true, delta("") + delta("a"): false, delta("a") + delta(""): false} {
		stream := "event: message_start\ndata: {\"message\":{}}\n\nevent: content_block_start\ndata: {\"content_block\":{\"text\":\"\",\"type\":\"text\"}}\n\n" + content +
			"event: content_block_stop\ndata: {}\n\nevent: message_delta\ndata: {\"usage\":{\"output_tokens\":0}}\n\nevent: message_stop\ndata: {}\n\n"
		var m Message
		new(EventScanner).Feed([]byte(stream), m.Observe)
		if m.Empty() != want {
			t.Errorf("%s: empty %v", stream, m.Empty())
		}
	}
	for _, some := range []string{`,"usage":{"output_tokens":3}`, `,"usage":{"output_tokens":3.0}`, `,"usage":{"output_tokens":"3"}`} {
		f("", "end_turn", some, false)
		f("", "pause_turn", some, false)
	}
}

// FuzzMessage checks that a message does not depend on how its stream was cut.
func FuzzMessage(f *testing.F) {
	f.Add(messageStream(1), uint64(1))
	f.Add([]byte("event: message_start\r\ndata: {\"message\":{\"id\":\"\\u00e9\",\ndata: \"usage\":{\"input_tokens\":5}}}\r\n\r\nevent: message_stop\n\n"), uint64(2))
	f.Add([]byte("event: message_delta\ndata: {\"usage\":{\"input_tokens\":\"7\",\"output_tokens\":1e30,\"iterations\":[{\"type\":\"advisor_message\",\"model\":\"b\",\"output_tokens\":-1}]}}\n\nevent: message_stop\ndata: {\"usage\":{\"input_tokens\":1.5}}\n\n"), uint64(4))
	f.Add([]byte("event: error\ndata: {\"error\":\"x\"}\n\nevent: message_delta\ndata: {\"usage\":{\"cache_creation_input_tokens\":9,\"cache_creation\":{\"ephemeral_1h_input_tokens\":3}}}\n\n"), uint64(3))
	f.Fuzz(func(t *testing.T, stream []byte, seed uint64) {
		want := observe(string(stream))
		random := rand.New(rand.NewPCG(seed, 0))
		var got Message
		s := EventScanner{KeepData: NeedsData}
		for rest := stream; len(rest) > 0; {
			n := 1 + random.IntN(min(len(rest), 20))
			s.Feed(rest[:n], got.Observe)
			rest = rest[n:]
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("\n got %+v\nwant %+v", got, want)
		}
		u := got.Usage
		if min(u.InputTokens, u.OutputTokens, u.CacheReadTokens, u.CacheCreation5mTokens, u.CacheCreation1hTokens, u.WebSearchRequests) < 0 {
			t.Errorf("negative count: %+v", u)
		}
		settled, _ := got.CompletedUsage(100)
		for _, each := range append(got.Bill(settled).Extra, Iteration{Usage: got.Bill(settled).Usage}) {
			if u := each.Usage; min(u.InputTokens, u.OutputTokens, u.CacheReadTokens, u.CacheCreation5mTokens, u.CacheCreation1hTokens) < 0 || u.InputTokens > maxIterations*maxCount {
				t.Errorf("%+v", each)
			}
		}
	})
}

func BenchmarkObserve(b *testing.B) {
	start := Event{Name: "message_start", Data: []byte(`{"type":"message_start","message":{"id":"msg_01","type":"message","role":"assistant","model":"claude-opus-5","content":[],"stop_reason":null,"usage":{"input_tokens":12,"cache_creation_input_tokens":300,"cache_read_input_tokens":90000,"cache_creation":{"ephemeral_5m_input_tokens":100,"ephemeral_1h_input_tokens":200},"output_tokens":1,"service_tier":"standard"}}}`)}
	b.ReportAllocs()
	for b.Loop() {
		var m Message
		m.Observe(start)
		if m.Usage.InputTokens != 12 {
			b.Fatal(m)
		}
	}
}

func BenchmarkParseMessage(b *testing.B) {
	body := []byte(`{"id":"msg_01","type":"message","role":"assistant","model":"claude-opus-5","content":[{"type":"text","text":"` +
		strings.Repeat(`func main() {\n\tfmt.Println(\"hello\")\n}\n`, 20000) + `"}],"stop_reason":"end_turn","usage":{"input_tokens":12,"output_tokens":421}}`)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := ParseMessage(body); !ok {
			b.Fatal("not a message")
		}
	}
}

func TestOutputOfAnAnswerThatBrokeOff(t *testing.T) {
	whole := messageStream(3)
	cut := observe(string(whole[:bytes.Index(whole, []byte("event: message_delta"))]))
	if cut.Delta || outputOf(cut) != 18 {
		t.Errorf("%d of %+v", outputOf(cut), cut)
	}
	cut.Usage.OutputTokens = 30
	if outputOf(cut) != 30 {
		t.Error("less than was told")
	}
	if m := observe(string(whole)); outputOf(m) != 421 {
		t.Errorf("%d", outputOf(m))
	}
}
