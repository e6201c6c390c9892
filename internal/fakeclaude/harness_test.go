package fakeclaude

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/claude"
)

const testModel = "claude-sonnet-4-5"

// upstream is a simulator with a real listener.
type upstream struct {
	*Server
	t   *testing.T
	url string
}

func serve(t *testing.T, o Options) upstream {
	t.Helper()
	s := New(o)
	ts := httptest.NewServer(s)
	t.Cleanup(func() {
		s.Close()
		ts.CloseClientConnections()
		ts.Close()
	})
	return upstream{Server: s, t: t, url: ts.URL}
}

// result is the part of a response that arrived.
type result struct {
	status int
	header http.Header
	body   []byte
	err    error // of the request or of reading the body
}

func newRequest(t *testing.T, method, url, body string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-Api-Key", "sk-ant-api03-test-key")
	r.Header.Set("Anthropic-Version", "2023-06-01")
	return r
}

func fetch(r *http.Request) result {
	client := &http.Client{Transport: &http.Transport{DisableCompression: true, DisableKeepAlives: true}}
	resp, err := client.Do(r)
	if err != nil {
		return result{err: err}
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return result{status: resp.StatusCode, header: resp.Header, body: body, err: err}
}

func (u upstream) do(method, path, body string) result {
	u.t.Helper()
	return fetch(newRequest(u.t, method, u.url+path, body))
}

func (u upstream) ask(body string) result {
	u.t.Helper()
	return u.do("POST", "/v1/messages?beta=true", body)
}

// direct serves a request without a network; for tests of rules and of time.
func direct(t *testing.T, s *Server, body string) result {
	t.Helper()
	w := httptest.NewRecorder()
	s.ServeHTTP(w, newRequest(t, "POST", "http://fake/v1/messages", body))
	return result{status: w.Code, header: w.Header(), body: w.Body.Bytes()}
}

// body returns a request with more members.
func body(stream bool, members string) string {
	if members != "" {
		members = "," + members
	}
	return fmt.Sprintf(`{"model":%q,"max_tokens":4096,"stream":%t,"messages":[{"role":"user","content":"hello there"}]%s}`, testModel, stream, members)
}

const (
	bashTool = `"tools":[{"name":"bash","input_schema":{"type":"object","properties":{"command":{"type":"string"},` +
		`"mode":{"enum":["fast","café"]},"depth":{"type":"integer"}},"required":["command","mode","depth"]}}]`
	anyTool  = `"tool_choice":{"type":"any"}`
	thinking = `"thinking":{"type":"enabled","budget_tokens":1024}`
)

// replay parses a stream with the scanner of the balancer.
func replay(stream []byte) (names []string, m claude.Message, datas [][]byte) {
	var scanner claude.EventScanner
	scanner.Feed(stream, func(ev claude.Event) {
		names = append(names, ev.Name)
		datas = append(datas, bytes.Clone(ev.Data))
		m.Observe(ev)
	})
	return names, m, datas
}

func lastEvent(stream []byte) string {
	names, _, _ := replay(stream)
	if len(names) == 0 {
		return ""
	}
	return names[len(names)-1]
}

func usageOf(t *testing.T, g result) claude.Usage {
	t.Helper()
	m, ok := claude.ParseMessage(g.body)
	if g.status != http.StatusOK || !ok {
		t.Fatalf("status %d, body %s", g.status, g.body)
	}
	return m.Usage
}

func errorOf(t *testing.T, g result) claude.Error {
	t.Helper()
	e, ok := claude.ParseError(g.body)
	if !ok {
		t.Fatalf("status %d, not an error: %s", g.status, g.body)
	}
	return e
}

func midnight() time.Time { return time.Date(2026, 10, 1, 0, 0, 0, 0, time.UTC) }

func newRecorder(s *Server, r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w
}
