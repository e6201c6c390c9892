package proxy

import (
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/claude"
)

const (
	countBody = `{"model":"claude-opus-4-5","messages":[{"role":"user","content":"hi"}]}`
	counted12 = `{"input_tokens":12}`
	modelList = `{"data":[{"type":"model","id":"claude-opus-4-5"}],"has_more":false}`
)

// bySide serves messages, and every other path by a handler.
func bySide(side http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/messages" {
			whole(w, r)
			return
		}
		side(w, r)
	}
}

// hangs sends no response until its client gives up.
func hangs(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

func apiError(status int, kind string) http.HandlerFunc {
	return respond(status, jsonType, `{"type":"error","error":{"type":"`+kind+`","message":"not here"}}`)
}

// sideFaults are responses of servers that do not offer count_tokens and models.
func sideFaults() map[string]http.HandlerFunc {
	return map[string]http.HandlerFunc{
		"401": apiError(401, "authentication_error"), "402": apiError(402, "billing_error"), "403": apiError(403, "permission_error"),
		"404": apiError(404, "not_found_error"), "405": apiError(405, "invalid_request_error"), "429": apiError(429, "rate_limit_error"),
		"500": apiError(500, "api_error"), "501": apiError(501, "not_supported"), "503": apiError(503, "api_error"), "529": apiError(529, "overloaded_error"),
		"403 page": respond(403, "text/html", "<html>no</html>"), "404 page": respond(404, "text/html", "<html>no</html>"), "404 empty": respond(404, "", ""),
		"502 page": respond(502, "text/html", "<html>no</html>"), "login page": respond(200, "text/html", "<html>sign in</html>"),
		"redirect": respond(302, "text/html", "", "Location", "/login"), "nothing": respond(204, "", ""), "not JSON": respond(200, jsonType, "ok"),
		"time-out": hangs,
	}
}

func TestSideFailuresDoNotAffectMessages(t *testing.T) {
	sides := map[string]struct{ method, path, body, good string }{
		"count_tokens": {"POST", "/v1/messages/count_tokens?beta=true", countBody, counted12},
		"models":       {"GET", "/v1/models?limit=1000", "", modelList},
	}
	for side, s := range sides {
		for name, fault := range sideFaults() {
			t.Run(side+"/"+name, func(t *testing.T) {
				t.Parallel()
				r := newRig(t, bySide(fault), bySide(respond(200, jsonType, s.good)))
				if got := r.send(s.method, s.path, s.body); got.StatusCode != 200 || got.Body != s.good {
					t.Errorf("client got %d %q", got.StatusCode, got.Body)
				}
				got := r.post("/v1/messages", streamBody)
				if e := r.last(); got.StatusCode != 200 || len(e.Attempts) != 1 || e.Server() != "a" {
					t.Errorf("the message after it: %d from %q in %d attempts", got.StatusCode, e.Server(), len(e.Attempts))
				}
				if got := r.send(s.method, s.path, s.body); got.StatusCode != 200 {
					t.Errorf("once more: %d", got.StatusCode)
				}
				if e := r.last(); len(e.Attempts) != 1 || e.Server() != "b" {
					t.Errorf("once more: %q in %d attempts", e.Server(), len(e.Attempts))
				}
			})
		}
	}
}

func TestTokensThatNoUpstreamCounts(t *testing.T) {
	for name, fault := range sideFaults() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, bySide(fault), bySide(fault))
			for range map[bool]int{true: 1, false: 3}[name == "time-out"] { // the servers are not asked again at once
				got := r.post("/v1/messages/count_tokens", countBody)
				if e, ok := claude.ParseError([]byte(got.Body)); got.StatusCode != 404 || !ok || e.Type != claude.ErrNotFound || e.RequestID == "" {
					t.Errorf("client got %d %q", got.StatusCode, got.Body)
				}
			}
			got := r.post("/v1/messages", streamBody)
			if e := r.last(); got.StatusCode != 200 || e.Server() != "a" {
				t.Errorf("the message after it: %d from %q", got.StatusCode, e.Server())
			}
		})
	}
}

func TestRefusalOfACountedRequestIsRelayed(t *testing.T) {
	r := newRig(t, apiError(400, "invalid_request_error"), whole)
	if got := r.post("/v1/messages/count_tokens", countBody); got.StatusCode != 400 || len(r.last().Attempts) != 1 {
		t.Errorf("client got %d %q", got.StatusCode, got.Body)
	}
}

// TestOutForMessagesStillCounts checks that a server whose messages fail serves other paths if no
// better one is left.
func TestOutForMessagesStillCounts(t *testing.T) {
	r := newRig(t, func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path == "/v1/messages" {
			apiError(403, "permission_error")(w, req)
			return
		}
		respond(200, jsonType, counted12)(w, req)
	})
	r.post("/v1/messages", streamBody)
	for range 5 { // without a pause
		if got := r.post("/v1/messages/count_tokens", countBody); got.StatusCode != 200 {
			t.Fatalf("client got %d %q", got.StatusCode, got.Body)
		}
	}
}

func TestSavedListOfModelsIsServed(t *testing.T) {
	var down, broken, conditional atomic.Bool
	r := newRig(t, func(w http.ResponseWriter, req *http.Request) {
		conditional.Store(req.Header.Get("If-None-Match") != "")
		if down.Load() {
			hangs(w, req)
			return
		}
		if broken.Load() {
			apiError(500, "api_error")(w, req)
			return
		}
		respond(200, jsonType, modelList)(w, req)
	})
	r.settings.PassCredentials = true
	get := func(query, key string) reply {
		req, _ := http.NewRequest("GET", r.front.URL+"/v1/models"+query, nil)
		req.Header.Set("X-Api-Key", key)
		req.Header.Set("If-None-Match", `"x"`)
		return r.do(req)
	}
	if got := get("?limit=1000", "k1"); got.StatusCode != 200 || got.Header.Get(cachedHeader) != "" || conditional.Load() {
		t.Fatalf("a fresh list: %d %v, conditional upstream %v", got.StatusCode, got.Header, conditional.Load())
	}
	down.Store(true)
	got := get("?limit=1000", "k1")
	if got.StatusCode != 200 || got.Body != modelList || got.Header.Get(cachedHeader) != "true" || got.Header.Get("Age") == "" {
		t.Errorf("the list again: %d %q %v", got.StatusCode, got.Body, got.Header)
	}
	down.Store(false)
	broken.Store(true)
	for _, other := range [][2]string{{"?limit=1000", "k2"}, {"?limit=20", "k1"}, {"?limit=1000", ""}} {
		if got := get(other[0], other[1]); got.StatusCode == 200 {
			t.Errorf("%q: another client's list", other)
		}
	}
}

func TestModelListsAreLimited(t *testing.T) {
	var lists modelLists
	now := time.Now()
	old, settings := &Settings{}, &Settings{}
	lists.save(listScope{settings: old}, &savedList{at: now})
	for i := range 3 * maxSavedLists {
		lists.save(listScope{settings: settings, query: strings.Repeat("x", i)}, &savedList{at: now.Add(time.Duration(i) * time.Second)})
	}
	if len(lists.saved) != maxSavedLists {
		t.Errorf("%d lists", len(lists.saved))
	}
	last := listScope{settings: settings, query: strings.Repeat("x", 3*maxSavedLists-1)}
	if lists.find(last, now) == nil || lists.find(listScope{settings: old}, now) != nil || lists.find(last, now.Add(48*time.Hour)) != nil {
		t.Error("the wrong lists are kept")
	}
}

// do sends a given request.
func (r *rig) do(req *http.Request) reply {
	r.t.Helper()
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	<-r.recorded
	return reply{Response: res, Body: string(body), Err: err}
}

// TestPathThatOneServerLacks checks that another server gets the request, and that two equal
// refusals are passed on.
func TestPathThatOneServerLacks(t *testing.T) {
	for _, fault := range []http.HandlerFunc{apiError(404, "not_found_error"), apiError(405, "invalid_request_error"), respond(404, "text/plain", "404 page not found")} {
		r := newRig(t, fault, respond(200, jsonType, `{"ok":true}`))
		if got := r.send("GET", "/v1/mcp_servers", ""); got.StatusCode != 200 {
			t.Errorf("client got %d %q", got.StatusCode, got.Body)
		}
		r = newRig(t, fault, fault, fault)
		got := r.send("GET", "/v1/mcp_servers", "")
		if e := r.last(); got.StatusCode != 404 && got.StatusCode != 405 || len(e.Attempts) != 2 {
			t.Errorf("client got %d %q after %d attempts", got.StatusCode, got.Body, len(e.Attempts))
		}
	}
}
