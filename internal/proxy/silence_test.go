package proxy

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"claude-code-lb/internal/claude"
)

const comment = ": waiting for an upstream\n\n"

func TestSilenceIsFilledWithComments(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := httptest.NewRecorder()
		x := &exchange{w: w, kind: kindStream, req: Request{Start: time.Now(), HTTP: &http.Request{ProtoMajor: 1}}}
		x.keepAlive(45 * time.Second)
		s := &x.silence
		f := func(after time.Duration, comments int) {
			t.Helper()
			time.Sleep(after) // in the bubble's time
			synctest.Wait()
			s.mu.Lock()
			defer s.mu.Unlock()
			if got := strings.Count(w.Body.String(), comment); got != comments || w.Body.Len() != comments*len(comment) {
				t.Errorf("%d comments, want %d: %q", got, comments, w.Body)
			}
		}
		f(44*time.Second, 0)
		f(time.Second, 1)
		f(14*time.Second, 1)
		f(time.Second, 2)
		f(30*time.Second, 4)
		if !s.end() || w.Code != http.StatusOK || w.Header().Get("Content-Type") != "text/event-stream" {
			t.Errorf("status %d, %v", w.Code, w.Header())
		}
		f(time.Hour, 4)
	})
}

// late answers once the client has heard the first comment.
type late struct{ heard chan struct{} }

func (l late) answer(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		<-l.heard
		h(w, r)
	}
}

// postAndListen reads the first comment, lets the upstream answer, and returns the rest.
func (r *rig) postAndListen(l late) (*http.Response, string) {
	r.t.Helper()
	res, err := http.Post(r.front.URL+"/v1/messages", jsonType, strings.NewReader(streamBody))
	if err != nil {
		r.t.Fatal(err)
	}
	defer res.Body.Close()
	first := make([]byte, len(comment))
	if _, err := io.ReadFull(res.Body, first); err != nil || string(first) != comment {
		r.t.Fatalf("client got %q, %v", first, err)
	}
	close(l.heard)
	rest, err := io.ReadAll(res.Body)
	if err != nil {
		r.t.Error(err)
	}
	<-r.recorded
	return res, string(rest)
}

func TestAnAnswerAfterTheSilence(t *testing.T) {
	f := func(name, want string, first http.HandlerFunc, others ...http.HandlerFunc) {
		t.Run(name, func(t *testing.T) {
			l := late{make(chan struct{})}
			r := newRig(t, append([]http.HandlerFunc{l.answer(first)}, others...)...)
			r.settings.Silence = time.Millisecond
			res, rest := r.postAndListen(l)
			if res.StatusCode != 200 || res.Header.Get("Content-Type") != "text/event-stream" || rest != want {
				t.Errorf("client got %d %v %q, want %q", res.StatusCode, res.Header, rest, want)
			}
		})
	}
	event := func(kind, message, id string) string {
		e := claude.Error{Type: claude.ErrorType(kind), Message: message, RequestID: id}
		return string(e.AppendEvent(nil))
	}
	f("answer", wholeReply, whole)
	f("answer of the second", wholeReply, respond(500, jsonType, "{}"), whole)
	f("overloaded", event("overloaded_error", "Overloaded", "req_busy"), overloaded())
	f("error event", errorEvent, stream(nil, startEvent, errorEvent))
	tooLong := "prompt is too long: 2 tokens > 1 maximum"
	f("fault of the request", event("invalid_request_error", tooLong, ""), respond(400, jsonType, `{"type":"error","error":{"type":"invalid_request_error","message":"`+tooLong+`"}}`))
	f("no error of the API", event("api_error", "The upstream answered with status 500.", ""), respond(500, "text/html", "<html>"))
	f("nobody", event("api_error", "Every upstream failed (1 tried): try again in a moment; the log of claude-code-lb has the reasons under this request id.", "req_lb_test"),
		func(http.ResponseWriter, *http.Request) { abort() })
}

func TestSilenceIsForStreamsAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, x := range []*exchange{{kind: kindPlain}, {kind: kindOther}} {
			w := httptest.NewRecorder()
			x.w, x.req.Start = w, time.Now()
			x.keepAlive(time.Second)
			s := &x.silence
			time.Sleep(time.Minute)
			if s.end() || w.Body.Len() > 0 {
				t.Errorf("a comment in an answer that is no stream: %q", w.Body)
			}
		}
	})
}
