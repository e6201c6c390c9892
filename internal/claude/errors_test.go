package claude

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

func TestParseError(t *testing.T) {
	f := func(body string, want Error) {
		t.Helper()
		got, ok := ParseError([]byte(body))
		if !ok || got != want {
			t.Errorf("%s: got %+v, %v, want %+v", body, got, ok, want)
		}
	}
	f(`{"type":"error","error":{"type":"rate_limit_error","message":"m","details":{"error_code":"enforced_spend_limit_reached"}},"request_id":"req_1"}`,
		Error{Type: ErrRateLimit, Message: "m", Code: "enforced_spend_limit_reached", RequestID: "req_1"})
	f(` {"error":{"type":"new_error"}} `, Error{Type: "new_error"})
	f(`{"type":null,"error":{}}`, Error{})
	f(`{"error":{"type":7,"message":["x"],"details":"d"},"request_id":null}`, Error{})
	f(`{"error":"no \"credit\""}`, Error{Message: `no "credit"`})
	f(`{"error":{"type":"a","message":"b"},"error":{"message":"last"}}`, Error{Message: "last"})
}

func TestParseErrorRefuses(t *testing.T) {
	for _, body := range []string{
		"", "{}", "null", `"error"`, `[]`, `{"type":"error"}`, `{"error":null}`, `{"error":7}`, `{"error":["x"]}`,
		`{"type":"message","error":{}}`, `{"error":{"type":"a"}`, `{"error":{}}<`, "<html><body>403 Forbidden</body></html>",
		`{"error":{},"error":null}`,
	} {
		if e, ok := ParseError([]byte(body)); ok {
			t.Errorf("%s: got %+v", body, e)
		}
	}
}

func TestAppendJSON(t *testing.T) {
	f := func(e Error, want string) {
		t.Helper()
		if got := string(e.AppendJSON([]byte("before "))); got != "before "+want {
			t.Errorf("%+v:\n got %s\nwant %s", e, got, want)
		}
	}
	f(Error{Type: ErrOverloaded, Message: "Overloaded", RequestID: "req_1"},
		`{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"},"request_id":"req_1"}`)
	f(Error{}, `{"type":"error","error":{"type":"api_error","message":""}}`)
	f(Error{Type: ErrRateLimit, Message: "a > b & \"c\"\n\xff", Code: "code"},
		`{"type":"error","error":{"type":"rate_limit_error","message":"a > b & \"c\"\n`+`\ufffd","details":{"error_code":"code"}}}`)
}

func TestAppendEvent(t *testing.T) {
	got := string(Error{Type: ErrTimeout, Message: "slow"}.AppendEvent(nil))
	want := "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"timeout_error\",\"message\":\"slow\"}}\n\n"
	if got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestStatusAndType(t *testing.T) {
	f := func(status int, kind ErrorType) {
		t.Helper()
		if got := TypeForStatus(status); got != kind {
			t.Errorf("%d: got %s, want %s", status, got, kind)
		}
		if got := StatusForType(kind); got != status {
			t.Errorf("%s: got %d, want %d", kind, got, status)
		}
	}
	f(400, ErrInvalidRequest)
	f(401, ErrAuthentication)
	f(402, ErrBilling)
	f(403, ErrPermission)
	f(404, ErrNotFound)
	f(409, ErrConflict)
	f(413, ErrTooLarge)
	f(429, ErrRateLimit)
	f(500, ErrAPI)
	f(504, ErrTimeout)
	f(529, ErrOverloaded)

	for status, want := range map[int]ErrorType{405: ErrInvalidRequest, 422: ErrInvalidRequest, 499: ErrInvalidRequest, 502: ErrAPI, 503: ErrAPI, 520: ErrAPI, 0: ErrAPI, 200: ErrAPI} {
		if got := TypeForStatus(status); got != want {
			t.Errorf("%d: got %s, want %s", status, got, want)
		}
	}
	if got := StatusForType("new_error"); got != 500 {
		t.Errorf("unknown type: got %d", got)
	}
}

// FuzzParseError checks that a parsed error can be written and parsed again, as a body and as an
// event.
func FuzzParseError(f *testing.F) {
	f.Add([]byte(`{"type":"error","error":{"type":"overloaded_error","message":"Overloaded","details":{"error_code":"c"}},"request_id":"req_1"}`))
	f.Add([]byte("{\"error\":\"\\u2028\\n\\ud800\xff <>&\"}"))
	f.Add([]byte(`{"type":"error","error":{"message":null,"message":"x"},"error":"y"}`))
	f.Add([]byte(`<html>`))
	f.Fuzz(func(t *testing.T, body []byte) {
		e, ok := ParseError(body)
		if !ok {
			if e != (Error{}) {
				t.Errorf("refused, and yet %+v", e)
			}
			return
		}
		if !json.Valid(body) {
			t.Error("accepted what is not JSON")
		}
		want := e
		if want.Type == "" {
			want.Type = ErrAPI
		}
		if got, ok := ParseError(e.AppendJSON(nil)); !ok || got != want {
			t.Errorf("written and read: %+v, %v, want %+v", got, ok, want)
		}
		m := observe(string(e.AppendEvent(nil)))
		if len(body) < defaultMaxData/6 && (m.Err == nil || *m.Err != want) {
			t.Errorf("written and read as an event: %+v, want %+v", m.Err, want)
		}
	})
}

func BenchmarkParseErrorOfHTML(b *testing.B) {
	page := []byte("<html>" + strings.Repeat("<p>Bad gateway</p>", 1000))
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := ParseError(bytes.TrimSpace(page)); ok {
			b.Fatal("accepted")
		}
	}
}
