package e2e

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/9bingyin/claude-code-lb/internal/claude"
	"github.com/9bingyin/claude-code-lb/internal/fakeclaude/fault"
)

// TestRequestIsForwardedAsItIs compares the received request with the sent one, after a failover.
func TestRequestIsForwardedAsItIs(t *testing.T) {
	t.Parallel()
	first, second := newFake(t, "first"), newFake(t, "second")
	first.fails(status(529))
	b := start(t, fallback(first.entry().with("url", first.url+"/relay/claude/"), second.entry().with("url", second.url+"/deep/er")))
	body := "{ \"model\" : \"" + model + "\",\r\n\t\"max_tokens\":64, \"stream\":false, \"x\":1.50e+01, \"x\":2,\n" +
		`"metadata":{"user_id":"ü \ud83d\ude00 \u0041 <&>"},"messages":[{"role":"user","content":"a\/b  c"}]}` + " \n"
	const betas = "claude-code-20250219,interleaved-thinking-2025-05-14, oauth-2025-04-20,future-thing-2099-01-01"
	b.do("POST", "/v1/messages?beta=true&a=b%2Fc&&d=//e", body,
		"Anthropic-Beta", betas, "Anthropic-Version", "2023-06-01", "Anthropic-Something-New", "x, y",
		"X-Claude-Code-Session-Id", "6e2c", "User-Agent", "claude-cli/2.1.300 (external, cli)", "X-Stainless-Retry-Count", "0",
		"Connection", "keep-alive, X-Private", "X-Private", "hop", "Te", "trailers", "Proxy-Authorization", "Basic secret")

	for f, prefix := range map[*fake]string{first: "/relay/claude", second: "/deep/er"} {
		seen := f.only(t)
		if string(seen.Body) != body {
			t.Errorf("%s got the body %q, want %q", f.name, seen.Body, body)
		}
		if want := prefix + "/v1/messages?beta=true&a=b%2Fc&&d=//e"; seen.RequestURI != want || seen.Method != "POST" {
			t.Errorf("%s got %s %s, want POST %s", f.name, seen.Method, seen.RequestURI, want)
		}
		if want := strings.TrimPrefix(f.url, "http://"); seen.Host != want {
			t.Errorf("%s got Host %q, want its own %q", f.name, seen.Host, want)
		}
		for name, want := range map[string]string{
			"Anthropic-Beta": betas, "Anthropic-Version": "2023-06-01", "Anthropic-Something-New": "x, y", "X-Claude-Code-Session-Id": "6e2c",
			"User-Agent": "claude-cli/2.1.300 (external, cli)", "X-Stainless-Retry-Count": "0", "Content-Type": "application/json",
			"X-Private": "", "Connection": "", "Te": "", "Proxy-Authorization": "", "X-Forwarded-For": "",
		} {
			if got := seen.Header.Get(name); got != want {
				t.Errorf("%s got %s: %q, want %q", f.name, name, got, want)
			}
		}
	}
}

// TestEveryPath checks that every path below /v1/ is forwarded, with every method.
func TestEveryPath(t *testing.T) {
	t.Parallel()
	f := newFake(t, "a")
	b := start(t, balanced("random", f.entry()))
	for _, request := range []string{
		"POST /v1/messages/count_tokens?beta=true", "GET /v1/models?limit=1000", "GET /v1/models/" + model, "DELETE /v1/files/file_01",
		"GET /v1/files/file_01/content", "PUT /v1/skills/a%2Fb", "PATCH /v1/anything", "GET /v1/messages/batches/b_1/results",
	} {
		method, uri, _ := strings.Cut(request, " ")
		body := ""
		if method == "POST" {
			body = message(false)
		}
		a := b.do(method, uri, body)
		seen := f.Requests()
		last := seen[len(seen)-1]
		if last.Method+" "+last.RequestURI != request || a.status != last.Status && last.Status != 0 {
			t.Errorf("%s arrived as %s %s, status %d became %d", request, last.Method, last.RequestURI, last.Status, a.status)
		}
	}
	if b.available() != 1 {
		t.Error("a request that makes no sense took the server out")
	}
	if a := b.get("//v1/models"); a.status != http.StatusOK {
		t.Errorf("a base URL with a slash at its end: status %d", a.status)
	}
}

// TestAnsweredLocally covers the requests of Claude Code to its base URL that are not part of the
// API. They need no client key.
func TestAnsweredLocally(t *testing.T) {
	t.Parallel()
	f := newFake(t, "a")
	b := start(t, guarded(f.entry()))
	for _, request := range []string{"HEAD /", "HEAD /api/hello", "POST /api/event_logging/batch", "POST /api/event_logging/v2/batch", "GET /health"} {
		method, path, _ := strings.Cut(request, " ")
		if a := b.do(method, path, ""); a.err != nil || a.status != http.StatusOK {
			t.Errorf("%s: status %d, %v", request, a.status, a.err)
		}
	}
	for _, path := range []string{"/v2/messages", "/messages", "/api/other", "/v1"} {
		b.get(path).failure(t, http.StatusNotFound, claude.ErrNotFound)
	}
	if f.count() != 0 {
		t.Errorf("%d requests reached the upstream", f.count())
	}
	h := b.get("/health")
	for _, secret := range []string{f.token, f.url, strings.TrimPrefix(f.url, "http://"), clientKey, `"a"`} {
		if bytes.Contains(h.body, []byte(secret)) {
			t.Errorf("/health tells %q: %s", secret, h.body)
		}
	}
}

func TestBodyLimit(t *testing.T) {
	t.Parallel()
	f := newFake(t, "a")
	b := start(t, balanced("random", f.entry()).with("max_body_mb", 1))
	filled := func(size int) string {
		m := message(false)
		return strings.Replace(m, "hello there", strings.Repeat("x", size-len(m)+len("hello there")), 1)
	}
	if problem := b.do("POST", "/v1/messages", filled(1<<20)).flaw(false); problem != "" {
		t.Errorf("1 MiB: %s", problem)
	}
	if got := len(f.only(t).Body); got != 1<<20 {
		t.Errorf("%d bytes arrived, want %d", got, 1<<20)
	}
	b.do("POST", "/v1/messages", filled(1<<20+1)).failure(t, http.StatusRequestEntityTooLarge, claude.ErrTooLarge)
	chunked := newRequest(t, t.Context(), "POST", b.url+"/v1/messages", "")
	chunked.Body = io.NopCloser(strings.NewReader(filled(1<<20 + 1)))
	chunked.ContentLength = -1
	send(b.client, chunked).failure(t, http.StatusRequestEntityTooLarge, claude.ErrTooLarge)
	if f.count() != 1 || b.available() != 1 {
		t.Errorf("%d requests arrived and %d servers are available, want 1 and 1", f.count(), b.available())
	}
}

// TestEventsAreSentAtOnce reads the first text while the upstream holds the rest.
func TestEventsAreSentAtOnce(t *testing.T) {
	t.Parallel()
	f := newFake(t, "a")
	f.Script(heldMidText)
	b := start(t, balanced("random", f.entry()))
	s := b.open(t)
	if got, want := s.header.Get("Content-Type"), "text/event-stream; charset=utf-8"; got != want {
		t.Errorf("content type %q, want %q", got, want)
	}
	f.release()
	s.mustEndWhole()
}

// TestStreamIsForwardedAsItIs compares streams byte for byte, including pings and parts of any
// size.
func TestStreamIsForwardedAsItIs(t *testing.T) {
	t.Parallel()
	direct, proxied := newFake(t, "a"), newFake(t, "a")
	b := start(t, balanced("random", proxied.entry()))
	for _, injected := range []fault.Fault{
		{},
		{Kind: fault.Trickle, Delay: 1, Bytes: 7},
		{Kind: fault.Malformed, At: fault.AtMidText},
		{Kind: fault.Gzip},
	} {
		t.Run(fmt.Sprintf("%q", injected.Kind), func(t *testing.T) {
			direct.Reset()
			proxied.Reset()
			direct.Script(injected)
			proxied.Script(injected)
			want := send(b.client, newRequest(t, t.Context(), "POST", direct.url+"/v1/messages", message(true), "X-Api-Key", direct.token))
			got := b.do("POST", "/v1/messages", message(true))
			if want.header.Get("Content-Encoding") == "gzip" {
				want = unzipped(t, want)
			}
			if got.err != nil || want.err != nil || !bytes.Equal(got.body, want.body) {
				t.Errorf("errors %v and %v; got\n%s\nwant\n%s", got.err, want.err, got.body, want.body)
			}
			for _, volatile := range []string{"Date", "Anthropic-Ratelimit-Requests-Reset"} {
				got.header.Del(volatile)
				want.header.Del(volatile)
			}
			if g, w := fmt.Sprint(got.header), fmt.Sprint(want.header); g != w {
				t.Errorf("headers\n%s, want\n%s", g, w)
			}
		})
	}
}

// TestErrorEventInTheMiddle checks that the client gets an error event unchanged after its response
// has begun.
func TestErrorEventInTheMiddle(t *testing.T) {
	t.Parallel()
	first, second := newFake(t, "first"), newFake(t, "second")
	first.Script(fault.Fault{Kind: fault.Error, At: fault.AtMidText, Delay: held, Message: "Busy, busy"})
	b := start(t, fallback(first.entry(), second.entry()))
	s := b.open(t)
	first.release()
	a := s.rest()
	names := eventNames(a.body)
	if a.err != nil || names[len(names)-1] != "error" || !bytes.Contains(a.body, []byte("Busy, busy")) || second.count() != 0 {
		t.Errorf("err %v, %d requests to the second server, stream\n%s", a.err, second.count(), a.body)
	}
}

// unzipped returns a response without its compression.
func unzipped(t *testing.T, a answer) answer {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(a.body))
	if err != nil {
		t.Fatal(err)
	}
	a.body, a.err = io.ReadAll(z)
	a.header.Del("Content-Encoding")
	return a
}

// TestTruncation breaks a response off in the middle: the client must notice.
func TestTruncation(t *testing.T) {
	t.Parallel()
	for _, injected := range []fault.Fault{
		{Kind: fault.Close, At: fault.AtMidText},
		{Kind: fault.Reset, At: fault.AtFirstBlock},
		{Kind: fault.End, At: fault.AtMidText},
		{Kind: fault.End, At: fault.AtMessageDelta},
		{Kind: fault.Stall, At: fault.AtMidText},
	} {
		t.Run(fmt.Sprintf("%s at %s", injected.Kind, injected.At), func(t *testing.T) {
			t.Parallel()
			first, second := newFake(t, "first"), newFake(t, "second")
			first.Script(injected)
			b := start(t, fallback(first.entry(), second.entry()).with("timeouts", impatient))
			a := b.ask(true)
			a.mustBreak(t)
			if names := eventNames(a.body); !slices.Contains(names, "content_block_delta") {
				t.Errorf("events %q: what had come did not go out", names)
			}
			b.waitLog("server out", about("server", "first"))
			if second.count() != 0 {
				t.Error("a request whose answer had begun was sent again")
			}
		})
	}
}
