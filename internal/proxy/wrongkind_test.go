package proxy

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"claude-code-lb/internal/ledger"
)

// TestAnswersThatAreNone are failures of whoever gave them, before the client has seen a byte.
func TestAnswersThatAreNone(t *testing.T) {
	f := func(name, reason string, bad http.HandlerFunc) {
		for _, kind := range []struct{ name, body, want string }{{"stream", streamBody, wholeReply}, {"plain", plainBody, plainReply}} {
			t.Run(name+"/"+kind.name, func(t *testing.T) {
				t.Parallel()
				good := stream(nil, wholeReply)
				if kind.name == "plain" {
					good = respond(200, jsonType, plainReply)
				}
				r := newRig(t, bad, good)
				got := r.post("/v1/messages", kind.body)
				if got.Err != nil || got.StatusCode != 200 || got.Body != kind.want {
					t.Fatalf("client got %d %.200q, %v", got.StatusCode, got.Body, got.Err)
				}
				e := r.last()
				if len(e.Attempts) != 2 || !strings.Contains(e.Attempts[0].Reason, reason) {
					t.Errorf("attempts %+v", e.Attempts)
				}
			})
		}
	}
	sse := "text/event-stream"
	f("a page", "not a JSON object", respond(200, "text/html", "<html>please log in</html>"))
	f("an endless page", "not a JSON object", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		for i := 0; i < 40 && writeAll(w, "<p>"+strings.Repeat("wait ", 100_000)); i++ {
		}
	})
	f("blanks without end", "not a JSON object", func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i < 100 && writeAll(w, strings.Repeat(" ", 1<<20)); i++ {
		}
	})
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	for range 64 {
		if _, err := z.Write(make([]byte, 1<<20)); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	f("a compressed bomb", "not a JSON object", respond(200, jsonType, bomb.String(), "Content-Encoding", "gzip"))
	f("nothing", "not a JSON object", respond(200, sse, ""))
	f("cut JSON", "not a JSON object", respond(200, jsonType, plainReply[:len(plainReply)/2]))
}

func writeAll(w io.Writer, text string) bool {
	_, err := io.WriteString(w, text)
	return err == nil
}

// TestTheOtherKind is an answer that would be good for another request.
func TestTheOtherKind(t *testing.T) {
	f := func(name, body, want, reason string, bad, good http.HandlerFunc) {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, bad, good)
			if got := r.post("/v1/messages", body); got.StatusCode != 200 || got.Body != want {
				t.Errorf("client got %d %q", got.StatusCode, got.Body)
			}
			if e := r.last(); len(e.Attempts) != 2 || !strings.Contains(e.Attempts[0].Reason, reason) {
				t.Errorf("attempts %+v", e.Attempts)
			}
		})
	}
	plain := respond(200, jsonType, plainReply)
	f("plain for a stream", streamBody, wholeReply, "a plain answer where a stream was asked for", plain, stream(nil, wholeReply))
	f("stream for a plain one", plainBody, plainReply, "a stream where a plain answer was asked for", stream(nil, wholeReply), plain)
}

// TestAMislabelledStreamIsAStream, whatever its relay calls it.
func TestAMislabelledStreamIsAStream(t *testing.T) {
	for _, label := range []string{"text/plain", "application/octet-stream", "application/json; charset=utf-8"} {
		r := newRig(t, respond(200, label, wholeReply))
		if got := r.post("/v1/messages", streamBody); got.StatusCode != 200 || got.Body != wholeReply || got.Header.Get("Content-Type") != label {
			t.Errorf("%s: client got %d %q", label, got.StatusCode, got.Body)
		}
		if e := r.last(); e.Outcome != ledger.Answered || e.Usage().OutputTokens == 0 {
			t.Errorf("%s: entry %+v", label, e)
		}
	}
	r := newRig(t, respond(200, "text/plain", startEvent+blockEvent+textEvent), stream(nil, wholeReply))
	if got := r.post("/v1/messages", streamBody); !strings.Contains(got.Body, "event: error") {
		t.Errorf("one that breaks off: %q", got.Body)
	}
}

// TestUnsoundStreams break the rules before their first content.
func TestUnsoundStreams(t *testing.T) {
	f := func(name string, reason string, events ...string) {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, stream(nil, events...), stream(nil, wholeReply))
			if got := r.post("/v1/messages", streamBody); got.Err != nil || got.Body != wholeReply {
				t.Errorf("client got %q, %v", got.Body, got.Err)
			}
			if e := r.last(); len(e.Attempts) != 2 || !strings.Contains(e.Attempts[0].Reason, reason) {
				t.Errorf("attempts %+v", e.Attempts)
			}
		})
	}
	f("no event at all", "not JSON", "data: hello\n\n", startEvent, blockEvent, textEvent, stopEvent)
	f("message_start is cut", "not JSON", startEvent[:60]+"\n\n", blockEvent, textEvent, stopEvent)
	f("content_block_start is cut", "not JSON", startEvent, blockEvent[:50]+"\n\n", textEvent, stopEvent)
	f("no message_start", "without message_start", blockEvent, textEvent, stopEvent)
	f("comments without end", "no content within", startEvent, strings.Repeat(": still there\n\n", 30_000), blockEvent, textEvent, stopEvent)
	f("pings without end", "no content within", startEvent, strings.Repeat(pingEvent, 10_000), blockEvent, textEvent, stopEvent)
	f("only pings", "ended before its content", startEvent, pingEvent)
}

// TestALotOfTheUnknownIsAnAnswer too: the API may learn new events.
func TestALotOfTheUnknownIsAnAnswer(t *testing.T) {
	unknown := strings.Repeat("event: news\ndata: {\"type\":\"news\",\"of\":\"something\"}\n\n", 7000)
	for _, text := range []string{unknown, "event: news\ndata: {\"type\":\"news\",\"of\":\"" + strings.Repeat("x", 400_000) + "\"}\n\n"} {
		r := newRig(t, stream(nil, startEvent, text, blockEvent, textEvent, deltaEvent, stopEvent), stream(nil, wholeReply))
		if got := r.post("/v1/messages", streamBody); got.Err != nil || !strings.HasPrefix(got.Body, startEvent+text) || len(r.last().Attempts) != 1 {
			t.Errorf("client got %d bytes, %v, after %d attempts", len(got.Body), got.Err, len(r.last().Attempts))
		}
	}
}

// TestDrips are answers that never get finished: what is known decides in good time.
func TestDrips(t *testing.T) {
	drip := func(status int, text string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", jsonType)
			w.WriteHeader(status)
			for {
				if !writeAll(w, text) || http.NewResponseController(w).Flush() != nil {
					return
				}
				select {
				case <-r.Context().Done():
					return
				case <-time.After(50 * time.Millisecond):
				}
			}
		}
	}
	f := func(name string, bad http.HandlerFunc, reason string) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, bad, respond(200, jsonType, plainReply))
			r.settings.NonStreaming = time.Second
			if got := r.post("/v1/messages", plainBody); got.StatusCode != 200 || got.Body != plainReply {
				t.Errorf("client got %d %q", got.StatusCode, got.Body)
			}
			if e := r.last(); len(e.Attempts) != 2 || e.Attempts[0].Reason != reason {
				t.Errorf("attempts %+v", e.Attempts)
			}
		})
	}
	for _, status := range []int{429, 500, 529} {
		f(fmt.Sprint(status), drip(status, " "), fmt.Sprintf("status %d", status))
	}
	f("400", drip(400, " "), "no error text within 3s")
	f("200", drip(200, "{"), "no answer within 1s")
}

// TestConnectionNamesHeadersOfOneHop on any of its lines, in both directions.
func TestConnectionNamesHeadersOfOneHop(t *testing.T) {
	seen := make(chan http.Header, 1)
	r := newRig(t, func(w http.ResponseWriter, req *http.Request) {
		seen <- req.Header.Clone()
		w.Header()["Connection"] = []string{"x-back", "keep-alive"}
		w.Header().Set("X-Back", "one hop")
		w.Header().Set("X-Kept", "all the way")
		respond(200, jsonType, plainReply)(w, req)
	})
	conn, err := net.Dial("tcp", strings.TrimPrefix(r.front.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST /v1/messages HTTP/1.1\r\nHost: lb\r\nConnection: keep-alive, x-foo\r\nX-Foo: one hop\r\nX-Bar: all the way\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", len(plainBody), plainBody)
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if got := <-seen; got.Get("X-Foo") != "" || got.Get("X-Bar") != "all the way" {
		t.Errorf("the upstream saw %v", got)
	}
	if res.Header.Get("X-Back") != "" || res.Header.Get("X-Kept") != "all the way" {
		t.Errorf("the client saw %v", res.Header)
	}
}
