package proxy

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/9bingyin/claude-code-lb/internal/config"
)

// threads is an upstream that keeps threads: each server knows only its own messages.
func threads(name string) http.HandlerFunc {
	n := 0
	return func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		ask := string(body) + r.URL.String()
		if strings.Contains(ask, "msg_") && !strings.Contains(ask, "msg_"+name) || strings.Contains(ask, "token_") && !strings.Contains(ask, "token_msg_"+name) {
			respond(404, jsonType, `{"type":"error","error":{"type":"not_found_error","message":"no such thread","details":{"error_code":"thread_not_found"}}}`)(w, r)
			return
		}
		n++
		w.Header().Set("X-Upstream", name)
		id := fmt.Sprintf("msg_%s%d", name, n)
		if r.URL.Path != "/v1/messages" {
			respond(200, jsonType, `{}`)(w, r)
			return
		}
		if strings.Contains(ask, `"stream":true`) {
			token := `event: message_delta` + "\n" + `data: {"type":"message_delta","delta":{"stop_reason":"pause_turn"},"resumption":{"token":"token_` + id + `"},"usage":{"output_tokens":7}}` + "\n\n"
			stream(nil, strings.Replace(startEvent, "msg_1", id, 1), blockEvent, textEvent, token, stopEvent)(w, r)
			return
		}
		respond(200, jsonType, strings.Replace(plainReply, "msg_1", id, 1))(w, r)
	}
}

func roundRobin(cfg *config.Config) {
	cfg.Mode, cfg.Algorithm, cfg.Affinity = config.ModeLoadBalance, config.RoundRobin, config.AffinityOff
}

// lastID returns the last id of a message in a response.
func lastID(t *testing.T, body string) string {
	t.Helper()
	at := strings.LastIndex(body, `"id":"msg_`)
	if at < 0 {
		t.Fatalf("no message in %q", body)
	}
	id, _, _ := strings.Cut(body[at+len(`"id":"`):], `"`)
	return id
}

func TestThreadsStayWithTheirAccount(t *testing.T) {
	for _, streams := range []string{"true", "false"} {
		r := newRigWith(t, roundRobin, threads("a"), threads("b"), threads("c"))
		for range 5 {
			got := r.post("/v1/messages", `{"model":"m","stream":`+streams+`,"thread":{"type":"create"},"messages":[]}`)
			for turn := range 4 {
				id := lastID(t, got.Body)
				for range turn { // requests of other clients in between
					r.post("/v1/messages", plainBody)
				}
				got = r.post("/v1/messages", `{"model":"m","stream":`+streams+`,"thread":{"type":"continue","previous_message_id":"`+id+`"},"messages":[]}`)
				if got.StatusCode != 200 {
					t.Fatalf("stream %s, turn %d: %d %s", streams, turn, got.StatusCode, got.Body)
				}
			}
		}
	}
}

func TestRequestsThatNameAResponseGoToItsAccount(t *testing.T) {
	r := newRigWith(t, roundRobin, threads("a"), threads("b"), threads("c"))
	for range 6 {
		got := r.post("/v1/messages", `{"model":"m","stream":true,"messages":[]}`)
		id, from := lastID(t, got.Body), got.Header.Get("X-Upstream")
		for _, ask := range [][2]string{
			{"/v1/messages", `{"model":"m","stream":true,"resumption":{"token":"token_` + id + `"},"messages":[]}`},
			{"/v1/messages/cache_touch", `{"message_id":"` + id + `"}`},
			{"/v1/messages/cache_touch", `{"targets":[{"previous_message_id":"` + id + `"}]}`},
			{"/v1/messages/" + id + "/resume", `{}`},
			{"/v1/messages/resume?message_id=" + id, ``},
		} {
			if got := r.post(ask[0], ask[1]); got.StatusCode != 200 || got.Header.Get("X-Upstream") != from {
				t.Errorf("%s %s: %d at %q instead of %q", ask[0], ask[1], got.StatusCode, got.Header.Get("X-Upstream"), from)
			}
		}
	}
}

func TestCacheTouchGoesToTheSessionsAccount(t *testing.T) {
	r := newRigWith(t, roundRobin, threads("a"), threads("b"), threads("c"))
	ask := func(path, body, session, agent string) reply {
		req, _ := http.NewRequest("POST", r.front.URL+path, strings.NewReader(body))
		req.Header.Set("X-Claude-Code-Session-Id", session)
		if agent != "" {
			req.Header.Set("X-Claude-Code-Agent-Id", agent)
		}
		return r.do(req)
	}
	for i := range 6 {
		session, agent := fmt.Sprint("session-", i/2), strings.Repeat("agent", i%2)
		from := ask("/v1/messages", streamBody, session, agent).Header.Get("X-Upstream")
		for range 2 {
			if got := ask("/v1/messages/cache_touch", `{}`, session, agent); got.Header.Get("X-Upstream") != from {
				t.Errorf("touched at %q instead of %q", got.Header.Get("X-Upstream"), from)
			}
		}
	}
}

// TestThreadMovesIfItsAccountIsOut checks that, if its account is out, the client gets the other
// account's "not found" and starts over.
func TestThreadMovesIfItsAccountIsOut(t *testing.T) {
	var out bool
	home := threads("a")
	r := newRigWith(t, func(*config.Config) {}, func(w http.ResponseWriter, req *http.Request) {
		if out {
			respond(503, jsonType, `{"type":"error","error":{"type":"api_error","message":"x"}}`)(w, req)
			return
		}
		home(w, req)
	}, threads("b"))
	id := lastID(t, r.post("/v1/messages", plainBody).Body)
	out = true
	body := `{"model":"m","thread":{"type":"continue","previous_message_id":"` + id + `"},"messages":[]}`
	for range 2 {
		if got := r.post("/v1/messages", body); got.StatusCode != 404 || !strings.Contains(got.Body, "thread_not_found") {
			t.Errorf("client got %d %s", got.StatusCode, got.Body)
		}
	}
	if got := r.post("/v1/messages", plainBody); got.StatusCode != 200 || got.Header.Get("X-Upstream") != "b" {
		t.Errorf("begun again: %d", got.StatusCode)
	}
}
