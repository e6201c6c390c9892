package claude

import (
	"bytes"
	"testing"
)

// eventOf returns the first event of a stream.
func eventOf(stream string) (ev Event) {
	s := EventScanner{KeepData: NeedsData}
	s.Feed([]byte(stream+"\n\n"), func(e Event) {
		if ev.End == 0 {
			ev = e
			ev.Data = bytes.Clone(e.Data)
		}
	})
	return ev
}

func TestKindOfAnEvent(t *testing.T) {
	f := func(stream, kind, relabel string) {
		t.Helper()
		if ev := eventOf(stream); ev.Kind() != kind || ev.Relabel() != relabel {
			t.Errorf("%q: kind %q, relabel %q", stream, ev.Kind(), ev.Relabel())
		}
	}
	f("event: message_start\ndata: {}", "message_start", "")
	f("event: ping\ndata: still here", "ping", "")
	f("event: error\ndata: boom", "error", "")
	f("data: {\"type\":\"content_block_delta\",\"index\":0}", "content_block_delta", "content_block_delta")
	f("data: {\"index\":0,\ndata: \"type\":\"message_stop\"}", "message_stop", "message_stop")
	f("event: message\ndata: {\"type\":\"message_start\",\"message\":{}}", "message_start", "message_start")
	f("event:\ndata: {\"type\":\"message_stop\"}", "message_stop", "message_stop")
	f("Event: message_stop\ndata: {\"type\":\"message_stop\"}", "message_stop", "message_stop")
	f("data: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\"}}", "error", "error")
	f("data: {\"error\":{\"message\":\"no channel\"}}", "error", "error")
	f("data: {\"error\":null}", "", "")
	f("event: usage\ndata: {\"error\":{\"message\":\"no channel\"}}", "", "")
	f("data: {\"type\":\"news\"}", "", "")
	f("data: {\"type\":\"message_stop\"", "", "")
	f("data: [DONE]", "", "")
	f("data: still here", "", "")
	f("data:", "", "")
	f("event: news", "", "")
	f("event: news\ndata: {\"type\":\"news\"}", "", "")
	f("event: done\ndata: [DONE]", "", "ping")
	f("event: news\ndata: in words", "", "ping")
	f("event: news\ndata: null", "", "ping")
	f("event:\ndata: in words", "", "ping")
}

func TestForeignEvents(t *testing.T) {
	f := func(stream string, want bool) {
		t.Helper()
		if got := eventOf(stream).Foreign(); got != want {
			t.Errorf("%q: %v", stream, got)
		}
	}
	f("data: {\"id\":\"c1\",\"object\":\"chat.completion.chunk\",\"choices\":[{\"delta\":{\"content\":\"hi\"}}]}", true)
	f("event: response.created\ndata: {\"type\":\"response.created\"}", true)
	f("data: {\"type\":\"response.output_text.delta\"}", true)
	f("data: {\"candidates\":[{\"content\":{}}]}", true)
	f("data: {\"status\":\"waiting\"}", false)
	f("data: {\"type\":\"message_start\"}", false)
	f("event: ping\ndata: {\"choices\":[]}", false)
	f("data: [DONE]", false)
}

func TestShapes(t *testing.T) {
	f := func(body string, count, list, model bool) {
		t.Helper()
		b := []byte(body)
		if IsTokenCount(b) != count || IsModelList(b) != list || IsModel(b) != model {
			t.Errorf("%s: count %v, list %v, model %v", body, IsTokenCount(b), IsModelList(b), IsModel(b))
		}
	}
	f(`{"input_tokens":12}`, true, false, false)
	f(`{"input_tokens":0,"context_management":{}}`, true, false, false)
	f(`{"input_tokens":12.0}`, true, false, false)
	f(`{"input_tokens":"12"}`, false, false, false)
	f(`{"input_tokens":null}`, false, false, false)
	f(`{"input_tokens":-1}`, false, false, false)
	f(`{"data":[],"has_more":false}`, false, true, false)
	f(`{"data":[{"id":"claude-x","type":"model"}],"first_id":"claude-x"}`, false, true, false)
	f(`{"data":{}}`, false, false, false)
	f(`{"data":null,"code":500}`, false, false, false)
	f(`{"id":"claude-x","type":"model"}`, false, false, true)
	f(`{"id":"claude-x","object":"model"}`, false, false, true)
	f(`{"type":"error","id":"req_1"}`, false, false, false)
	f(`{"data":[]}x`, false, false, false)
	f(`{"input_tokens":12`, false, false, false)
	f(`[{"input_tokens":12}]`, false, false, false)
	f(`{}`, false, false, false)
	f(`null`, false, false, false)
	f(``, false, false, false)
}

// FuzzShapes checks that at most one shape fits a body, and that the body is one complete object.
func FuzzShapes(f *testing.F) {
	for _, seed := range []string{`{"input_tokens":12}`, `{"data":[]}`, `{"id":"claude-x","type":"model"}`, `{"type":"message","content":[],"usage":{"output_tokens":3}}`, `{"error":"x"}`, `[1]`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		message, ok := ParseMessage(body)
		if fits := ok || IsTokenCount(body) || IsModelList(body) || IsModel(body); fits && !IsObject(body) {
			t.Errorf("%q is not an object", body)
		}
		if ok && IsModel(body) {
			t.Errorf("%q is a message and a model", body)
		}
		if !ok && !message.Empty() {
			t.Errorf("%q: %+v", body, message)
		}
	})
}
