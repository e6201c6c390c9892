package proxy

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/claude"
	"github.com/9bingyin/claude-code-lb/internal/verdict"
)

const comment = waitingComment

func TestKeepaliveComments(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := httptest.NewRecorder()
		x := &exchange{client: clientWriter{w: w}, kind: kindStream, req: Request{Start: time.Now()}}
		x.startKeepalive(45 * time.Second)
		s := &x.keepalive
		f := func(after time.Duration, comments int) {
			t.Helper()
			time.Sleep(after) // in the time of the bubble
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

// late responds once the client has received the first comment.
type late struct{ heard chan struct{} }

func (l late) answer(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		<-l.heard
		h(w, r)
	}
}

// postAndListen reads the first comment, lets the upstream respond, and returns the rest.
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
	return res, withoutComments(string(rest)) // a busy machine may pause again
}

func withoutComments(events string) string {
	return strings.NewReplacer(waitingComment, "", quietComment, "").Replace(events)
}

func TestResponseAfterKeepaliveComments(t *testing.T) {
	f := func(name, want string, first http.HandlerFunc, others ...http.HandlerFunc) {
		t.Run(name, func(t *testing.T) {
			l := late{make(chan struct{})}
			r := newRig(t, append([]http.HandlerFunc{l.answer(first)}, others...)...)
			r.settings.StreamKeepalive = time.Millisecond
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

func TestKeepaliveOnlyForStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, x := range []*exchange{{kind: kindPlain}, {kind: kindOther}} {
			w := httptest.NewRecorder()
			x.client.w, x.req.Start = w, time.Now()
			x.startKeepalive(time.Second)
			s := &x.keepalive
			time.Sleep(time.Minute)
			if s.end() || w.Body.Len() > 0 {
				t.Errorf("a comment in a response that is not a stream: %q", w.Body)
			}
		}
	})
}

// script is a body that arrives in pieces, each after a pause, until its context ends.
type script struct {
	ctx    context.Context
	pieces []piece
}

type piece struct {
	after time.Duration
	text  string
}

func (s *script) Read(p []byte) (int, error) {
	if len(s.pieces) == 0 {
		return 0, io.EOF
	}
	next := &s.pieces[0]
	timer := time.NewTimer(next.after)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-s.ctx.Done():
		return 0, context.Cause(s.ctx)
	}
	n := copy(p, next.text)
	next.after, next.text = 0, next.text[n:]
	if next.text == "" {
		s.pieces = s.pieces[1:]
	}
	return n, nil
}

// scripted returns a streaming exchange with a recording client, and an attempt whose response
// follows a script.
func scripted(t *testing.T, settings Settings, pieces ...piece) (*exchange, *attempt, *httptest.ResponseRecorder) {
	w := httptest.NewRecorder()
	ctx, cancel := context.WithCancelCause(t.Context())
	p := New(slog.New(slog.DiscardHandler), 1)
	x := &exchange{p: p, client: clientWriter{w: w}, ctx: ctx, kind: kindStream, admittedAt: time.Now(), req: Request{Start: time.Now(), HTTP: &http.Request{ProtoMajor: 1}, Settings: &settings}}
	a := &attempt{
		x: x, relayState: relayState{remembered: true}, start: time.Now(), ctx: ctx, cancel: cancel, client: t.Context(), timeouts: timeouts{cancel: cancel}, body: &script{ctx, slices.Clone(pieces)}, res: &http.Response{ContentLength: -1},
		idle: verdict.TimeoutError{Waiting: nextByte, After: settings.Idle},
	}
	x.keepalive.client = &x.client
	return x, a, w
}

func TestKeepaliveDuringAResponse(t *testing.T) {
	const second = time.Second
	f := func(name, media string, want []string, pieces ...piece) {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				x, a, w := scripted(t, Settings{Idle: 2 * time.Minute}, pieces...)
				w.Header().Set("Content-Type", media)
				x.startKeepalive(45 * second)
				x.keepalive.end()
				a.buffered = []byte(startEvent + blockEvent)
				a.events.KeepData = claude.NeedsData
				a.eventEnd = a.events.Feed(a.buffered, a.observe)
				err := x.relayEvents(a)
				if got := w.Body.String(); err != nil || got != startEvent+blockEvent+strings.Join(want, "") {
					t.Errorf("client got %q, %v", got, err)
				}
				time.Sleep(time.Hour)
				if strings.Count(w.Body.String(), quietComment) != strings.Count(strings.Join(want, ""), quietComment) {
					t.Errorf("a comment after the end: %q", w.Body)
				}
			})
		})
	}
	const sse = "text/event-stream; charset=utf-8"
	f("a pause", sse, []string{quietComment, quietComment, textEvent, deltaEvent + stopEvent}, piece{74 * second, textEvent}, piece{44 * second, deltaEvent + stopEvent})
	f("pings fill it", sse, []string{pingEvent, pingEvent, pingEvent, deltaEvent + stopEvent},
		piece{30 * second, pingEvent}, piece{30 * second, pingEvent}, piece{30 * second, pingEvent}, piece{30 * second, deltaEvent + stopEvent})
	f("inside an event that is held back", sse, []string{quietComment, textEvent + deltaEvent + stopEvent}, piece{10 * second, textEvent[:20]}, piece{40 * second, textEvent[20:] + deltaEvent + stopEvent})
	big := deltaOf(largeBuffer)
	f("inside an event that is sent in parts", sse, []string{big, quietComment, deltaEvent + stopEvent},
		piece{0, big[:largeBuffer]}, piece{100 * second, big[largeBuffer:]}, piece{50 * second, deltaEvent + stopEvent})
	f("after message_stop", sse, []string{deltaEvent + stopEvent, ": bye\n\n"}, piece{0, deltaEvent + stopEvent}, piece{100 * second, ": bye\n\n"})
	f("another label", "text/plain", []string{textEvent, deltaEvent + stopEvent}, piece{74 * second, textEvent}, piece{0, deltaEvent + stopEvent})
}

// TestKeepaliveShorterThanItsPauses covers a small stream_keepalive, for an impatient front proxy.
func TestKeepaliveShorterThanItsPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, _, w := scripted(t, Settings{})
		x.startKeepalive(4 * time.Second)
		time.Sleep(13 * time.Second)
		if x.keepalive.end(); strings.Count(w.Body.String(), comment) != 3 {
			t.Errorf("client got %q", w.Body)
		}
	})
}

// TestSignsOfLife checks that signs of life before the first content reach a client whose response
// is open, and keep the attempt alive.
func TestSignsOfLife(t *testing.T) {
	const second = time.Second
	r := newRig(t, whole, whole)
	forEach := func(n int, each ...piece) (all []piece) {
		for range n {
			all = append(all, each...)
		}
		return all
	}
	ping, remark := piece{10 * second, "event: ping\ndata: {}\n\n"}, piece{10 * second, ": still there\n\n"}
	start, content := piece{second, startEvent}, piece{second, blockEvent}
	f := func(name string, settings Settings, first time.Duration, only bool, took time.Duration, wantErr string, pieces ...piece) {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				settings.MaxAttempts, settings.Idle = 4, 2*time.Minute
				x, a, w := scripted(t, settings, pieces...)
				x.req.Table = r.table
				for _, e := range r.table.Endpoints() {
					if only || e.Name() == "a" {
						x.attempts.tried.Add(e.ID())
					}
				}
				x.startKeepalive(settings.StreamKeepalive)
				defer x.keepalive.end()
				limit := settings.Total
				if first > 0 {
					a.activity.due, limit = time.Now().Add(first), min(first, settings.Total)
				}
				a.activity.until, a.deadlineShortened = time.Now().Add(limit), limit < first || first == 0
				a.first = verdict.TimeoutError{Waiting: firstContent, After: limit}
				a.timeouts.expect(forFirst, &a.first)
				_, err := a.bufferStream()
				if got := time.Since(a.start); got < took || got > took+second/2 || (err == nil) != (wantErr == "") || err != nil && err.Error() != wantErr {
					t.Errorf("after %v: %v", got, err)
				}
				if signs := strings.Count(w.Body.String(), pingFrame); settings.StreamKeepalive > 0 && signs != strings.Count(fmt.Sprint(pieces), "ping")-2 {
					t.Errorf("client got %q", w.Body)
				}
				x.extendTotal(a, time.Now())
				if shifted := x.admittedAt.After(a.start); shifted != (!a.activity.last.IsZero() && took >= settings.Total) {
					t.Errorf("the total time begins %v later", x.admittedAt.Sub(a.start))
				}
				a.timeouts.stop()
			})
		})
	}
	alive := append(append([]piece{start}, forEach(40, ping)...), content)
	limited := Settings{Total: 280 * second}
	f("pings beyond the time for all", limited, 0, true, 402*second, "", alive...)
	f("comments beyond it", limited, 0, true, 402*second, "", append(append([]piece{start}, forEach(40, remark)...), content)...)
	f("pings without message_start", limited, 0, true, 280*second, "no first content within 4m40s", append(forEach(40, ping), content)...)
	f("message_start without pings", limited, 0, true, 121*second, "no next byte within 2m0s", start, piece{300 * second, blockEvent})
	f("pings that stop", limited, 0, true, 331*second, "no first content or further sign of life within 1m0s", append(append([]piece{start}, forEach(27, ping)...), piece{200 * second, blockEvent})...)
	f("the endpoint's own limit, another left", limited, 120*second, false, 120*second, "no first content within 2m0s", alive...)
	f("the endpoint's own limit, none left", limited, 120*second, true, 402*second, "", alive...)
	f("a short time for all", Settings{Total: 3 * second}, 120*second, false, 7*second, "",
		piece{second, startEvent}, piece{second, pingEvent}, piece{second, pingEvent}, piece{second, pingEvent}, piece{second, pingEvent}, piece{2 * second, blockEvent})
	f("its end", Settings{Total: 3 * second}, 120*second, false, 6*second, "no first content or further sign of life within 3s",
		piece{second, startEvent}, piece{second, pingEvent}, piece{second, pingEvent}, piece{20 * second, blockEvent})
	f("an open response", Settings{Total: 280 * second, StreamKeepalive: 25 * second}, 0, true, 402*second, "", alive...)
}
