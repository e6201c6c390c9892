package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"testing"
	"time"
)

func contractErrorBodies(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		kind   string
		text   string
	}{
		"thinking tag":         {400, "invalid_request_error", "messages.1.content.0: Expected `thinking` or `redacted_thinking`, but found `text`"},
		"signature":            {400, "invalid_request_error", "messages.1.content.0: Invalid `signature` in `thinking` block"},
		"other conversation":   {400, "invalid_request_error", "messages.1.content.0: this thinking block is bound to a different conversation"},
		"extra inputs":         {400, "invalid_request_error", "context_management: Extra inputs are not permitted"},
		"advisor":              {422, "invalid_request_error", "tools.3: advisor is not supported"},
		"safeguards":           {400, "invalid_request_error", "safeguards: not available"},
		"system in the middle": {400, "invalid_request_error", "messages.2.role: system messages are not supported here"},
		"effort":               {400, "invalid_request_error", "output_config.effort: not supported"},
		"beta":                 {400, "invalid_request_error", "Unexpected value(s) `x-2026-01-01` for the `anthropic-beta` header"},
		"input too long":       {400, "invalid_request_error", "Input is too long."},
		"media budget":         {400, "invalid_request_error", "too many images"},
		"prompt too long":      {400, "invalid_request_error", "prompt is too long: 210000 tokens > 200000 maximum"},
		"window":               {413, "request_too_large", "Request exceeds the maximum size"},
		"capability, prompt":   {400, "invalid_request_error", "capability_rejected:prompt_too_long"},
		"capability, beta":     {400, "invalid_request_error", "capability_rejected:beta_header:x-2026-01-01"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			body := fmt.Sprintf(`{"type":"error", "error":{"type":%q,"message":%q},"request_id":"req_01"}`, c.kind, c.text)
			p := newPair(t, always(c.status, body), nil)
			for _, stream := range bothKinds {
				if a := p.ask(stream); a.status != c.status || string(a.body) != body {
					t.Errorf("status %d: %s, want %d: %s", a.status, a.body, c.status, body)
				}
			}
			if n := len(p.b.messages()); n != 0 {
				t.Errorf("%d requests went on to the other upstream", n)
			}
			p.mustRestNone(t)
		})
	}
}

func contractErrorHeaders(t *testing.T) {
	p := newPair(t, always(http.StatusBadRequest, apiError("invalid_request_error", "no"), "X-Should-Retry", "false",
		"Anthropic-Thinking-Prefix-Mismatch", "block=messages.1.content.0;kind=hash", "Anthropic-Something-New", "1"), nil)
	got := p.ask(true).header
	for name, want := range map[string]string{
		"X-Should-Retry": "false", "Anthropic-Thinking-Prefix-Mismatch": "block=messages.1.content.0;kind=hash", "Anthropic-Something-New": "1",
	} {
		if got.Get(name) != want {
			t.Errorf("%s is %q, want %q", name, got.Get(name), want)
		}
	}
}

func contractExhausted(t *testing.T) {
	eachKind(t, func(t *testing.T, stream bool) {
		p := newPair(t, usedUp(2*time.Hour), usedUp(time.Hour), "max_wait", "1s")
		for _, state := range []string{"found out", "known"} {
			a := p.say(stream, state)
			if a.status != http.StatusTooManyRequests {
				t.Fatalf("%s: status %d: %s", state, a.status, a.body)
			}
			wait, err := strconv.Atoi(a.header.Get("Retry-After"))
			if err != nil || wait < 3000 || wait > 3600 {
				t.Errorf("%s: retry-after %q, want about an hour: the account that is back first", state, a.header.Get("Retry-After"))
			}
			for name, want := range map[string]string{
				"X-Should-Retry": "false", "Anthropic-Ratelimit-Unified-Status": "rejected",
				"Anthropic-Ratelimit-Unified-Representative-Claim": "five_hour",
			} {
				if got := a.header.Get(name); got != want {
					t.Errorf("%s: %s is %q, want %q", state, name, got, want)
				}
			}
			reset, _ := strconv.ParseInt(a.header.Get("Anthropic-Ratelimit-Unified-Reset"), 10, 64)
			if left := time.Until(time.Unix(reset, 0)); left < 50*time.Minute || left > time.Hour {
				t.Errorf("%s: the reset is %v away", state, left)
			}
		}
	})
}

func contractSpendingCap(t *testing.T) {
	eachKind(t, func(t *testing.T, stream bool) {
		body := apiError("billing_error", "Your team's spend limit is reached. It resets on Aug 8.")
		respond := always(http.StatusTooManyRequests, body, "X-Should-Retry", "false")
		p := newPair(t, respond, respond, "max_wait", "1s")
		a := p.ask(stream)
		if a.status != http.StatusTooManyRequests || string(a.body) != body || a.header.Get("X-Should-Retry") != "false" {
			t.Errorf("status %d, x-should-retry %q: %s", a.status, a.header.Get("X-Should-Retry"), a.body)
		}
	})
}

func contractPolicyBlock(t *testing.T) {
	body := apiError("policy_blocked", "This prompt is blocked by a policy.")
	for _, status := range []int{400, 403, 422, 429, 451, 500, 503, 529} {
		t.Run(strconv.Itoa(status), func(t *testing.T) {
			t.Parallel()
			p := newPair(t, always(status, body, "X-Should-Retry", "false"), nil)
			for _, stream := range bothKinds {
				a := p.ask(stream)
				if a.status != status || string(a.body) != body || a.header.Get("X-Should-Retry") != "false" {
					t.Errorf("status %d, x-should-retry %q: %s", a.status, a.header.Get("X-Should-Retry"), a.body)
				}
			}
			if n := len(p.b.messages()); n != 0 {
				t.Errorf("%d blocked prompts went to another upstream", n)
			}
			p.mustRestNone(t)
		})
	}
	for name, events := range map[string]string{"event": sse("error", body), "event after the start": sse("message_start", messageStart, "error", body)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPair(t, alwaysStream(events), nil)
			a := p.ask(true)
			var e struct{ Error struct{ Type string } }
			json.Unmarshal([]byte(dataOf(a.body)), &e)
			if e.Error.Type != "policy_blocked" {
				t.Errorf("status %d: %s", a.status, a.body)
			}
			if n := len(p.b.messages()); n != 0 {
				t.Errorf("%d blocked prompts went to another upstream", n)
			}
			p.mustRestNone(t)
		})
	}
}

// dataOf returns the data of the last event of a stream, or a plain body unchanged.
func dataOf(body []byte) string {
	events := eventData(body)
	if len(events) == 0 {
		return string(body)
	}
	return events[len(events)-1]
}

func contractNotSupported(t *testing.T) {
	body := apiError("not_supported", "The files of this gateway are elsewhere.")
	refuse := func(w http.ResponseWriter, r arrival) bool {
		if r.isMessage() {
			return false
		}
		respondWith(w, http.StatusNotImplemented, body, "X-Should-Retry", "false")
		return true
	}
	p := newPair(t, refuse, refuse)
	for _, path := range []string{"/v1/me", "/v1/mcp_servers"} {
		a := p.get(path)
		if a.status != http.StatusNotImplemented || string(a.body) != body || a.header.Get("X-Should-Retry") != "false" {
			t.Errorf("%s: status %d: %s", path, a.status, a.body)
		}
	}
	p.mustRestNone(t)
}

func contractOverload(t *testing.T) {
	overloaded := always(529, apiError("overloaded_error", "Overloaded"))
	p := newPair(t, overloaded, overloaded, "max_wait", "1s")
	for range 2 {
		p.ask(true).mustBeError(t, 529, "overloaded_error")
	}
}

// threadID returns the message that a thread continues, "" if the request continues none.
func threadID(r arrival) string {
	var thread struct {
		Type     string `json:"type"`
		Previous string `json:"previous_message_id"`
	}
	if !r.field("thread", &thread) || thread.Type != "continue" {
		return ""
	}
	return thread.Previous
}

// threadTurn returns the body of one turn of a thread; without previous it begins a thread.
func threadTurn(previous, text string, stream bool) string {
	thread := object{"type": "create"}
	if previous != "" {
		thread = object{"type": "continue", "previous_message_id": previous}
	}
	body, _ := json.Marshal(object{"model": model, "max_tokens": 64, "stream": stream, "thread": thread, "messages": []object{{"role": "user", "content": text}}})
	return string(body)
}

func contractThreads(t *testing.T) {
	eachKind(t, func(t *testing.T, stream bool) {
		a, b := newScripted(t, "a", nil), newScripted(t, "b", nil)
		lb := start(t, balanced("round_robin", a.entry(), b.entry()))
		reply := func(s *scripted) {
			n := 0
			s.behave(func(w http.ResponseWriter, r arrival) bool {
				n++
				respondMessage(w, r, fmt.Sprintf("msg_01%s%d", s.name, n), contentBlock{text: "hi"})
				return true
			})
		}
		reply(a)
		reply(b)
		for talk := range 6 {
			previous := ""
			for turn := range 4 {
				sent := lb.do(http.MethodPost, "/v1/messages", threadTurn(previous, fmt.Sprintf("talk %d, turn %d", talk, turn), stream))
				if flaw := sent.flaw(stream); flaw != "" {
					t.Fatal(flaw)
				}
				previous = messageID(sent.body)
			}
		}
		for _, s := range []*scripted{a, b} {
			for _, r := range s.messages() {
				if id := threadID(r); id != "" && id[:7] != "msg_01"+s.name {
					t.Errorf("%s was asked to continue %s", s.name, id)
				}
			}
		}
	})
}

func contractThreadNotFound(t *testing.T) {
	body := `{"type":"error","error":{"type":"not_found_error","message":"thread not found","details":{"error_code":"thread_not_found"}}}`
	p := newPair(t, nil, always(http.StatusNotFound, body))
	first := p.do(http.MethodPost, "/v1/messages", threadTurn("", "begin", false))
	p.a.behave(always(529, apiError("overloaded_error", "Overloaded")))
	a := p.do(http.MethodPost, "/v1/messages", threadTurn(messageID(first.body), "go on", false))
	if a.status != http.StatusNotFound || string(a.body) != body {
		t.Errorf("status %d: %s", a.status, a.body)
	}
}

func contractCacheTouch(t *testing.T) {
	a, b := newScripted(t, "a", nil), newScripted(t, "b", nil)
	lb := start(t, balanced("round_robin", a.entry(), b.entry()))
	touch := func(s *scripted) {
		s.behave(func(w http.ResponseWriter, r arrival) bool {
			if r.URL.Path != "/v1/messages/cache_touch" {
				return false
			}
			respondWith(w, http.StatusOK, `{"type":"cache_touch"}`)
			return true
		})
	}
	touch(a)
	touch(b)
	for talk := range 6 {
		header := []string{"X-Claude-Code-Session-Id", fmt.Sprintf("5f0e9f0c-7a5b-4a51-8d0a-1c0ffee0000%d", talk)}
		before := len(a.messages())
		if flaw := lb.ask(false, header...).flaw(false); flaw != "" {
			t.Fatal(flaw)
		}
		home, other := b, a
		if len(a.messages()) > before {
			home, other = a, b
		}
		atHome, elsewhere := len(home.arrivals()), len(other.arrivals())
		lb.do(http.MethodPost, "/v1/messages/cache_touch", message(false), header...)
		if len(home.arrivals()) != atHome+1 || len(other.arrivals()) != elsewhere {
			t.Errorf("talk %d: the touch did not go to %s", talk, home.name)
		}
	}
}
