package proxy

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/ledger"
)

// compressed responds with pieces of an event stream in some codings, each flushed, and cuts it off
// after limit bytes, unless limit is negative.
func compressed(t *testing.T, codings []string, limit int, pieces ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		w.Header().Set("Content-Encoding", header(codings))
		body := encoded(t, codings, pieces...)
		if limit >= 0 {
			body = body[:min(limit, len(body))]
		}
		w.Write(body)
	}
}

func TestCompressedResponsesAreDecoded(t *testing.T) {
	for _, codings := range allCodings() {
		t.Run(strings.Join(codings, " "), func(t *testing.T) {
			plain := func(w http.ResponseWriter, req *http.Request) {
				respond(200, jsonType, string(encoded(t, codings, plainReply)), "Content-Encoding", header(codings))(w, req)
			}
			f := func(h http.HandlerFunc, body, want string) {
				t.Helper()
				r := newRig(t, h)
				got := r.post("/v1/messages", body)
				if got.StatusCode != 200 || got.Body != want || got.Err != nil || got.Uncompressed || got.Header.Get("Content-Encoding") != "" {
					t.Errorf("client got %d %q, %v, headers %v", got.StatusCode, got.Body, got.Err, got.Header)
				}
				if e := r.last(); e.Outcome != ledger.Answered || e.Usage().OutputTokens == 0 {
					t.Errorf("entry %+v", e)
				}
			}
			f(compressed(t, codings, -1, startEvent, pingEvent, blockEvent, textEvent, deltaEvent, stopEvent), streamBody, wholeReply)
			f(plain, plainBody, plainReply)
		})
	}
}

func TestCompressedEventsAreNotDelayed(t *testing.T) {
	for _, coding := range []string{"gzip", "deflate", "br", "zstd"} {
		t.Run(coding, func(t *testing.T) {
			next := make(chan string)
			r := newRig(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "text/event-stream")
				w.Header().Set("Content-Encoding", coding)
				z := encoderOf(t, coding, w)
				defer z.Close()
				for piece := range next {
					if _, err := io.WriteString(z, piece); err != nil || z.Flush() != nil {
						t.Error(err)
					}
					w.(http.Flusher).Flush()
				}
			})
			go func() { next <- startEvent + blockEvent }()
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
			for _, piece := range []string{pingEvent, textEvent, deltaEvent, stopEvent} {
				next <- piece
				expect(piece)
			}
			close(next)
			<-r.recorded
		})
	}
}

func TestUndecodableResponsesFailOver(t *testing.T) {
	f := func(name string, bad http.HandlerFunc, body string) {
		t.Run(name, func(t *testing.T) {
			good, want := stream(nil, wholeReply), wholeReply
			if body == plainBody {
				good, want = respond(200, jsonType, plainReply), plainReply
			}
			r := newRig(t, bad, good)
			if got := r.post("/v1/messages", body); got.StatusCode != 200 || got.Body != want || got.Err != nil {
				t.Errorf("client got %d %q, %v", got.StatusCode, got.Body, got.Err)
			}
			if e := r.last(); len(e.Attempts) != 2 || !strings.HasPrefix(e.Attempts[0].Reason, "unusable response") {
				t.Errorf("attempts %+v", e.Attempts)
			}
		})
	}
	for _, codings := range allCodings() {
		encoding := header(codings)
		sent := encoded(t, codings, plainReply)
		f("page as "+encoding, respond(200, "text/event-stream", "<html>busy</html>", "Content-Encoding", encoding), streamBody)
		f("nothing as "+encoding, respond(200, jsonType, "", "Content-Encoding", encoding), plainBody)
		f("half of "+encoding, respond(200, jsonType, string(sent[:len(sent)/2]), "Content-Encoding", encoding), plainBody)
		f("stream cut in "+encoding, compressed(t, codings, 8, startEvent, blockEvent), streamBody)
	}
	f("unknown coding", respond(200, jsonType, plainReply, "Content-Encoding", "compress"), plainBody)
}

// TestDecompressionBombsFailOver checks that a few bytes that decode to many megabytes are not
// decoded to the end.
func TestDecompressionBombsFailOver(t *testing.T) {
	blanks := strings.Repeat(" ", 12<<20) // less than is buffered of a plain response
	f := func(name, body, lead string, codings ...string) {
		t.Run(name+" "+header(codings), func(t *testing.T) {
			bomb := lead + blanks
			for _, coding := range codings {
				bomb = string(encoded(t, []string{coding}, bomb))
			}
			good, want := stream(nil, wholeReply), wholeReply
			if body == plainBody {
				good, want = respond(200, jsonType, plainReply), plainReply
			}
			r := newRig(t, respond(200, jsonType, bomb, "Content-Encoding", header(codings)), good)
			if got := r.post("/v1/messages", body); got.StatusCode != 200 || got.Body != want || got.Err != nil {
				t.Errorf("client got %d %.200q, %v", got.StatusCode, got.Body, got.Err)
			}
			if e := r.last(); len(e.Attempts) != 2 || !strings.HasSuffix(e.Attempts[0].Reason, errGrowth.Error()) {
				t.Errorf("attempts %+v", e.Attempts)
			}
		})
	}
	for _, coding := range []string{"gzip", "deflate", "br", "zstd"} {
		f("plain", plainBody, `{"type":"message","content":[`, coding)
	}
	f("plain", plainBody, `{"type":"message","content":[`, "gzip", "gzip")
}

// TestDecompressionBombAfterTheCommitIsCutOff checks that the limit is in force until the end of a
// response.
func TestDecompressionBombAfterTheCommitIsCutOff(t *testing.T) {
	r := newRig(t, compressed(t, []string{"zstd"}, -1, startEvent, blockEvent, ":"+strings.Repeat(" ", 12<<20)))
	got := r.post("/v1/messages", streamBody)
	if got.Err == nil || !strings.HasPrefix(got.Body, startEvent+blockEvent) || len(got.Body) > freeGrowth+1<<20 {
		t.Errorf("client got %d bytes, %v", len(got.Body), got.Err)
	}
	if e := r.last(); e.Outcome != ledger.Truncated || !strings.HasSuffix(e.Attempts[0].Reason, errGrowth.Error()) {
		t.Errorf("entry %+v", e)
	}
}

func TestCompressedTruncationIsVisible(t *testing.T) {
	for _, codings := range allCodings() {
		sent := encoded(t, codings, startEvent, blockEvent, textEvent)
		r := newRig(t, compressed(t, codings, len(sent)-1, startEvent, blockEvent, textEvent), stream(nil, wholeReply))
		got := r.post("/v1/messages", streamBody)
		if got.Err == nil || !strings.HasPrefix(got.Body, startEvent+blockEvent) || strings.Count(got.Body, "event: error") != 1 {
			t.Errorf("%v: client got %q, %v", codings, got.Body, got.Err)
		}
		if e := r.last(); e.Outcome != ledger.Truncated || len(e.Attempts) != 1 {
			t.Errorf("%v: entry %+v", codings, e)
		}
	}
}

// TestSilentCompressedBodyTimesOut checks that the idle limit applies to the first byte of a
// coding.
func TestSilentCompressedBodyTimesOut(t *testing.T) {
	silent := func(w http.ResponseWriter, req *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		w.Header().Set("Content-Type", jsonType)
		w.(http.Flusher).Flush()
		<-req.Context().Done()
	}
	r := newRig(t, silent, respond(200, jsonType, plainReply))
	r.settings.Idle = 50 * time.Millisecond
	if got := r.post("/v1/messages", plainBody); got.Body != plainReply {
		t.Errorf("client got %q", got.Body)
	}
	if reason := r.last().Attempts[0].Reason; reason != fmt.Sprintf("no next byte within %s", r.settings.Idle) {
		t.Errorf("reason %q", reason)
	}
}
