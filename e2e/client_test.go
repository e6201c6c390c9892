package e2e

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/9bingyin/claude-code-lb/internal/claude"
)

const model = "claude-sonnet-5-5"

// message returns the body of a request to /v1/messages.
func message(stream bool) string {
	return fmt.Sprintf(`{"model":%q,"max_tokens":1024,"stream":%t,"messages":[{"role":"user","content":"hello there"}]}`, model, stream)
}

// answer is the received part of a response.
type answer struct {
	status int
	header http.Header
	body   []byte
	err    error // of the request or of reading the body
}

// newRequest returns a request; header contains names and values in turn.
func newRequest(t *testing.T, ctx context.Context, method, url, body string, header ...string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Anthropic-Version", "2023-06-01")
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return r
}

func send(client *http.Client, r *http.Request) answer {
	res, err := client.Do(r)
	if err != nil {
		return answer{err: err}
	}
	return read(res)
}

func read(res *http.Response) answer {
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return answer{res.StatusCode, res.Header, body, err}
}

func (b *balancer) do(method, path, body string, header ...string) answer {
	b.t.Helper()
	return send(b.client, newRequest(b.t, b.t.Context(), method, b.url+path, body, header...))
}

func (b *balancer) get(path string, header ...string) answer {
	b.t.Helper()
	return b.do(http.MethodGet, path, "", header...)
}

func (b *balancer) ask(stream bool, header ...string) answer {
	b.t.Helper()
	return b.do(http.MethodPost, "/v1/messages?beta=true", message(stream), header...)
}

// mustServe sends a request and requires a complete response, from one of the given upstreams if
// there are any.
func (b *balancer) mustServe(stream bool, from ...*fake) answer {
	b.t.Helper()
	a := b.ask(stream)
	if problem := a.flaw(stream); problem != "" {
		b.t.Fatal(problem)
	}
	if len(from) > 0 && !slices.ContainsFunc(from, func(f *fake) bool { return f.served(a) }) {
		b.t.Fatalf("the answer did not come from %s", from[0].name)
	}
	return a
}

// flaw describes what is wrong with a response, "" if it is good.
func (a answer) flaw(stream bool) string {
	switch {
	case a.err != nil:
		return fmt.Sprintf("status %d, broken off: %v\n%s", a.status, a.err, a.body)
	case a.status != http.StatusOK:
		return fmt.Sprintf("status %d: %s", a.status, a.body)
	}
	if stream {
		if names := eventNames(a.body); len(names) == 0 || names[len(names)-1] != "message_stop" || slices.Contains(names, "error") {
			return fmt.Sprintf("not a whole stream: %q", names)
		}
		return ""
	}
	if _, ok := claude.ParseMessage(a.body); !ok {
		return fmt.Sprintf("not a message: %s", a.body)
	}
	return ""
}

// failure returns the error in a response, which must have the form of the Messages API, with the
// request id in body and header.
func (a answer) failure(t *testing.T, status int, kind claude.ErrorType) claude.Error {
	t.Helper()
	e, ok := claude.ParseError(a.body)
	if a.err != nil || !ok {
		t.Fatalf("status %d, err %v, not an error of the Messages API: %s", a.status, a.err, a.body)
	}
	if a.status != status || e.Type != kind {
		t.Errorf("status %d %s, want %d %s: %s", a.status, e.Type, status, kind, a.body)
	}
	if e.RequestID == "" || a.header.Get("Request-Id") != e.RequestID {
		t.Errorf("request id %q in the body, %q in the header", e.RequestID, a.header.Get("Request-Id"))
	}
	if e.Message == "" || a.header.Get("Content-Type") != "application/json" {
		t.Errorf("message %q, content type %q", e.Message, a.header.Get("Content-Type"))
	}
	return e
}

func eventNames(stream []byte) []string {
	var names []string
	var scanner claude.EventScanner
	scanner.Feed(stream, func(ev claude.Event) { names = append(names, ev.Name) })
	return names
}

// openStream is a stream that a client has begun to read.
type openStream struct {
	t      *testing.T
	header http.Header
	body   io.ReadCloser
	reader *bufio.Reader
	leave  context.CancelFunc
	text   strings.Builder
}

// open requests a stream and reads up to its first text.
func (b *balancer) open(t *testing.T) *openStream {
	t.Helper()
	return b.openWith(t, message(true))
}

// openWith is open with a given body.
func (b *balancer) openWith(t *testing.T, body string) *openStream {
	t.Helper()
	ctx, leave := context.WithCancel(t.Context())
	t.Cleanup(leave)
	res, err := b.client.Do(newRequest(t, ctx, http.MethodPost, b.url+"/v1/messages", body))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { res.Body.Close() })
	s := &openStream{t: t, header: res.Header, body: res.Body, reader: bufio.NewReader(res.Body), leave: leave}
	for !slices.Contains(eventNames([]byte(s.text.String())), "content_block_delta") {
		text, err := s.reader.ReadString('\n')
		s.text.WriteString(text)
		if err != nil {
			t.Fatalf("status %d, the stream ended before its first text: %v\n%s", res.StatusCode, err, s.text.String())
		}
	}
	return s
}

// rest reads to the end and returns the whole stream as an answer.
func (s *openStream) rest() answer {
	remaining, err := io.ReadAll(s.reader)
	s.text.Write(remaining)
	return answer{http.StatusOK, s.header, []byte(s.text.String()), err}
}

// mustEndWhole requires that the stream continues to a proper end.
func (s *openStream) mustEndWhole() {
	s.t.Helper()
	if problem := s.rest().flaw(true); problem != "" {
		s.t.Error("the open stream: " + problem)
	}
}

// mustBreak requires that a stream ends as broken: with an error event if the client was between
// two events, never with message_stop, and with a broken connection.
func (a answer) mustBreak(t *testing.T) {
	t.Helper()
	names := eventNames(a.body)
	if !errors.Is(a.err, io.ErrUnexpectedEOF) {
		t.Errorf("the stream ended with %v, want a broken connection", a.err)
	}
	if len(names) == 0 || names[len(names)-1] != "error" || slices.Contains(names, "message_stop") {
		t.Errorf("events %q, want an error as the last", names)
	}
}
