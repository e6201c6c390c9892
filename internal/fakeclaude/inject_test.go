package fakeclaude

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"

	"github.com/9bingyin/claude-code-lb/internal/claude"
	"github.com/9bingyin/claude-code-lb/internal/fakeclaude/fault"
)

func TestStatusFault(t *testing.T) {
	u := serve(t, Options{Settings: Settings{Limits: Limits{Requests: 5}}})
	f := func(injected fault.Fault, wantType claude.ErrorType, check func(result) bool) {
		t.Helper()
		injected.Kind = fault.Status
		for _, stream := range []bool{true, false} {
			u.Script(injected)
			got := u.ask(body(stream, ""))
			e := errorOf(t, got)
			if got.status != injected.Status || e.Type != wantType || e.RequestID != got.header.Get("Request-Id") || !check(got) {
				t.Errorf("%+v: %d %+v %v", injected, got.status, e, got.header)
			}
		}
	}
	hasLimits := func(g result) bool { return g.header.Get("Anthropic-Ratelimit-Requests-Limit") == "5" }
	f(fault.Fault{Status: 529}, claude.ErrOverloaded, hasLimits)
	f(fault.Fault{Status: 500}, claude.ErrAPI, hasLimits)
	f(fault.Fault{Status: 401}, claude.ErrAuthentication, hasLimits)
	f(fault.Fault{Status: 402}, claude.ErrBilling, hasLimits)
	f(fault.Fault{Status: 429, Bare: true, Headers: map[string]string{"x-should-retry": "true"}}, claude.ErrRateLimit, func(g result) bool {
		return !hasLimits(g) && g.header.Get("X-Should-Retry") == "true"
	})
	f(fault.Fault{Status: 400, Type: "invalid_request_error", Message: "Your credit balance is too low"}, claude.ErrInvalidRequest, func(g result) bool {
		return strings.Contains(string(g.body), `"Your credit balance is too low"`)
	})
	f(fault.Fault{Status: 429, Code: "enforced_spend_limit_reached"}, claude.ErrRateLimit, func(g result) bool {
		return strings.Contains(string(g.body), `"error_code":"enforced_spend_limit_reached"`)
	})
}

func TestStatusFaultWithBody(t *testing.T) {
	u := serve(t, Options{})
	u.Script(
		fault.Fault{Kind: fault.Status, Status: 502, Body: "upstream sad", Headers: map[string]string{"content-type": "text/plain"}},
		fault.Fault{Kind: fault.Status, Status: 204},
	)
	got := u.ask(body(true, ""))
	if got.status != 502 || string(got.body) != "upstream sad" || got.header.Get("Content-Type") != "text/plain" {
		t.Errorf("%d %s", got.status, got.body)
	}
	if got := u.ask(body(true, "")); got.status != 204 || len(got.body) != 0 || got.err != nil {
		t.Errorf("%d %q %v", got.status, got.body, got.err)
	}
}

func TestHTMLFault(t *testing.T) {
	u := serve(t, Options{})
	f := func(status, want int) {
		t.Helper()
		u.Script(fault.Fault{Kind: fault.HTML, Status: status})
		got := u.ask(body(true, ""))
		if got.status != want || !strings.HasPrefix(got.header.Get("Content-Type"), "text/html") || !bytes.Contains(got.body, []byte("<html>")) {
			t.Errorf("%d %v %s", got.status, got.header, got.body)
		}
	}
	f(0, 200)
	f(403, 403)
}

func TestEmptyFault(t *testing.T) {
	u := serve(t, Options{})
	for _, stream := range []bool{true, false} {
		u.Script(fault.Fault{Kind: fault.Empty})
		got := u.ask(body(stream, ""))
		if got.status != 200 || len(got.body) != 0 || got.err != nil {
			t.Errorf("stream %t: %d %q %v", stream, got.status, got.body, got.err)
		}
		if isStream := strings.HasPrefix(got.header.Get("Content-Type"), "text/event-stream"); isStream != stream {
			t.Errorf("stream %t: %v", stream, got.header)
		}
	}
}

func TestErrorEvent(t *testing.T) {
	u := serve(t, Options{})
	f := func(at fault.Point, wantBefore string) {
		t.Helper()
		u.Script(fault.Fault{Kind: fault.Error, At: at, Type: "api_error", Message: "boom \"quoted\""})
		got := u.ask(body(true, bashTool+","+thinking))
		names, m, _ := replay(got.body)
		before := ""
		if len(names) > 1 {
			before = names[len(names)-2]
		}
		if got.status != 200 || got.err != nil || lastEvent(got.body) != "error" || before != wantBefore {
			t.Errorf("at %q: %d, %v, %v", at, got.status, got.err, names)
		}
		if m.Err == nil || m.Err.Type != claude.ErrAPI || m.Err.Message != "boom \"quoted\"" || m.Stopped != (wantBefore == "message_stop") {
			t.Errorf("at %q: %+v", at, m)
		}
	}
	f("", "")
	f(fault.AtStart, "")
	f(fault.AtMessageStart, "message_start")
	f(fault.AtBlockStart, "content_block_start")
	f(fault.AtFirstBlock, "content_block_stop")
	f(fault.AtMidText, "content_block_delta")
	f(fault.AtToolBlock, "content_block_stop")
	f(fault.AtMessageDelta, "message_delta")
	f(fault.EventPoint(0), "")
	f(fault.EventPoint(2), "ping")
	f(fault.EventPoint(9999), "message_stop")
}

func TestErrorFaultInPlainResponseIsAStatus(t *testing.T) {
	u := serve(t, Options{})
	u.Script(fault.Fault{Kind: fault.Error}, fault.Fault{Kind: fault.Error, Type: "api_error"})
	if got := u.ask(body(false, "")); got.status != 529 || errorOf(t, got).Type != claude.ErrOverloaded {
		t.Errorf("%d %s", got.status, got.body)
	}
	if got := u.ask(body(false, "")); got.status != 500 || errorOf(t, got).Type != claude.ErrAPI {
		t.Errorf("%d %s", got.status, got.body)
	}
}

func TestStreamFaultDoesNotChangeInvalidRequest(t *testing.T) {
	u := serve(t, Options{})
	u.Script(fault.Fault{Kind: fault.Error, At: fault.AtMidText})
	if got := u.ask(`{"stream":true}`); got.status != 400 || errorOf(t, got).Type != claude.ErrInvalidRequest {
		t.Errorf("%d %s", got.status, got.body)
	}
}

// cutPoints returns the event before each point, in a response with all kinds of blocks.
func cutPoints() map[fault.Point]string {
	return map[fault.Point]string{
		fault.AtHeaders: "", fault.AtMessageStart: "message_start", fault.AtBlockStart: "content_block_start", fault.AtFirstBlock: "content_block_stop",
		fault.AtMidText: "content_block_delta", fault.AtToolBlock: "content_block_stop", fault.AtMessageDelta: "message_delta", fault.EventPoint(3): "content_block_start",
	}
}

func TestCutStreams(t *testing.T) {
	u := serve(t, Options{})
	f := func(kind fault.Kind, wantErr func(error) bool) {
		t.Helper()
		for at, want := range cutPoints() {
			u.Script(fault.Fault{Kind: kind, At: at})
			got := u.ask(body(true, thinking+","+bashTool))
			if got.status != 200 || lastEvent(got.body) != want || !wantErr(got.err) {
				t.Errorf("%s at %s: status %d, last event %q, error %v", kind, at, got.status, lastEvent(got.body), got.err)
			}
		}
	}
	f(fault.Reset, func(err error) bool { return errors.Is(err, syscall.ECONNRESET) })
	f(fault.Close, func(err error) bool { return errors.Is(err, io.ErrUnexpectedEOF) })
	f(fault.End, func(err error) bool { return err == nil })
}

func TestCutPlainResponses(t *testing.T) {
	u := serve(t, Options{})
	f := func(kind fault.Kind, wantErr func(error) bool) {
		t.Helper()
		size := 0
		for _, at := range fault.Points()[1:] {
			u.Script(fault.Fault{Kind: kind, At: at})
			got := u.ask(body(false, ""))
			if got.status != 200 || !wantErr(got.err) || json.Valid(got.body) || len(got.body) < size {
				t.Errorf("%s at %s: status %d, error %v, body %s", kind, at, got.status, got.err, got.body)
			}
			size = len(got.body)
		}
	}
	f(fault.Reset, func(err error) bool { return errors.Is(err, syscall.ECONNRESET) })
	f(fault.Close, func(err error) bool { return errors.Is(err, io.ErrUnexpectedEOF) })
	f(fault.End, func(err error) bool { return err == nil })
}

func TestConnectionClosedBeforeTheHeader(t *testing.T) {
	u := serve(t, Options{})
	for _, stream := range []bool{true, false} {
		u.Script(fault.Fault{Kind: fault.Reset}, fault.Fault{Kind: fault.Close})
		if got := u.ask(body(stream, "")); !errors.Is(got.err, syscall.ECONNRESET) || got.status != 0 {
			t.Errorf("reset: %d %v", got.status, got.err)
		}
		if got := u.ask(body(stream, "")); !errors.Is(got.err, io.EOF) || got.status != 0 {
			t.Errorf("close: %d %v", got.status, got.err)
		}
	}
	if err := u.WaitIdle(t.Context()); err != nil {
		t.Fatal(err)
	}
	if stats := u.Stats(); stats.Cut != 4 || len(stats.ByStatus) != 0 || stats.ByFault[fault.Reset] != 2 {
		t.Errorf("stats are %+v", stats)
	}
}

func TestCutInHTTP2ResetsTheStream(t *testing.T) {
	s := New(Options{})
	ts := httptest.NewUnstartedServer(s)
	ts.EnableHTTP2 = true
	ts.StartTLS()
	t.Cleanup(ts.Close)
	for _, kind := range []fault.Kind{fault.Reset, fault.Close} {
		s.Script(fault.Fault{Kind: kind, At: fault.AtMidText})
		resp, err := ts.Client().Do(newRequest(t, "POST", ts.URL+"/v1/messages", body(true, "")))
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.ProtoMajor != 2 || err == nil || !strings.Contains(err.Error(), "stream error") || lastEvent(got) != "content_block_delta" {
			t.Errorf("%s: %s, last event %q, error %v", kind, resp.Proto, lastEvent(got), err)
		}
	}
}

func TestResetOverTLS(t *testing.T) {
	s := New(Options{})
	ts := httptest.NewTLSServer(s)
	t.Cleanup(ts.Close)
	s.Script(fault.Fault{Kind: fault.Reset, At: fault.AtMessageStart})
	resp, err := ts.Client().Do(newRequest(t, "POST", ts.URL+"/v1/messages", body(true, "")))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.ReadAll(resp.Body); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("error is %v", err)
	}
}

func TestMalformedEvent(t *testing.T) {
	u := serve(t, Options{})
	u.Script(fault.Fault{Kind: fault.Malformed}, fault.Fault{Kind: fault.Malformed})
	got := u.ask(body(true, ""))
	_, m, datas := replay(got.body)
	if got.err != nil || !m.Stopped || json.Valid(datas[1]) || !json.Valid(datas[2]) {
		t.Errorf("error %v, message %+v, second event %s", got.err, m, datas[1])
	}
	if got := u.ask(body(false, "")); got.status != 200 || got.err != nil || json.Valid(got.body) || len(got.body) == 0 {
		t.Errorf("plain: %d %v %s", got.status, got.err, got.body)
	}
}

func TestCompressedResponses(t *testing.T) {
	u := serve(t, Options{})
	f := func(coding, want string, open func(io.Reader) (io.Reader, error)) {
		t.Helper()
		for _, stream := range []bool{true, false} {
			u.Script(fault.Fault{Kind: fault.Gzip, Coding: coding})
			got := u.ask(body(stream, ""))
			if got.header.Get("Content-Encoding") != want {
				t.Fatalf("headers are %v", got.header)
			}
			r, err := open(bytes.NewReader(got.body))
			if err != nil {
				t.Fatal(err)
			}
			unpacked, err := io.ReadAll(r)
			if err != nil {
				t.Fatal(err)
			}
			if stream && lastEvent(unpacked) != "message_stop" || !stream && !json.Valid(unpacked) {
				t.Errorf("%s, stream %t: %s", want, stream, unpacked)
			}
		}
	}
	unzip := func(r io.Reader) (io.Reader, error) { return gzip.NewReader(r) }
	f("", "gzip", unzip)
	f("gzip", "gzip", unzip)
	f("deflate", "deflate", func(r io.Reader) (io.Reader, error) { return zlib.NewReader(r) })
	f("br", "br", func(r io.Reader) (io.Reader, error) { return brotli.NewReader(r), nil })
	f("zstd", "zstd", func(r io.Reader) (io.Reader, error) { return zstd.NewReader(r, zstd.WithDecoderConcurrency(1)) })
}

// pieces records the sizes and times of the writes of a handler.
type pieces struct {
	*httptest.ResponseRecorder
	start time.Time
	sizes []int
	times []time.Duration
}

func (p *pieces) Write(b []byte) (int, error) {
	p.sizes, p.times = append(p.sizes, len(b)), append(p.times, time.Since(p.start))
	return p.ResponseRecorder.Write(b)
}

func record(t *testing.T, s *Server, body string) *pieces {
	t.Helper()
	p := &pieces{ResponseRecorder: httptest.NewRecorder(), start: time.Now()}
	s.ServeHTTP(p, newRequest(t, "POST", "http://fake/v1/messages", body))
	return p
}

func TestPaceOfAStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{Settings: Settings{
			FirstToken: Duration(time.Second), Prefill: Duration(2 * time.Second), TokenInterval: Duration(100 * time.Millisecond),
			MinOutput: 20, MaxOutput: 20,
		}})
		p := record(t, s, body(true, `"system":"`+strings.Repeat("s", 1997*4)+`"`)) // 2000 tokens together
		if header := p.times[0]; header != 5*time.Second {
			t.Errorf("the response header came after %s, want 5s", header)
		}
		if end := p.times[len(p.times)-1]; end != 7*time.Second {
			t.Errorf("the response ended after %s, want 7s", end)
		}
	})
}

func TestPaceOfAPlainResponse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{Settings: Settings{
			FirstToken: Duration(time.Second), TokenInterval: Duration(100 * time.Millisecond), MinOutput: 20, MaxOutput: 20,
		}})
		if p := record(t, s, body(false, "")); p.times[0] != 3*time.Second {
			t.Errorf("the response came after %s, want 3s", p.times[0])
		}
	})
}

func TestPingsFillASilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{})
		s.Script(fault.Fault{Kind: fault.Slow, At: fault.AtMessageStart, Delay: Duration(35 * time.Second)})
		names, m, _ := replay(record(t, s, body(true, "")).Body.Bytes())
		if want := []string{"message_start", "ping", "ping", "ping", "ping", "content_block_start"}; !slices.Equal(names[:6], want) || !m.Stopped {
			t.Errorf("events are %v", names)
		}
	})
}

func TestSlowAndStallDelayTheHeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{})
		for _, kind := range []fault.Kind{fault.Slow, fault.Stall} {
			s.Script(fault.Fault{Kind: kind, Delay: Duration(time.Minute)})
			p := record(t, s, body(true, ""))
			if p.times[0] != time.Minute || lastEvent(p.Body.Bytes()) != "message_stop" {
				t.Errorf("%s: the response header came after %s", kind, p.times[0])
			}
		}
	})
}

func TestTrickle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{})
		s.Script(fault.Fault{Kind: fault.Trickle, Delay: Duration(10 * time.Millisecond), Bytes: 7})
		p := record(t, s, body(true, ""))
		if slices.Max(p.sizes) != 7 || p.times[1] != 10*time.Millisecond {
			t.Errorf("pieces of %v after %v", p.sizes[:5], p.times[:5])
		}
		if lastEvent(p.Body.Bytes()) != "message_stop" {
			t.Errorf("stream is %s", p.Body)
		}
	})
}

func TestStallLastsUntilTheClientLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{})
		for i, at := range fault.Points() {
			for _, stream := range []bool{true, false} {
				s.Script(fault.Fault{Kind: fault.Stall, At: at})
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				w := newRecorder(s, newRequest(t, "POST", "http://fake/v1/messages", body(stream, bashTool)).WithContext(ctx))
				cancel()
				if headerSent := w.Header().Get("Request-Id") != ""; headerSent != (i > 0) {
					t.Errorf("at %s: response header sent is %t", at, headerSent)
				}
			}
		}
		for _, e := range s.Requests() {
			if e.Outcome != OutcomeCancelled || time.Duration(e.Took) != time.Hour {
				t.Errorf("%s after %s", e.Outcome, e.Took)
			}
		}
		if stats := s.Stats(); stats.Cancelled != int64(2*len(fault.Points())) || stats.InFlight != 0 {
			t.Errorf("stats are %+v", stats)
		}
	})
}

func TestCloseEndsStalls(t *testing.T) {
	u := serve(t, Options{})
	u.Script(fault.Fault{Kind: fault.Stall, At: fault.AtMessageStart})
	resp, err := http.DefaultClient.Do(newRequest(t, "POST", u.url+"/v1/messages", body(true, "")))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	u.Close()
	if got, err := io.ReadAll(resp.Body); !errors.Is(err, io.ErrUnexpectedEOF) || lastEvent(got) != "message_start" {
		t.Errorf("error is %v after %s", err, got)
	}
}

func TestClientDisconnectIsRecorded(t *testing.T) {
	u := serve(t, Options{})
	u.Script(fault.Fault{Kind: fault.Stall, At: fault.AtMidText})
	ctx, cancel := context.WithCancel(t.Context())
	resp, err := http.DefaultClient.Do(newRequest(t, "POST", u.url+"/v1/messages", body(true, "")).WithContext(ctx))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if list := u.Requests(); len(list) != 1 || list[0].Outcome != OutcomeInFlight {
		t.Errorf("in flight: %+v", list)
	}
	for seen := []byte(nil); !bytes.Contains(seen, []byte("text_delta")); {
		piece := make([]byte, 4096)
		n, err := resp.Body.Read(piece)
		if err != nil {
			t.Fatal(err)
		}
		seen = append(seen, piece[:n]...)
	}
	cancel()
	if err := u.WaitIdle(t.Context()); err != nil {
		t.Fatal(err)
	}
	e := u.Requests()[0]
	if e.Outcome != OutcomeCancelled || e.Fault != fault.Stall || e.Usage.OutputTokens == 0 {
		t.Errorf("ended as %+v", e)
	}
}

func TestToolPointForcesAToolCall(t *testing.T) {
	s := New(Options{})
	for i := range 20 {
		s.Script(fault.Fault{Kind: fault.End, At: fault.AtToolBlock})
		w := newRecorder(s, newRequest(t, "POST", "http://fake/v1/messages", body(true, bashTool+fmt.Sprintf(`,"n":%d`, i))))
		if !bytes.Contains(w.Body.Bytes(), []byte(`"type":"tool_use"`)) || lastEvent(w.Body.Bytes()) != "content_block_stop" {
			t.Fatalf("no tool call in %s", w.Body)
		}
	}
}

func TestMissingPointIsTheEndOfTheContent(t *testing.T) {
	s := New(Options{})
	s.Script(fault.Fault{Kind: fault.End, At: fault.AtToolBlock})
	w := newRecorder(s, newRequest(t, "POST", "http://fake/v1/messages", body(true, "")))
	names, m, _ := replay(w.Body.Bytes())
	if names[len(names)-1] != "content_block_stop" || m.Delta {
		t.Errorf("events are %v", names)
	}
}

func TestFaultsOnOtherPaths(t *testing.T) {
	u := serve(t, Options{})
	u.Script(fault.Fault{Kind: fault.Close, At: fault.AtMidText}, fault.Fault{Kind: fault.Status, Status: 503})
	if got := u.do("GET", "/v1/models", ""); !errors.Is(got.err, io.ErrUnexpectedEOF) {
		t.Errorf("error is %v", got.err)
	}
	if got := u.do("POST", "/v1/messages/count_tokens", body(false, "")); got.status != 503 {
		t.Errorf("status %d", got.status)
	}
}
