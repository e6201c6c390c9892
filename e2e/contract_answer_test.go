package e2e

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// sse returns a stream of events from pairs of name and data.
func sse(events ...string) string {
	var s strings.Builder
	for i := 0; i+1 < len(events); i += 2 {
		s.WriteString("event: " + events[i] + "\ndata: " + events[i+1] + "\n\n")
	}
	return s.String()
}

const messageStart = `{"type":"message_start","message":{"id":"msg_01","type":"message","role":"assistant","model":"claude-sonnet-5-5","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":9,"output_tokens":1}}}`

// alwaysStream is a responder that streams the same events to every request for a message.
func alwaysStream(events string, header ...string) responder {
	return always(http.StatusOK, events, append([]string{"Content-Type", "text/event-stream"}, header...)...)
}

// inSteps streams one text after another; each except the first waits for next.
func inSteps(next <-chan string) responder {
	return func(w http.ResponseWriter, r arrival) bool {
		if !r.isMessage() {
			return false
		}
		w.Header().Set("Content-Type", "text/event-stream")
		w.WriteHeader(http.StatusOK)
		for {
			select {
			case text, more := <-next:
				if !more {
					return true
				}
				io.WriteString(w, text)
				http.NewResponseController(w).Flush()
			case <-r.Context().Done():
				return true
			}
		}
	}
}

const (
	blockStart = `{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}`
	someText   = `{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"some text"}}`
	messageEnd = "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n" +
		"event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\",\"stop_sequence\":null},\"usage\":{\"output_tokens\":9}}\n\n" +
		"event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"
)

// mustRead reads until the client has a text, which must be the next one.
func (s *openStream) mustRead(text string) {
	s.t.Helper()
	got := make([]byte, len(text))
	if _, err := io.ReadFull(s.reader, got); err != nil || string(got) != text {
		s.t.Fatalf("read %q (%v), want %q", got, err, text)
	}
}

// openSteps opens a stream whose upstream sends what the test puts into the channel, up to its
// first text.
func openSteps(t *testing.T) (*pair, *openStream, chan<- string) {
	t.Helper()
	steps := make(chan string, 1)
	p := newPair(t, inSteps(steps), nil)
	steps <- sse("message_start", messageStart, "content_block_start", blockStart, "content_block_delta", someText)
	return p, p.open(t), steps
}

func contractNoBuffering(t *testing.T) {
	_, s, steps := openSteps(t)
	for range 3 {
		text := sse("content_block_delta", someText)
		steps <- text
		s.mustRead(text)
	}
	steps <- messageEnd
	close(steps)
	s.mustRead(messageEnd)
}

func contractPings(t *testing.T) {
	_, s, steps := openSteps(t)
	for _, text := range []string{sse("ping", `{"type":"ping"}`), ": a comment\n\n", sse("ping", "not JSON at all")} {
		steps <- text
		s.mustRead(text)
	}
	steps <- messageEnd
	close(steps)
	s.mustRead(messageEnd)
}

func contractContentType(t *testing.T) {
	for _, kind := range []string{"text/event-stream", "text/event-stream; charset=utf-8"} {
		p := newPair(t, alwaysStream(streamedMessage(model, "msg_01", []contentBlock{{text: "hi"}}), "Content-Type", kind), nil)
		if got := p.ask(true).header.Get("Content-Type"); got != kind {
			t.Errorf("content type %q, want %q", got, kind)
		}
	}
}

func contractUnknownEvents(t *testing.T) {
	stream := sse("message_start", messageStart, "safeguard_results", `{"type":"safeguard_results","results":[]}`,
		"content_block_start", `{"type":"content_block_start","index":0,"content_block":{"type":"brand_new","x":1.50}}`,
		"content_block_delta", `{"type":"content_block_delta","index":0,"delta":{"type":"new_delta","y":"\u00e9"}}`,
		"content_block_stop", `{"type":"content_block_stop","index":0}`,
		"message_delta", `{"type":"message_delta","delta":{"stop_reason":"new_reason","stop_sequence":null,"container":null},"usage":{"output_tokens":9,"new_tokens":{"a":1}}}`,
		"message_stop", `{"type":"message_stop"}`)
	p := newPair(t, alwaysStream(stream), nil)
	if a := p.ask(true); string(a.body) != stream {
		t.Errorf("the stream arrived changed:\n%s", a.body)
	}
	plain := `{ "id":"msg_01","type":"message","role":"assistant","model":"m","content":[{"type":"brand_new"}],"stop_reason":"new_reason","stop_sequence":null,"usage":{"input_tokens":1,"output_tokens":2,"new":{}},"safeguard_results":[] }`
	p.a.behave(always(http.StatusOK, plain))
	if a := p.ask(false); string(a.body) != plain {
		t.Errorf("the plain answer arrived changed:\n%s", a.body)
	}
}

func contractAnswerHeaders(t *testing.T) {
	header := []string{
		"Anthropic-Ratelimit-Unified-Status", "allowed_warning", "Anthropic-Ratelimit-Unified-5h-Utilization", "0.83",
		"Anthropic-Ratelimit-Unified-Overage-Status", "allowed", "Anthropic-Ratelimit-Unified-Grace-Until", "1",
		"Anthropic-Ratelimit-Unified-Fallback", "x", "Anthropic-Something-New", "1", "Request-Id", "req_01abc",
	}
	eachKind(t, func(t *testing.T, stream bool) {
		respond := always(http.StatusOK, plainMessage(model, "msg_01", []contentBlock{{text: "hi"}}), header...)
		if stream {
			respond = alwaysStream(streamedMessage(model, "msg_01", []contentBlock{{text: "hi"}}), header...)
		}
		got := newPair(t, respond, nil).ask(stream).header
		for i := 0; i < len(header); i += 2 {
			if got.Get(header[i]) != header[i+1] {
				t.Errorf("%s is %q, want %q", header[i], got.Get(header[i]), header[i+1])
			}
		}
	})
}

func contractEncodings(t *testing.T) {
	plain := plainMessage(model, "msg_01", []contentBlock{{text: "packed"}})
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	w.Write([]byte(plain))
	w.Close()
	p := newPair(t, always(http.StatusOK, packed.String(), "Content-Encoding", "gzip"), nil)
	a := p.ask(false)
	if a.header.Get("Content-Encoding") != "" || string(a.body) != plain {
		t.Errorf("content-encoding %q, body %q", a.header.Get("Content-Encoding"), a.body)
	}
	if got := p.a.messages()[0].Header.Get("Accept-Encoding"); got != "identity" {
		t.Errorf("accept-encoding %q went upstream, want identity", got)
	}
}

func contractModels(t *testing.T) {
	p := newPair(t, nil, nil)
	for _, header := range [][]string{nil, {"X-Api-Key", "sk-any"}, {"Authorization", "Bearer sk-any"}} {
		a := p.get("/v1/models?limit=1000", header...)
		var list struct {
			Data []struct{ ID, Type string } `json:"data"`
		}
		if err := json.Unmarshal(a.body, &list); a.status != http.StatusOK || err != nil || len(list.Data) == 0 || list.Data[0].Type != "model" {
			t.Errorf("status %d, %v: %s", a.status, err, a.body)
		}
	}
	stuck := func(w http.ResponseWriter, r arrival) bool {
		if r.URL.Path != "/v1/models" {
			return false
		}
		<-r.Context().Done()
		return true
	}
	redirects := func(w http.ResponseWriter, r arrival) bool {
		if r.URL.Path != "/v1/models" {
			return false
		}
		http.Redirect(w, r.Request, "/login", http.StatusFound)
		return true
	}
	page := func(w http.ResponseWriter, r arrival) bool {
		if r.URL.Path != "/v1/models" {
			return false
		}
		respondWith(w, http.StatusOK, "<html>welcome</html>", "Content-Type", "text/html")
		return true
	}
	for name, respond := range map[string]responder{"stuck": stuck, "redirects": redirects, "a page": page} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPair(t, respond, nil)
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second) // the client waits for 3 s; this machine may be busy
			defer cancel()
			if a := send(p.client, newRequest(t, ctx, http.MethodGet, p.url+"/v1/models?limit=1000", "")); a.status != http.StatusOK || !bytes.Contains(a.body, []byte(`"data"`)) {
				t.Errorf("status %d: %s", a.status, a.body)
			}
			p.mustRestNone(t)
		})
	}
}

func contractCountTokens(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		body   string
		header []string
	}{
		"501":  {501, apiError("not_supported", "not here"), []string{"X-Should-Retry", "false"}},
		"403":  {403, apiError("permission_error", "no"), nil},
		"404":  {404, apiError("not_found_error", "Not Found"), nil},
		"405":  {405, "Method Not Allowed", []string{"Content-Type", "text/plain"}},
		"429":  {429, apiError("rate_limit_error", "slow down"), nil},
		"500":  {500, "oops", nil},
		"503":  {503, "", nil},
		"page": {200, "<html></html>", []string{"Content-Type", "text/html"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			refuse := func(w http.ResponseWriter, r arrival) bool {
				if !strings.HasSuffix(r.URL.Path, "/count_tokens") {
					return false
				}
				respondWith(w, c.status, c.body, c.header...)
				return true
			}
			count := func(p *pair) answer { return p.do(http.MethodPost, "/v1/messages/count_tokens", message(false)) }
			p := newPair(t, refuse, nil)
			if a := count(p); name != "501" && a.status != http.StatusOK {
				t.Errorf("status %d although the other upstream counts: %s", a.status, a.body)
			}
			p.mustRestNone(t)

			p = newPair(t, refuse, refuse)
			if a := count(p); name != "501" && name != "429" {
				a.mustBeError(t, http.StatusNotFound, "not_found_error")
			}
			p.mustRestNone(t)
		})
	}
}

func contractRedirects(t *testing.T) {
	eachKind(t, func(t *testing.T, stream bool) {
		for _, status := range []int{201, 202, 204, 301, 302, 307, 308} {
			p := newPair(t, nil, nil)
			p.a.behave(func(w http.ResponseWriter, r arrival) bool {
				w.Header().Set("Location", "/elsewhere")
				w.WriteHeader(status)
				return true
			})
			if flaw := p.ask(stream).flaw(stream); flaw != "" {
				t.Errorf("%d: %s", status, flaw)
			}
		}
	})
}

func contractErrorEvents(t *testing.T) {
	for kind, passed := range map[string]bool{
		"overloaded_error": false, "api_error": false, "brand_new_error": false, "billing_error": false, "invalid_request_error": true,
	} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			p := newPair(t, alwaysStream(sse("message_start", messageStart, "error", apiError(kind, "it failed"))), nil)
			a := p.ask(true)
			if flaw := a.flaw(true); (flaw != "") != passed {
				t.Errorf("forwarded %t, want %t: status %d %s", flaw != "", passed, a.status, a.body)
			}
			if n := len(p.b.messages()); (n == 0) != passed {
				t.Errorf("%d requests reached the other upstream", n)
			}
		})
	}
}
