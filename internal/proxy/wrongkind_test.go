package proxy

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/ledger"
	"github.com/9bingyin/claude-code-lb/internal/upstream"
)

// TestUnusableResponsesFailOver checks that unusable responses count as failures of the endpoint
// before the client has received a byte.
func TestUnusableResponsesFailOver(t *testing.T) {
	f := func(name, reason string, bad http.HandlerFunc) {
		for _, kind := range []struct{ name, body, want string }{{"stream", streamBody, wholeReply}, {"plain", plainBody, plainReply}} {
			t.Run(name+"/"+kind.name, func(t *testing.T) {
				t.Parallel()
				good := stream(nil, wholeReply)
				if kind.name == "plain" {
					good = respond(200, jsonType, plainReply)
				}
				r := newRig(t, bad, good)
				got := r.post("/v1/messages", kind.body)
				if got.Err != nil || got.StatusCode != 200 || got.Body != kind.want {
					t.Fatalf("client got %d %.200q, %v", got.StatusCode, got.Body, got.Err)
				}
				e := r.last()
				if len(e.Attempts) != 2 || !strings.Contains(e.Attempts[0].Reason, reason) {
					t.Errorf("attempts %+v", e.Attempts)
				}
			})
		}
	}
	sse := "text/event-stream"
	f("a page", "not a JSON object", respond(200, "text/html", "<html>please log in</html>"))
	f("an endless page", "not a JSON object", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		for i := 0; i < 40 && writeAll(w, "<p>"+strings.Repeat("wait ", 100_000)); i++ {
		}
	})
	f("blanks without end", "not a JSON object", func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i < 100 && writeAll(w, strings.Repeat(" ", 1<<20)); i++ {
		}
	})
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	for range 64 {
		if _, err := z.Write(make([]byte, 1<<20)); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	f("a compressed bomb", "not a JSON object", respond(200, jsonType, bomb.String(), "Content-Encoding", "gzip"))
	f("nothing", "not a JSON object", respond(200, sse, ""))
	f("cut JSON", "not a JSON object", respond(200, jsonType, plainReply[:len(plainReply)/2]))
}

func writeAll(w io.Writer, text string) bool {
	_, err := io.WriteString(w, text)
	return err == nil
}

// TestResponseOfTheOtherKindFailsOver covers a response that would be good for another request.
func TestResponseOfTheOtherKindFailsOver(t *testing.T) {
	f := func(name, body, want, reason string, bad, good http.HandlerFunc) {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, bad, good)
			if got := r.post("/v1/messages", body); got.StatusCode != 200 || got.Body != want {
				t.Errorf("client got %d %q", got.StatusCode, got.Body)
			}
			if e := r.last(); len(e.Attempts) != 2 || !strings.Contains(e.Attempts[0].Reason, reason) {
				t.Errorf("attempts %+v", e.Attempts)
			}
		})
	}
	plain := respond(200, jsonType, plainReply)
	f("plain for a stream", streamBody, wholeReply, "a plain response instead of a stream", plain, stream(nil, wholeReply))
	f("stream for a plain one", plainBody, plainReply, "a stream where a plain answer was asked for", stream(nil, wholeReply), plain)
}

// TestMislabelledStreamIsAStream checks that the Content-Type of a stream does not matter.
func TestMislabelledStreamIsAStream(t *testing.T) {
	for _, label := range []string{"text/plain", "application/octet-stream", "application/json; charset=utf-8"} {
		r := newRig(t, respond(200, label, wholeReply))
		if got := r.post("/v1/messages", streamBody); got.StatusCode != 200 || got.Body != wholeReply || got.Header.Get("Content-Type") != label {
			t.Errorf("%s: client got %d %q", label, got.StatusCode, got.Body)
		}
		if e := r.last(); e.Outcome != ledger.Answered || e.Usage().OutputTokens == 0 {
			t.Errorf("%s: entry %+v", label, e)
		}
	}
	r := newRig(t, respond(200, "text/plain", startEvent+blockEvent+textEvent), stream(nil, wholeReply))
	if got := r.post("/v1/messages", streamBody); !strings.Contains(got.Body, "event: error") {
		t.Errorf("one that breaks off: %q", got.Body)
	}
}

// TestInvalidStreamsFailOver covers streams that are invalid before their first content.
func TestInvalidStreamsFailOver(t *testing.T) {
	f := func(name string, reason string, events ...string) {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, stream(nil, events...), stream(nil, wholeReply))
			if got := r.post("/v1/messages", streamBody); got.Err != nil || got.Body != wholeReply {
				t.Errorf("client got %q, %v", got.Body, got.Err)
			}
			if e := r.last(); len(e.Attempts) != 2 || !strings.Contains(e.Attempts[0].Reason, reason) {
				t.Errorf("attempts %+v", e.Attempts)
			}
		})
	}
	f("no event at all", "ended before its content", "data: hello\n\n", "event: news\ndata: {}\n\n")
	f("the stream of another API", "another API", "data: {\"object\":\"chat.completion.chunk\",\"choices\":[{\"delta\":{\"content\":\"hi\"}}]}\n\n", "data: [DONE]\n\n")
	f("responses of another API", "another API", "event: response.created\ndata: {\"type\":\"response.created\"}\n\n")
	f("message_start without a message", "without message_start", "event: message_start\ndata: {\"type\":\"message_start\"}\n\n", stopEvent)
	f("message_start without data", "without message_start", "event: message_start\n\n", blockEvent, textEvent, stopEvent)
	f("a delta first", "without message_start", textEvent, startEvent, blockEvent, stopEvent)
	f("an end first", "without message_start", stopEvent)
	f("an endless unknown event before message_start", "no content within", "event: news\ndata: {\"of\":\""+strings.Repeat("x", maxOpenEvent+1)+"\"}\n\n")
	f("an error without a name", "error event", "data: {\"error\":{\"message\":\"no channel\"}}\n\n")
	f("an overload without a name", "overloaded", startEvent, "data: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"x\"}}\n\n")
	f("an end without content", "neither content nor output tokens", startEvent, strings.Replace(deltaEvent, "7", "0", 1), stopEvent)
	f("an end without content or usage", "neither content nor output tokens", startEvent, "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"}}\n\n", stopEvent)
	f("an end without content or message_delta", "ended before its content", startEvent, stopEvent)
	f("an empty text alone", "neither content nor output tokens", startEvent+blockEvent+"event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n"+strings.Replace(deltaEvent, "7", "0", 1)+stopEvent)
	f("no content, and no message_stop", "ended before its content", startEvent, strings.Replace(deltaEvent, "7", "0", 1))
	f("message_start is cut", "not JSON", startEvent[:60]+"\n\n", blockEvent, textEvent, stopEvent)
	f("content_block_start is cut", "not JSON", startEvent, blockEvent[:50]+"\n\n", textEvent, stopEvent)
	f("no message_start", "without message_start", blockEvent, textEvent, stopEvent)
	f("comments without end", "no content within", startEvent, strings.Repeat(": still there\n\n", 30_000), blockEvent, textEvent, stopEvent)
	f("pings without end", "no content within", startEvent, strings.Repeat(pingEvent, 10_000), blockEvent, textEvent, stopEvent)
	f("only pings", "ended before its content", startEvent, pingEvent)
}

// TestOddStreams checks odd streams that the official SDKs accept, because they do not read the odd
// parts.
func TestOddStreams(t *testing.T) {
	nameless := func(events string) string {
		var out strings.Builder
		for line := range strings.Lines(events) {
			if !strings.HasPrefix(line, "event: ") {
				out.WriteString(line)
			}
		}
		return out.String()
	}
	named := func(data, name string) string {
		return strings.Replace(data, "\n\n", "\nevent: "+name+"\n\n", 1)
	}
	big := strings.Replace(blockEvent, "\"text\":\"\"", "\"text\":\""+strings.Repeat("x", 3<<20)+"\"", 1)
	empty := startEvent + deltaEvent + stopEvent
	f := func(name, sent, want string) {
		t.Run(name, func(t *testing.T) {
			for _, size := range []int{len(sent), 700, 3} {
				if size == 3 && len(sent) > 100_000 {
					continue
				}
				r := newRig(t, func(w http.ResponseWriter, _ *http.Request) {
					w.Header().Set("Content-Type", "text/event-stream")
					for rest := sent; len(rest) > 0; {
						n := min(size, len(rest))
						io.WriteString(w, rest[:n])
						w.(http.Flusher).Flush()
						rest = rest[n:]
					}
				}, respond(500, jsonType, "{}"))
				got := r.post("/v1/messages", streamBody)
				if got.Err != nil || got.StatusCode != 200 || got.Body != want {
					t.Fatalf("pieces of %d: client got %d %.300q, %v, want %.300q", size, got.StatusCode, got.Body, got.Err, want)
				}
				if e := r.last(); e.Outcome != ledger.Answered || e.Usage().OutputTokens != 7 || e.Usage().CacheReadTokens != 90 || len(e.Attempts) != 1 {
					t.Errorf("pieces of %d: entry %+v", size, e)
				}
			}
		})
	}
	same := func(name, sent string) { f(name, sent, sent) }
	f("byte order mark", "\ufeff"+wholeReply, wholeReply)
	same("byte order mark in the middle", startEvent+"\ufeff"+blockEvent+textEvent+"\ufeff"+deltaEvent+stopEvent)
	same("CR", strings.ReplaceAll(wholeReply, "\n", "\r"))
	same("CRLF", strings.ReplaceAll(wholeReply, "\n", "\r\n"))
	same("mixed", startEvent+strings.ReplaceAll(blockEvent, "\n", "\r")+textEvent+strings.ReplaceAll(deltaEvent, "\n", "\r\n")+stopEvent)
	same("text in pings", startEvent+"event: ping\ndata: still there\n\n"+blockEvent+textEvent+"event: ping\ndata: [1\n\n"+deltaEvent+stopEvent)
	same("heartbeats without a name", "data: wait\n\n"+startEvent+"data: {}\n\n"+blockEvent+"data\n\n"+textEvent+deltaEvent+stopEvent+"data: [DONE]\n\n")
	same("[DONE] before its time", "data: [DONE]\n\n"+startEvent+"data: [DONE]\n\n"+blockEvent+textEvent+"data: [DONE]\n\n"+deltaEvent+stopEvent)
	same("unknown events", "event: hello\ndata: {\"a\":1}\n\n"+startEvent+"event: news\n\n"+blockEvent+textEvent+"id: 7\nretry: 10\nfoo: bar\n\n"+deltaEvent+stopEvent)
	f("unknown events in words", "event: hello\ndata: in words\n\n"+startEvent+blockEvent+textEvent+"event: news\ndata: {\n\n"+deltaEvent+stopEvent+"event: done\ndata: [DONE]\n\n",
		"event: hello\ndata: in words\nevent: ping\n\n"+startEvent+blockEvent+textEvent+"event: news\ndata: {\nevent: ping\n\n"+deltaEvent+stopEvent+"event: done\ndata: [DONE]\nevent: ping\n\n")
	same("data in several lines", strings.ReplaceAll(wholeReply, ",\"", ",\ndata: \""))
	same("data before the name", startEvent+"data: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\nevent: content_block_start\n\n"+textEvent+deltaEvent+stopEvent)
	same("an unknown event of 3 MB", "event: news\ndata: {\"of\":\""+strings.Repeat("x", 3<<20)+"\"}\n\n"+startEvent+blockEvent+textEvent+deltaEvent+stopEvent)
	same("a ping of 3 MB", startEvent+"event: ping\ndata: "+strings.Repeat("x", 3<<20)+"\n\n"+blockEvent+textEvent+deltaEvent+stopEvent)
	same("a first block of 3 MB", startEvent+big+deltaEvent+stopEvent)
	same("a delta of 3 MB", startEvent+blockEvent+deltaOf(3<<20)+deltaEvent+stopEvent)
	same("an empty turn that used output tokens", empty)
	f("data alone", nameless(wholeReply), named(nameless(startEvent), "message_start")+named(nameless(pingEvent), "ping")+named(nameless(blockEvent), "content_block_start")+
		named(nameless(textEvent), "content_block_delta")+named(nameless(deltaEvent), "message_delta")+named(nameless(stopEvent), "message_stop"))
	f("data alone with a delta of 100 KB", nameless(startEvent+blockEvent+deltaOf(100_000)+deltaEvent+stopEvent), named(nameless(startEvent), "message_start")+named(nameless(blockEvent), "content_block_start")+
		named(nameless(deltaOf(100_000)), "content_block_delta")+named(nameless(deltaEvent), "message_delta")+named(nameless(stopEvent), "message_stop"))
	f("every event a message", strings.ReplaceAll(startEvent+blockEvent+textEvent+deltaEvent+stopEvent, "event: ", "event: x_"),
		strings.ReplaceAll(startEvent, "event: ", "event: x_")[:len(startEvent)+1]+"event: message_start\n\n"+
			strings.ReplaceAll(blockEvent, "event: ", "event: x_")[:len(blockEvent)+1]+"event: content_block_start\n\n"+
			strings.ReplaceAll(textEvent, "event: ", "event: x_")[:len(textEvent)+1]+"event: content_block_delta\n\n"+
			strings.ReplaceAll(deltaEvent, "event: ", "event: x_")[:len(deltaEvent)+1]+"event: message_delta\n\n"+
			strings.ReplaceAll(stopEvent, "event: ", "event: x_")[:len(stopEvent)+1]+"event: message_stop\n\n")
}

// TestUnnamedErrorEventIsNamed checks that the client gets a named event: SDKs would skip the
// original.
func TestUnnamedErrorEventIsNamed(t *testing.T) {
	nameless := "data: {\"error\":{\"type\":\"overloaded_error\",\"message\":\"x\"}}\n"
	started := make(chan struct{})
	r := newRig(t, func(w http.ResponseWriter, _ *http.Request) {
		writeAll(w, startEvent+blockEvent+textEvent)
		w.(http.Flusher).Flush()
		<-started
		writeAll(w, nameless+"\n")
	})
	res, err := http.Post(r.front.URL+"/v1/messages", jsonType, strings.NewReader(streamBody))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	close(started) // the header has arrived, so the commit has happened
	got, err := io.ReadAll(res.Body)
	<-r.recorded
	if want := startEvent + blockEvent + textEvent + nameless + "event: error\n\n"; err != nil || string(got) != want {
		t.Errorf("client got %q, %v", got, err)
	}
	if e := r.last(); e.Outcome != ledger.Truncated {
		t.Errorf("entry %+v", e)
	}
}

// TestShapesOfPlainResponses checks the required shape of a 200 on each path.
func TestShapesOfPlainResponses(t *testing.T) {
	type path struct{ name, method, path, body, good string }
	message := path{"message", "POST", "/v1/messages", plainBody, plainReply}
	streamed := path{"stream", "POST", "/v1/messages", streamBody, wholeReply}
	count := path{"count", "POST", "/v1/messages/count_tokens", plainBody, `{"input_tokens":12}`}
	models := path{"models", "GET", "/v1/models?limit=1000", "", `{"data":[{"type":"model","id":"claude-x"}],"has_more":false}`}
	model := path{"model", "GET", "/v1/models/claude-x", "", `{"type":"model","id":"claude-x"}`}
	all := []path{message, streamed, count, models, model}
	f := func(p path, bad string, asked int) {
		t.Helper()
		good := respond(200, jsonType, p.good)
		if p.name == "stream" {
			good = stream(nil, p.good)
		}
		r := newRig(t, respond(200, jsonType, bad), good)
		got := r.send(p.method, p.path, p.body)
		want := p.good
		if asked == 1 {
			want = strings.TrimPrefix(bad, "\ufeff")
		}
		if e := r.last(); got.StatusCode != 200 || got.Body != want || len(e.Attempts) != asked {
			t.Errorf("%s, %q: client got %d %q; attempts %+v", p.name, bad, got.StatusCode, got.Body, e.Attempts)
		}
	}
	for _, bad := range []string{
		`{}`, `[]`, `null`, `7`, `"text"`, `{"code":500,"msg":"404 NOT_FOUND","success":false}`, `{"detail":"Not Found"}`, `{"message":"no Route matched with those values"}`,
		`{"object":"chat.completion","choices":[{"message":{"role":"assistant","content":"hi"}}]}`,
		`{"code":0,"data":` + plainReply + `}`, `[` + plainReply + `]`, plainReply + `x`, plainReply + plainReply, `{"type":"error"}`, `{"type":"message"}`, `{"type":"message","content":null}`,
		`{"error":{"message":"no channel"}}`, `{"error":"no channel"}`, `{"type":"error","error":{"type":"api_error","message":"x"}}`, `{"type":"error","error":{"type":"overloaded_error","message":"x"}}`,
	} {
		for _, p := range all {
			f(p, bad, 2)
		}
	}
	f(message, `{"type":"message","content":[],"stop_reason":"end_turn","usage":{"input_tokens":3,"output_tokens":0}}`, 2)
	f(message, `{"type":"message","content":[{"type":"text","text":""}],"stop_reason":"end_turn"}`, 2)
	f(message, `{"type":"message","content":[],"stop_reason":"refusal","usage":{"input_tokens":3,"output_tokens":0}}`, 1)
	f(message, `{"type":"message","content":[],"stop_reason":"end_turn","usage":{"input_tokens":3,"output_tokens":2}}`, 1)
	f(message, `{"type":"message","content":[],"stop_reason":"max_tokens","usage":{"input_tokens":3,"output_tokens":0}}`, 1) // valid, because the request has no max_tokens
	f(message, "\ufeff"+plainReply+"\r\n", 1)
	f(count, `{"input_tokens":"12"}`, 2)
	f(count, "\ufeff"+`{"input_tokens":0}`, 1)
	f(models, `{"data":{}}`, 2)
	f(models, `{"object":"list","data":[]}`, 1)
	f(model, `{"object":"model","id":"claude-x"}`, 1)

	asks := path{"message", "POST", "/v1/messages", `{"model":"claude-test","max_tokens":9,"messages":[]}`, plainReply}
	f(asks, `{"type":"message","content":[],"stop_reason":"max_tokens","usage":{"input_tokens":3,"output_tokens":0}}`, 2)
}

// TestWrongShapeFromAllUpstreamsIsForgiven checks that no cooldown begins if all upstreams give the
// same wrong shape.
func TestWrongShapeFromAllUpstreamsIsForgiven(t *testing.T) {
	none := respond(200, jsonType, `{"type":"message","content":[],"stop_reason":"end_turn","usage":{"input_tokens":3,"output_tokens":0}}`)
	r := newRig(t, none, none)
	if got := r.post("/v1/messages", `{"model":"claude-test","max_tokens":9,"messages":[]}`); got.StatusCode != 503 {
		t.Errorf("client got %d %q", got.StatusCode, got.Body)
	}
	for _, e := range r.table.Endpoints() {
		if v := e.View(time.Now(), upstream.Subject{Model: "claude-test"}); v.Unfit != upstream.Fit {
			t.Errorf("%s is %v", e.Name(), v.Unfit)
		}
	}
}

// TestNotModified checks the response to a client that has the list already.
func TestNotModified(t *testing.T) {
	unchanged := func(w http.ResponseWriter, _ *http.Request) { // for every request
		w.Header().Set("ETag", `"1"`)
		w.WriteHeader(http.StatusNotModified)
	}
	for _, conditional := range []bool{true, false} {
		r := newRig(t, unchanged, respond(200, jsonType, `{"data":[]}`))
		req, err := http.NewRequest("GET", r.front.URL+"/v1/models", nil)
		if err != nil {
			t.Fatal(err)
		}
		want := 200
		if conditional {
			req.Header.Set("If-None-Match", `"1"`)
			want = 304
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		<-r.recorded
		if res.StatusCode != want || conditional && res.Header.Get("ETag") != `"1"` {
			t.Errorf("conditional %v: client got %d %v", conditional, res.StatusCode, res.Header)
		}
	}
}

// TestManyUnknownEventsAreAccepted matters because the API may add events.
func TestManyUnknownEventsAreAccepted(t *testing.T) {
	unknown := strings.Repeat("event: news\ndata: {\"type\":\"news\",\"of\":\"something\"}\n\n", 7000)
	for _, text := range []string{unknown, "event: news\ndata: {\"type\":\"news\",\"of\":\"" + strings.Repeat("x", 400_000) + "\"}\n\n"} {
		r := newRig(t, stream(nil, startEvent, text, blockEvent, textEvent, deltaEvent, stopEvent), stream(nil, wholeReply))
		if got := r.post("/v1/messages", streamBody); got.Err != nil || !strings.HasPrefix(got.Body, startEvent+text) || len(r.last().Attempts) != 1 {
			t.Errorf("client got %d bytes, %v, after %d attempts", len(got.Body), got.Err, len(r.last().Attempts))
		}
	}
}

// TestDrippingResponsesTimeOut covers responses that never end. The outcome depends on the part
// that arrives in time.
func TestDrippingResponsesTimeOut(t *testing.T) {
	drip := func(status int, text string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", jsonType)
			w.WriteHeader(status)
			for {
				if !writeAll(w, text) || http.NewResponseController(w).Flush() != nil {
					return
				}
				select {
				case <-r.Context().Done():
					return
				case <-time.After(50 * time.Millisecond):
				}
			}
		}
	}
	f := func(name string, bad http.HandlerFunc, reason string) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, bad, respond(200, jsonType, plainReply))
			r.settings.NonStreaming = time.Second
			if got := r.post("/v1/messages", plainBody); got.StatusCode != 200 || got.Body != plainReply {
				t.Errorf("client got %d %q", got.StatusCode, got.Body)
			}
			if e := r.last(); len(e.Attempts) != 2 || e.Attempts[0].Reason != reason {
				t.Errorf("attempts %+v", e.Attempts)
			}
		})
	}
	for _, status := range []int{429, 500, 529} {
		f(fmt.Sprint(status), drip(status, " "), fmt.Sprintf("status %d", status))
	}
	f("400", drip(400, " "), "no error text within 3s")
	f("200", drip(200, "{"), "no response within 1s")
}

// TestConnectionHeaderIsHopByHop checks every line of the field, in both directions.
func TestConnectionHeaderIsHopByHop(t *testing.T) {
	seen := make(chan http.Header, 1)
	r := newRig(t, func(w http.ResponseWriter, req *http.Request) {
		seen <- req.Header.Clone()
		w.Header()["Connection"] = []string{"x-back", "keep-alive"}
		w.Header().Set("X-Back", "one hop")
		w.Header().Set("X-Kept", "all the way")
		respond(200, jsonType, plainReply)(w, req)
	})
	conn, err := net.Dial("tcp", strings.TrimPrefix(r.front.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST /v1/messages HTTP/1.1\r\nHost: lb\r\nConnection: keep-alive, x-foo\r\nX-Foo: one hop\r\nX-Bar: all the way\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", len(plainBody), plainBody)
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if got := <-seen; got.Get("X-Foo") != "" || got.Get("X-Bar") != "all the way" {
		t.Errorf("the upstream saw %v", got)
	}
	if res.Header.Get("X-Back") != "" || res.Header.Get("X-Kept") != "all the way" {
		t.Errorf("the client saw %v", res.Header)
	}
}
