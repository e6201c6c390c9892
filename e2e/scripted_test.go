package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/claude"
)

// scripted is an upstream that responds as a test defines, and otherwise like the simulated API.
type scripted struct {
	*fake
	url string

	mu      sync.Mutex
	respond responder
	arrived []arrival
}

// responder responds to a request and returns true, or leaves it to the simulated API.
type responder func(w http.ResponseWriter, r arrival) bool

// arrival is one request as it reached a scripted upstream.
type arrival struct {
	*http.Request
	body []byte
}

// field decodes one top-level member of the body into v and reports whether it exists.
func (r arrival) field(name string, v any) bool {
	var members map[string]json.RawMessage
	if json.Unmarshal(r.body, &members) != nil || members[name] == nil {
		return false
	}
	return json.Unmarshal(members[name], v) == nil
}

// model returns the model in the body.
func (r arrival) model() string {
	var name string
	r.field("model", &name)
	return name
}

// streams reports whether the request asks for a stream.
func (r arrival) streams() bool {
	var stream bool
	r.field("stream", &stream)
	return stream
}

// isMessage reports whether the request asks for a message.
func (r arrival) isMessage() bool {
	return r.Method == http.MethodPost && r.URL.Path == "/v1/messages"
}

// newScripted starts a scripted upstream. It accepts every credential.
func newScripted(t *testing.T, name string, respond responder) *scripted {
	t.Helper()
	s := &scripted{fake: newFake(t, name, anyCredential), respond: respond}
	server := httptest.NewServer(http.HandlerFunc(s.serve))
	s.url = server.URL
	t.Cleanup(func() {
		s.release()
		server.CloseClientConnections()
		server.Close()
	})
	return s
}

func (s *scripted) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	in := arrival{r, body}
	s.mu.Lock()
	s.arrived = append(s.arrived, in)
	respond := s.respond
	s.mu.Unlock()
	if respond == nil || !respond(w, in) {
		s.fake.ServeHTTP(w, r)
	}
}

// behave replaces the responder of the upstream; nil leaves only the simulated API.
func (s *scripted) behave(respond responder) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.respond = respond
}

// arrivals returns the requests so far, in order of arrival.
func (s *scripted) arrivals() []arrival {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]arrival(nil), s.arrived...)
}

// messages returns the requests for a message so far.
func (s *scripted) messages() []arrival {
	var found []arrival
	for _, r := range s.arrivals() {
		if r.isMessage() {
			found = append(found, r)
		}
	}
	return found
}

// entry returns the upstream's entry in a configuration.
func (s *scripted) entry() object {
	return object{"name": s.name, "url": s.url, "token": s.token}
}

// always returns a responder that gives every request for a message the same response.
func always(status int, body string, header ...string) responder {
	return func(w http.ResponseWriter, r arrival) bool {
		if !r.isMessage() {
			return false
		}
		respondWith(w, status, body, header...)
		return true
	}
}

// respondWith writes a whole response; header contains names and values in turn.
func respondWith(w http.ResponseWriter, status int, body string, header ...string) {
	w.Header().Set("Content-Type", "application/json")
	for i := 0; i+1 < len(header); i += 2 {
		w.Header().Set(header[i], header[i+1])
	}
	w.WriteHeader(status)
	io.WriteString(w, body)
}

// apiError returns the body of an error of the Messages API.
func apiError(kind, message string) string {
	return fmt.Sprintf(`{"type":"error","error":{"type":%q,"message":%q}}`, kind, message)
}

// contentBlock is one content block of a scripted message.
type contentBlock struct {
	text  string         // of a text block
	tool  string         // name of the tool that a tool_use block calls
	input map[string]any // input of the tool
}

// respondMessage writes a message with these blocks, streamed if the request asks for a stream.
func respondMessage(w http.ResponseWriter, r arrival, id string, blocks ...contentBlock) {
	if !r.streams() {
		respondWith(w, http.StatusOK, plainMessage(r.model(), id, blocks))
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.WriteHeader(http.StatusOK)
	io.WriteString(w, streamedMessage(r.model(), id, blocks))
}

func plainMessage(model, id string, blocks []contentBlock) string {
	var content []map[string]any
	for i, b := range blocks {
		if b.tool == "" {
			content = append(content, map[string]any{"type": "text", "text": b.text})
			continue
		}
		content = append(content, map[string]any{"type": "tool_use", "id": toolID(id, i), "name": b.tool, "input": b.input})
	}
	text, _ := json.Marshal(map[string]any{
		"id": id, "type": "message", "role": "assistant", "model": model, "content": content,
		"stop_reason": stopReason(blocks), "stop_sequence": nil,
		"usage": map[string]int{"input_tokens": 25, "output_tokens": 9},
	})
	return string(text)
}

func streamedMessage(model, id string, blocks []contentBlock) string {
	var s strings.Builder
	event := func(name string, data map[string]any) {
		data["type"] = name
		text, _ := json.Marshal(data)
		fmt.Fprintf(&s, "event: %s\ndata: %s\n\n", name, text)
	}
	event("message_start", map[string]any{"message": map[string]any{
		"id": id, "type": "message", "role": "assistant", "model": model, "content": []any{}, "stop_reason": nil,
		"stop_sequence": nil, "usage": map[string]int{"input_tokens": 25, "output_tokens": 1},
	}})
	for i, b := range blocks {
		start, delta := map[string]any{"type": "text", "text": ""}, map[string]any{"type": "text_delta", "text": b.text}
		if b.tool != "" {
			input, _ := json.Marshal(b.input)
			start = map[string]any{"type": "tool_use", "id": toolID(id, i), "name": b.tool, "input": map[string]any{}}
			delta = map[string]any{"type": "input_json_delta", "partial_json": string(input)}
		}
		event("content_block_start", map[string]any{"index": i, "content_block": start})
		event("content_block_delta", map[string]any{"index": i, "delta": delta})
		event("content_block_stop", map[string]any{"index": i})
	}
	event("message_delta", map[string]any{
		"delta": map[string]any{"stop_reason": stopReason(blocks), "stop_sequence": nil}, "usage": map[string]int{"output_tokens": 9},
	})
	event("message_stop", map[string]any{})
	return s.String()
}

func toolID(message string, i int) string { return fmt.Sprintf("toolu_%s_%d", message, i) }

func stopReason(blocks []contentBlock) string {
	for _, b := range blocks {
		if b.tool != "" {
			return "tool_use"
		}
	}
	return "end_turn"
}

// seconds and unix format a wait and a time as headers do.
func seconds(d time.Duration) string { return strconv.Itoa(int(d / time.Second)) }
func unix(t time.Time) string        { return strconv.FormatInt(t.Unix(), 10) }

// eventData returns the data of a stream's events.
func eventData(stream []byte) []string {
	var data []string
	var scanner claude.EventScanner
	scanner.Feed(stream, func(ev claude.Event) { data = append(data, string(ev.Data)) })
	return data
}

// messageID returns the id of a message, plain or streamed.
func messageID(body []byte) string {
	var m struct {
		ID      string
		Message struct{ ID string }
	}
	if data := eventData(body); len(data) > 0 {
		body = []byte(data[0])
	}
	json.Unmarshal(body, &m)
	return m.ID + m.Message.ID
}

// mustBeError checks for an error of the Messages API. It may be the upstream's, with the
// upstream's request id.
func (a answer) mustBeError(t *testing.T, status int, kind claude.ErrorType) {
	t.Helper()
	if e, ok := claude.ParseError(a.body); !ok || a.status != status || e.Type != kind {
		t.Errorf("status %d, want %d %s: %s", a.status, status, kind, a.body)
	}
}
