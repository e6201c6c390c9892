package proxy

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/config"
	"github.com/9bingyin/claude-code-lb/internal/event"
	"github.com/9bingyin/claude-code-lb/internal/ledger"
	"github.com/9bingyin/claude-code-lb/internal/routing"
	"github.com/9bingyin/claude-code-lb/internal/upstream"
)

// rig is a proxy in front of scripted upstreams, in the order of their priority.
type rig struct {
	t        *testing.T
	settings Settings
	table    *routing.Table
	owners   *routing.Owners
	proxy    *Proxy
	front    *httptest.Server
	mu       sync.Mutex
	entries  []ledger.Entry
	recorded chan struct{}
}

func (r *rig) Record(e ledger.Entry) {
	r.mu.Lock()
	r.entries = append(r.entries, e)
	r.mu.Unlock()
	r.recorded <- struct{}{}
}

func newRig(t *testing.T, upstreams ...http.HandlerFunc) *rig {
	t.Helper()
	return newRigWith(t, func(*config.Config) {}, upstreams...)
}

// newRigWith is newRig with a changed configuration.
func newRigWith(t *testing.T, change func(*config.Config), upstreams ...http.HandlerFunc) *rig {
	t.Helper()
	r := &rig{t: t, recorded: make(chan struct{}, 100), settings: Settings{FirstContent: 5 * time.Second, NonStreaming: 5 * time.Second, Idle: 5 * time.Second, MaxAttempts: 4, RetryFloor: 10}}
	cfg := &config.Config{Mode: config.ModeFallback, Cooldown: time.Minute, MaxEjectedPercent: 50, Timeouts: config.Timeouts{Connect: time.Second}}
	for i, h := range upstreams {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			// net/http's server notices a client that leaves only after it has read the body.
			body, err := io.ReadAll(req.Body)
			if err != nil {
				return
			}
			req.Body = io.NopCloser(bytes.NewReader(body))
			h(w, req)
		}))
		t.Cleanup(s.Close)
		u, err := url.Parse(s.URL)
		if err != nil {
			t.Fatal(err)
		}
		cfg.Servers = append(cfg.Servers, config.Server{
			Name: string(rune('a' + i)), URL: u, Weight: 1, Token: config.NewSecret("token"), AuthHeader: config.AuthHeaderAuto,
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	change(cfg)
	log := slog.New(slog.DiscardHandler)
	pool := upstream.NewPool(ctx, event.NewBus(log))
	eps, commit := pool.Reconcile(cfg)
	commit()
	r.table = routing.NewTable(cfg, eps, routing.NewIndex(1<<20, 1), routing.Random)
	p := New(log, 1, r)
	r.proxy, r.owners = p, p.Owners
	r.front = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		if err != nil {
			t.Error(err)
		}
		p.Serve(w, Request{ID: "req_lb_test", Client: "test", HTTP: req, Body: NewBody(body, nil), Start: time.Now(), Table: r.table, Settings: &r.settings})
	}))
	t.Cleanup(func() { r.front.Close(); cancel(); pool.Wait() })
	return r
}

// reply is the response that the client received. Err is nil if it ended cleanly.
type reply struct {
	*http.Response
	Body string
	Err  error
}

func (r *rig) post(path, body string) reply {
	r.t.Helper()
	return r.send("POST", path, body)
}

func (r *rig) send(method, path, body string) reply {
	r.t.Helper()
	req, err := http.NewRequest(method, r.front.URL+path, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Content-Type", jsonType)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer res.Body.Close()
	got, err := io.ReadAll(res.Body)
	<-r.recorded
	return reply{Response: res, Body: string(got), Err: err}
}

func (r *rig) last() ledger.Entry {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.entries[len(r.entries)-1]
}

const (
	streamBody = `{"model":"claude-test","stream":true,"messages":[]}`
	plainBody  = `{"model":"claude-test","messages":[]}`

	startEvent = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"model\":\"claude-test\",\"usage\":{\"input_tokens\":10,\"cache_read_input_tokens\":90,\"output_tokens\":1}}}\n\n"
	pingEvent  = "event: ping\ndata: {\"type\": \"ping\"}\n\n"
	blockEvent = "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n"
	textEvent  = "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"hi\"}}\n\n"
	deltaEvent = "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":7}}\n\n"
	stopEvent  = "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"
	errorEvent = "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}\n\n"
	wholeReply = startEvent + pingEvent + blockEvent + textEvent + deltaEvent + stopEvent

	plainReply = `{"type":"message","id":"msg_1","model":"claude-test","stop_reason":"end_turn","content":[],"usage":{"input_tokens":3,"output_tokens":4}}`
)

// stream responds with pieces of an event stream, each flushed, and then calls end.
func stream(end func(), pieces ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
		w.Header().Set("Request-Id", "req_upstream")
		w.WriteHeader(http.StatusOK)
		for _, p := range pieces {
			io.WriteString(w, p)
			w.(http.Flusher).Flush()
		}
		if end != nil {
			end()
		}
	}
}

func abort() { panic(http.ErrAbortHandler) }

func respond(status int, contentType, body string, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		for i := 0; i < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(status)
		io.WriteString(w, body)
	}
}

const jsonType = "application/json"

func TestFailuresBeforeTheFirstContentAreHidden(t *testing.T) {
	f := func(name string, bad http.HandlerFunc, body string) {
		t.Run(name, func(t *testing.T) {
			good, want := stream(nil, wholeReply), wholeReply
			if body == plainBody {
				good, want = respond(200, jsonType, plainReply), plainReply
			}
			r := newRig(t, bad, good)
			got := r.post("/v1/messages", body)
			if got.StatusCode != 200 || got.Body != want || got.Err != nil {
				t.Errorf("client got %d %q, %v", got.StatusCode, got.Body, got.Err)
			}
			e := r.last()
			if len(e.Attempts) != 2 || e.Attempts[0].Reason == "" || e.Outcome != ledger.Answered || e.Server() != "b" {
				t.Errorf("entry %+v", e)
			}
			if again := r.post("/v1/messages", body); again.StatusCode != 200 || len(r.last().Attempts) != 1 {
				t.Errorf("the failed server was asked again at once: %+v", r.last().Attempts)
			}
		})
	}
	for _, status := range []int{401, 402, 403, 408, 429, 500, 502, 503, 504, 529} {
		f(http.StatusText(status)+" stream", respond(status, jsonType, `{"type":"error","error":{"type":"x","message":"y"}}`), streamBody)
		f(http.StatusText(status)+" plain", respond(status, jsonType, `{}`), plainBody)
	}
	f("reset before the head", func(http.ResponseWriter, *http.Request) { abort() }, streamBody)
	f("empty stream", stream(nil), streamBody)
	f("stream of pings only", stream(nil, pingEvent, ": comment\n\n"), streamBody)
	f("end after message_start", stream(nil, startEvent), streamBody)
	f("cut after message_start", stream(abort, startEvent), streamBody)
	f("error event first", stream(nil, errorEvent), streamBody)
	f("error event after message_start", stream(nil, startEvent, pingEvent, errorEvent), streamBody)
	f("event that is no JSON", stream(nil, startEvent, "event: content_block_start\ndata: {\"type\":\"content\n\n", textEvent, stopEvent), streamBody)
	f("400 without its text", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		w.WriteHeader(400)
		io.WriteString(w, `{"type":"error",`)
	}, streamBody)
	f("HTML with 200, stream", respond(200, "text/html", "<html>busy</html>"), streamBody)
	f("HTML with 200, plain", respond(200, "text/html", "<html>busy</html>"), plainBody)
	f("empty 200", respond(200, jsonType, ""), plainBody)
	f("error inside a 200, plain", respond(200, jsonType, `{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}`), plainBody)
	f("cut JSON", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "1000")
		io.WriteString(w, plainReply)
	}, plainBody)
	f("JSON that ends early", respond(200, jsonType, plainReply[:40]), plainBody)
	f("no content", respond(204, jsonType, ""), plainBody)
	f("redirect", respond(302, "text/html", "", "Location", "https://elsewhere.example"), streamBody)
	f("unknown encoding", respond(200, jsonType, "....", "Content-Encoding", "compress"), plainBody)
}

func TestSlowUpstreamsFailOver(t *testing.T) {
	hang := func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	stall := func(w http.ResponseWriter, r *http.Request) {
		stream(func() { <-r.Context().Done() }, startEvent, pingEvent)(w, r)
	}
	for name, bad := range map[string]http.HandlerFunc{"no head": hang, "no content": stall} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, bad, stream(nil, wholeReply))
			r.settings.FirstContent = 50 * time.Millisecond
			if got := r.post("/v1/messages", streamBody); got.Body != wholeReply {
				t.Errorf("client got %q", got.Body)
			}
			if reason := r.last().Attempts[0].Reason; reason != "no first content within 50ms" {
				t.Errorf("reason %q", reason)
			}
		})
	}
}

func TestClientErrorsAreRelayedUnchanged(t *testing.T) {
	for _, status := range []int{400, 404, 409, 413, 422} {
		body := `{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long"},  "request_id":"req_9"}`
		r := newRig(t, respond(status, jsonType, body, "Request-Id", "req_9", "X-Odd", "kept"), stream(nil, wholeReply))
		got := r.post("/v1/messages", streamBody)
		if got.StatusCode != status || got.Body != body || got.Header.Get("Request-Id") != "req_9" || got.Header.Get("X-Odd") != "kept" {
			t.Errorf("%d: client got %d %q %v", status, got.StatusCode, got.Body, got.Header)
		}
		if e := r.last(); len(e.Attempts) != 1 || e.Outcome != ledger.Answered {
			t.Errorf("%d: entry %+v", status, e)
		}
		if c := r.table.Counts(time.Now()); c.Available != 2 {
			t.Errorf("%d took a server out: %+v", status, c)
		}
	}
}

func TestLastRefusalIsSentIfAllFail(t *testing.T) {
	refusal := `{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"},"request_id":"req_b"}`
	r := newRig(t, respond(500, jsonType, "{}"), respond(529, jsonType, refusal, "Request-Id", "req_b"))
	if got := r.post("/v1/messages", streamBody); got.StatusCode != 529 || got.Body != refusal || got.Header.Get("Request-Id") != "req_b" {
		t.Errorf("client got %d %q", got.StatusCode, got.Body)
	}
	r = newRig(t, stream(nil, startEvent, errorEvent))
	if got := r.post("/v1/messages", streamBody); got.StatusCode != 529 || !strings.Contains(got.Body, `"overloaded_error","message":"Overloaded"`) || got.Header.Get("Content-Type") != jsonType {
		t.Errorf("error event: client got %d %q", got.StatusCode, got.Body)
	}
	r = newRig(t, respond(401, jsonType, `{"error":{"type":"authentication_error","message":"invalid x-api-key"}}`))
	if got := r.post("/v1/messages", plainBody); got.StatusCode != 503 || strings.Contains(got.Body, "invalid x-api-key") || got.Header.Get("Retry-After") == "" {
		t.Errorf("our token was refused: client got %d %q", got.StatusCode, got.Body)
	}
	r = newRig(t, func(http.ResponseWriter, *http.Request) { abort() })
	got := r.post("/v1/messages", plainBody)
	if got.StatusCode != 503 || got.Header.Get("Request-Id") != "req_lb_test" || !strings.Contains(got.Body, `"request_id":"req_lb_test"`) {
		t.Errorf("nothing but resets: client got %d %q", got.StatusCode, got.Body)
	}
}

func TestTruncationIsVisible(t *testing.T) {
	f := func(name string, end func(), pieces ...string) {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, stream(end, pieces...), stream(nil, wholeReply))
			got := r.post("/v1/messages", streamBody)
			if got.Err == nil {
				t.Error("the client saw a clean end")
			}
			whole := startEvent + blockEvent + textEvent
			rest, ok := strings.CutPrefix(got.Body, whole)
			if !ok || !strings.HasPrefix(rest, "event: error\ndata: {") || strings.Count(rest, "event:") != 1 {
				t.Errorf("client got %q", got.Body)
			}
			e := r.last()
			if e.Outcome != ledger.Truncated || len(e.Attempts) != 1 || e.Usage().CacheReadTokens != 90 {
				t.Errorf("entry %+v", e)
			}
			if c := r.table.Counts(time.Now()); c.Available != 1 {
				t.Errorf("the server was not charged: %+v", c)
			}
		})
	}
	f("reset", abort, startEvent, blockEvent, textEvent)
	f("clean end", nil, startEvent, blockEvent, textEvent)
	f("reset inside an event", abort, startEvent+blockEvent, textEvent+textEvent[:20])
	f("clean end inside an event", nil, startEvent, blockEvent+textEvent+"event: message_st")
}

func TestStallAfterTheCommitIsCutOff(t *testing.T) {
	r := newRig(t, func(w http.ResponseWriter, req *http.Request) {
		stream(func() { <-req.Context().Done() }, startEvent, blockEvent, textEvent)(w, req)
	})
	r.settings.Idle = 50 * time.Millisecond
	got := r.post("/v1/messages", streamBody)
	if got.Err == nil || !strings.Contains(got.Body, "no next byte within 50ms") {
		t.Errorf("client got %q, %v", got.Body, got.Err)
	}
}

func TestErrorEventAfterTheCommitIsRelayed(t *testing.T) {
	committed := make(chan struct{})
	r := newRig(t, func(w http.ResponseWriter, req *http.Request) {
		stream(func() { <-committed }, startEvent, blockEvent)(w, req)
		io.WriteString(w, errorEvent)
	})
	res, err := http.Post(r.front.URL+"/v1/messages", jsonType, strings.NewReader(streamBody))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	close(committed)
	if got, err := io.ReadAll(res.Body); err != nil || string(got) != startEvent+blockEvent+errorEvent {
		t.Errorf("client got %q, %v", got, err)
	}
	<-r.recorded
	if e := r.last(); e.Outcome != ledger.Truncated || e.Attempts[0].Reason != "error event overloaded_error" {
		t.Errorf("entry %+v", e)
	}
}

func TestEventsAreNotDelayed(t *testing.T) {
	next := make(chan string)
	r := newRig(t, func(w http.ResponseWriter, req *http.Request) {
		stream(nil, startEvent, blockEvent)(w, req)
		for piece := range next {
			io.WriteString(w, piece)
			w.(http.Flusher).Flush()
		}
	})
	res, err := http.Post(r.front.URL+"/v1/messages", jsonType, strings.NewReader(streamBody))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	expect := func(want string) {
		t.Helper()
		got := make([]byte, len(want))
		if _, err := io.ReadFull(res.Body, got); err != nil || string(got) != want {
			t.Fatalf("got %q, %v, want %q", got, err, want)
		}
	}
	expect(startEvent + blockEvent)
	for _, piece := range []string{pingEvent, textEvent, ": comment\n\n", pingEvent, deltaEvent, stopEvent} {
		next <- piece
		expect(piece) // before the upstream sends anything more
	}
	close(next)
	<-r.recorded
	e := r.last()
	if u := e.Usage(); u.OutputTokens != 7 || u.InputTokens != 10 || u.CacheReadTokens != 90 {
		t.Errorf("usage %+v", u)
	}
}

func TestClientThatLeavesChargesNoEndpoint(t *testing.T) {
	gone := make(chan struct{})
	f := func(name string, sendHead bool) {
		t.Run(name, func(t *testing.T) {
			begun := make(chan struct{}, 1)
			r := newRig(t, func(w http.ResponseWriter, req *http.Request) {
				if sendHead {
					stream(nil, startEvent, blockEvent)(w, req)
				}
				begun <- struct{}{}
				<-req.Context().Done()
				gone <- struct{}{}
			}, stream(nil, wholeReply))
			ctx, leave := context.WithCancel(t.Context())
			req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.front.URL+"/v1/messages", strings.NewReader(streamBody))
			if err != nil {
				t.Fatal(err)
			}
			go func() {
				<-begun
				leave()
			}()
			if res, err := http.DefaultClient.Do(req); err == nil {
				io.Copy(io.Discard, res.Body)
				res.Body.Close()
			}
			<-gone
			<-r.recorded
			if e := r.last(); e.Outcome != ledger.ClientGone || len(e.Attempts) != 1 {
				t.Errorf("entry %+v", e)
			}
			if c := r.table.Counts(time.Now()); c.Available != 2 {
				t.Errorf("a server was charged: %+v", c)
			}
		})
	}
	f("before the head", false)
	f("after the commit", true)
}

func TestLargeBodiesArriveUnchanged(t *testing.T) {
	sent := bytes.Repeat([]byte("\x00\xff \u2028{\"a\":1}"), 100_000)
	var got []byte
	r := newRig(t, respond(503, jsonType, "{}"), func(w http.ResponseWriter, req *http.Request) {
		var err error
		if got, err = io.ReadAll(req.Body); err != nil {
			t.Error(err)
		}
		respond(200, jsonType, plainReply)(w, req)
	})
	r.post("/v1/messages", string(sent))
	if !bytes.Equal(got, sent) {
		t.Errorf("the second upstream got %d bytes, want %d", len(got), len(sent))
	}
}

func TestOtherPathsAreRelayedUnchanged(t *testing.T) {
	r := newRig(t, func(w http.ResponseWriter, req *http.Request) {
		if req.Method != http.MethodGet || req.URL.RequestURI() != "/v1/messages/batches/b%2F1/results?limit=2" || req.Header.Get("Accept-Encoding") == "identity" {
			t.Errorf("upstream got %s %s %v", req.Method, req.URL.RequestURI(), req.Header)
		}
		respond(200, "application/x-jsonl", "{}\nnot json\n")(w, req)
	})
	res, err := http.Get(r.front.URL + "/v1/messages/batches/b%2F1/results?limit=2")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if body, err := io.ReadAll(res.Body); err != nil || string(body) != "{}\nnot json\n" {
		t.Errorf("client got %q, %v", body, err)
	}
}
