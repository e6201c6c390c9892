package telemetry

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestRedactor(t *testing.T) {
	r := NewRedactor([]string{"plain-secret", "plain-secret-longer", "abc"})
	f := func(in, want string) {
		t.Helper()
		if got := r.Text(in); got != want {
			t.Errorf("Text(%q) = %q, want %q", in, got, want)
		}
	}
	f("nothing here", "nothing here")
	f("x plain-secret y plain-secret-longer", "x [redacted] y [redacted]")
	f("key sk-ant-api03-AbC_123-xyz.", "key [redacted].")
	f("Authorization: Bearer abcdefgh.ijkl", "Authorization: [redacted]")
	f("abc is too short to be told from text", "abc is too short to be told from text")
	f("max_tokens and desk-top stay", "max_tokens and desk-top stay")
}

func TestRedactorHeader(t *testing.T) {
	r := NewRedactor([]string{"plain-secret"})
	got := r.Header(http.Header{
		"Authorization": {"Basic eHh4"}, "X-Api-Key": {"k"}, "Cookie": {"c"}, "X-Auth-Token": {"t"},
		"Anthropic-Ratelimit-Tokens-Limit": {"80000"}, "X-Note": {"has plain-secret inside"},
	})
	for _, name := range []string{"Authorization", "X-Api-Key", "Cookie", "X-Auth-Token"} {
		if got[name] != redacted {
			t.Errorf("%s: %q", name, got[name])
		}
	}
	if got["Anthropic-Ratelimit-Tokens-Limit"] != "80000" || got["X-Note"] != "has [redacted] inside" {
		t.Errorf("headers %v", got)
	}
}

func TestRedactorURI(t *testing.T) {
	r := NewRedactor([]string{"plain-secret"})
	for in, want := range map[string]string{
		"/v1/models":                                      "/v1/models",
		"/v1/models?limit=5&after_id=m":                   "/v1/models?limit=5&after_id=m",
		"/v1/models?api_key=abc&beta=true":                "/v1/models?api_key=[redacted]&beta=true",
		"/v1/models?x=1;Access%5FToken=abc":               "/v1/models?x=1;Access%5FToken=[redacted]",
		"/v1/plain-secret?x=plain-secret&sig=a=b&token=&": "/v1/[redacted]?x=[redacted]&sig=[redacted]&token=[redacted]&",
	} {
		if got := r.URI(in); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}

func debugLogger(w *bytes.Buffer) *slog.Logger {
	return NewLogger(w, FormatJSON, slog.LevelDebug, func(string) (string, bool) { return "", false })
}

func TestDumpIsReadableBoundedAndClean(t *testing.T) {
	var out bytes.Buffer
	d := NewDump(debugLogger(&out), NewRedactor([]string{"plain-secret"}))
	r := httptest.NewRequest("POST", "/v1/messages?key=plain-secret", nil)
	r.Header.Set("X-Api-Key", "plain-secret")
	body := func() string {
		t.Helper()
		var line struct{ Body string }
		if err := json.Unmarshal(out.Bytes(), &line); err != nil {
			t.Fatalf("%v in %q", err, out.String())
		}
		if strings.Contains(out.String(), "plain-secret") {
			t.Errorf("the secret is visible in %q", out.String())
		}
		out.Reset()
		return line.Body
	}
	d.Request(t.Context(), "id", r, []byte(`{"a":"plain-secret"}`))
	if got := body(); got != "{\n  \"a\": \"[redacted]\"\n}" {
		t.Errorf("body %q", got)
	}
	d.Chunk(t.Context(), "id", []byte("data: {}\n\n"))
	if got := body(); got != "data: {}\n\n" {
		t.Errorf("chunk %q", got)
	}
	// The secret is on both sides of the cut.
	d.Chunk(t.Context(), "id", []byte(strings.Repeat("x", maxDump-6)+"plain-secret"+strings.Repeat("y", maxDump)))
	if got := body(); len(got) > maxDump+40 || strings.Contains(got, "plain") {
		t.Errorf("%d bytes, end %q", len(got), got[len(got)-60:])
	}
	d.Response(t.Context(), "id", "a", &http.Response{StatusCode: 200, Header: http.Header{"Set-Cookie": {"plain-secret"}}})
	body()

	var off *Dump
	off.Request(t.Context(), "id", r, nil)
	off.Attempt(t.Context(), "id", "a", r)
	off.Response(t.Context(), "id", "a", &http.Response{})
	off.Chunk(t.Context(), "id", []byte("x"))
	if out.Len() > 0 {
		t.Errorf("a dump that is off wrote %q", out.String())
	}
}

func TestLogFormats(t *testing.T) {
	var out bytes.Buffer
	env := func(string) (string, bool) { return "", false }
	NewLogger(&out, FormatAuto, slog.LevelInfo, env).Info(Request, Duration, 1500*time.Millisecond)
	var line map[string]any
	if err := json.Unmarshal(out.Bytes(), &line); err != nil || line[Duration] != 1.5 || line["msg"] != Request {
		t.Errorf("not a terminal: %q, %v", out.String(), err)
	}
	out.Reset()
	level := new(slog.LevelVar)
	log := NewLogger(&out, FormatText, level, env)
	log.Debug("hidden")
	level.Set(slog.LevelDebug)
	log.Debug("shown", Server, "a b")
	if got := out.String(); strings.Contains(got, "hidden") || !strings.Contains(got, `shown server="a b"`) || strings.Contains(got, "\x1b") {
		t.Errorf("text without a terminal: %q", got)
	}
}
