package e2e

import (
	"bytes"
	"compress/gzip"
	"net/http"
	"slices"
	"strings"
	"testing"
)

func contractQuery(t *testing.T) {
	p := newPair(t, nil, nil)
	p.do(http.MethodPost, "/v1/messages?beta=true&x=%20y", message(false))
	if got := p.a.messages()[0].RequestURI; got != "/v1/messages?beta=true&x=%20y" {
		t.Errorf("the upstream was asked for %s", got)
	}
}

func contractProbes(t *testing.T) {
	for name, auth := range map[string]bool{"open": false, "with keys": true} {
		p := newPair(t, nil, nil, "auth", auth, "auth_keys", []string{clientKey})
		for _, path := range []string{"/", "/api/hello"} {
			if a := p.do(http.MethodHead, path, ""); a.status != http.StatusOK {
				t.Errorf("%s: HEAD %s gave %d", name, path, a.status)
			}
		}
		if n := len(p.a.arrivals()); n != 0 {
			t.Errorf("%s: %d probes reached an upstream", name, n)
		}
	}
}

func contractHeaders(t *testing.T) {
	p := newPair(t, nil, nil)
	want := http.Header{
		"Anthropic-Version":                       {"2023-06-01"},
		"Anthropic-Beta":                          {"claude-code-20250219,interleaved-thinking-2025-05-14", "message-threads-2026-08-12"},
		"Anthropic-Workspace-Id":                  {"wrkspc_01"},
		"Anthropic-Usage-Limit":                   {"extended"},
		"Anthropic-Cache-Keepalive":               {"1"},
		"Anthropic-Dispatch-Id":                   {"dispatch-1"},
		"Anthropic-Routing-Hint":                  {"near"},
		"Anthropic-Something-New":                 {"yes"},
		"X-Claude-Code-Session-Id":                {"5f0e9f0c-7a5b-4a51-8d0a-1c0ffee00001"},
		"X-Claude-Code-Agent-Id":                  {"agent-1"},
		"X-Claude-Code-Prompt-Id":                 {"5f0e9f0c-7a5b-4a51-8d0a-1c0ffee00002"},
		"X-Claude-Code-Auxiliary-Type":            {"memory_save"},
		"X-Claude-Code-Managed-Settings-Checksum": {"abc"},
		"X-Claude-1p-Request-Class":               {"main"},
		"X-Anthropic-Additional-Protection":       {"true"},
		"X-Client-Request-Id":                     {"5f0e9f0c-7a5b-4a51-8d0a-1c0ffee00003"},
		"X-Stainless-Retry-Count":                 {"2"},
		"X-App":                                   {"cli"},
		"Prev-Tool-Durations":                     {"Bash=761"},
		"Traceparent":                             {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
		"Baggage":                                 {"a=b"},
		"X-Custom-Of-A-User":                      {"one", "two"},
		"User-Agent":                              {"claude-cli/2.1.332 (external, cli)"},
	}
	r := newRequest(t, t.Context(), http.MethodPost, p.url+"/v1/messages", message(false))
	for name, values := range want {
		r.Header[name] = values
	}
	if a := send(p.client, r); a.status != http.StatusOK {
		t.Fatalf("status %d: %s", a.status, a.body)
	}
	got := p.a.messages()[0].Header
	for name, values := range want {
		if !slices.Equal(got[name], values) {
			t.Errorf("%s reached the upstream as %q, want %q", name, got[name], values)
		}
	}
}

// oddBody has blanks, escapes, repeated and unknown members that decoding and encoding would
// change.
const oddBody = ` { "model" : "claude-sonnet-5-5","max_tokens":64.0, "stream":false,
	"system":[{"type":"text","text":"x-anthropic-billing-header: cc_version=2.1.332;"},{"type":"text","text":"\u00e9\/é","cache_control":{"type":"ephemeral","ttl":"1h"}}],
	"messages":[{"role":"user","content":"hi"},{"role":"system","content":"a reminder"},{"role":"user","content":[{"type":"text","text":"there","new_member":1e2}]}],
	"safeguards":{"enabled":true},"tags":["a"],"output_config":{"effort":"high"},"thinking":{"type":"adaptive","display":"omitted"},
	"context_management":{"edits":[]},"unknown":{"z":1,"a":2,"z":3},"tools":[{"name":"t","input_schema":{"type":"object"},"defer_loading":true}] }
`

func contractBody(t *testing.T) {
	p := newPair(t, nil, nil)
	p.do(http.MethodPost, "/v1/messages", oddBody)
	if got := p.a.messages(); len(got) != 1 || string(got[0].body) != oddBody {
		t.Errorf("the upstream received another body:\n%s", got[0].body)
	}
}

func contractChunked(t *testing.T) {
	p := newPair(t, nil, nil)
	r := newRequest(t, t.Context(), http.MethodPost, p.url+"/v1/messages", message(false))
	r.ContentLength = -1
	if a := send(p.client, r); a.status != http.StatusOK {
		t.Fatalf("status %d: %s", a.status, a.body)
	}
	if got := p.a.messages()[0]; got.ContentLength != int64(len(message(false))) || len(got.TransferEncoding) > 0 {
		t.Errorf("sent with length %d and transfer encodings %v", got.ContentLength, got.TransferEncoding)
	}
}

func contractCredential(t *testing.T) {
	p := newPair(t, nil, nil, "auth", true, "auth_keys", []string{clientKey})
	for _, c := range []struct {
		header []string
		status int
	}{
		{[]string{"Authorization", "Bearer " + clientKey}, http.StatusOK},
		{[]string{"X-Api-Key", clientKey}, http.StatusOK},
		{[]string{"Authorization", "Bearer " + clientKey, "X-Api-Key", clientKey}, http.StatusOK},
		{[]string{"Authorization", "Bearer " + clientKey, "X-Api-Key", "other"}, http.StatusOK},
		{[]string{"Authorization", "Bearer other", "X-Api-Key", clientKey}, http.StatusOK},
		{[]string{"Authorization", "Bearer other", "X-Api-Key", "other"}, http.StatusUnauthorized},
		{[]string{"Authorization", "Bearer "}, http.StatusUnauthorized},
		{nil, http.StatusUnauthorized},
	} {
		if a := p.ask(false, c.header...); a.status != c.status {
			t.Errorf("%q: status %d, want %d", c.header, a.status, c.status)
		}
	}
}

func contractOwnCredential(t *testing.T) {
	const secret = "sk-of-the-client-0123456789"
	p := newPair(t, nil, nil)
	p.ask(false, "Authorization", "Bearer "+secret, "X-Api-Key", secret)
	for name, values := range p.a.messages()[0].Header {
		if strings.Contains(strings.Join(values, " "), secret) {
			t.Errorf("the client's credential went upstream in %s", name)
		}
	}

	open := newScripted(t, "open", nil)
	lb := start(t, fallback(object{"name": "open", "url": open.url}))
	lb.ask(false, "Authorization", "Bearer "+secret, "Anthropic-Beta", "oauth-2025-04-20")
	if got := open.messages()[0].Header; got.Get("Authorization") != "Bearer "+secret || got.Get("Anthropic-Beta") != "oauth-2025-04-20" {
		t.Errorf("a server without a token got %v", got)
	}
}

func contractUnknownKey(t *testing.T) {
	p := newPair(t, nil, nil, "auth", true, "auth_keys", []string{clientKey})
	a := p.ask(true, "Authorization", "Bearer wrong")
	a.failure(t, http.StatusUnauthorized, "authentication_error")
	if got := a.header.Get("X-Should-Retry"); got != "false" {
		t.Errorf("x-should-retry %q, want false", got)
	}
}

func contractTooLarge(t *testing.T) {
	p := newPair(t, nil, nil, "max_body_mb", 1)
	a := p.say(false, strings.Repeat("x", 2<<20))
	a.failure(t, http.StatusRequestEntityTooLarge, "request_too_large")
}

func contractLocal(t *testing.T) {
	p := newPair(t, nil, nil)
	for _, path := range []string{
		"/managed/settings", "/protocol", "/api/oauth/usage", "/oauth/token", "/api/claude_cli/bootstrap",
		"/model/anthropic.claude-sonnet-5/invoke", "/model/anthropic.claude-sonnet-5/invoke-with-response-stream",
		"/v1beta1/projects/p/locations/l/publishers/anthropic/models/claude-sonnet-5:streamRawPredict",
	} {
		p.do(http.MethodPost, path, "{}").failure(t, http.StatusNotFound, "not_found_error")
	}
	if a := p.do(http.MethodPost, "/api/event_logging/batch", `{"events":[]}`); a.status != http.StatusOK {
		t.Errorf("event_logging gave %d", a.status)
	}
	if n := len(p.a.arrivals()) + len(p.b.arrivals()); n != 0 {
		t.Errorf("%d requests reached an upstream", n)
	}
}

func contractBaseURL(t *testing.T) {
	p := newPair(t, nil, nil)
	if a := p.do(http.MethodPost, "//v1/messages", message(false)); a.status != http.StatusOK {
		t.Errorf("with a slash at its end: status %d", a.status)
	}
	for _, path := range []string{"/v1/v1/messages", "/v1/v1/messages/count_tokens", "/v1//v1/messages"} {
		a := p.do(http.MethodPost, path, message(false))
		if a.status != http.StatusOK && !bytes.Contains(a.body, []byte("ANTHROPIC_BASE_URL")) {
			t.Errorf("%s: status %d, neither served nor explained: %s", path, a.status, a.body)
		}
	}
	for _, r := range slices.Concat(p.a.arrivals(), p.b.arrivals()) {
		if strings.Contains(r.URL.Path, "/v1/v1") {
			t.Errorf("%s reached an upstream", r.URL.Path)
		}
	}
}

func contractCompressed(t *testing.T) {
	eachKind(t, func(t *testing.T, stream bool) {
		p := newPair(t, func(w http.ResponseWriter, r arrival) bool {
			blocks := []contentBlock{{text: "unpacked"}}
			if stream {
				respondWith(w, http.StatusOK, streamedMessage(model, "msg_gzip", blocks), "Content-Type", "text/event-stream")
			} else {
				respondWith(w, http.StatusOK, plainMessage(model, "msg_gzip", blocks))
			}
			return true
		}, nil)
		var body bytes.Buffer
		w := gzip.NewWriter(&body)
		w.Write([]byte(message(stream)))
		w.Close()
		compressed := body.String()
		a := p.do(http.MethodPost, "/v1/messages", compressed, "Content-Encoding", "gzip")
		if flaw := a.flaw(stream); flaw != "" {
			t.Error(flaw)
		}
		if got := p.a.messages(); len(got) != 1 || string(got[0].body) != compressed || got[0].Header.Get("Content-Encoding") != "gzip" {
			t.Error("the compressed bytes did not reach the upstream as they were")
		}
		p.mustRestNone(t)
	})
}
