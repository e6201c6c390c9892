package admin

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/config"
	"github.com/9bingyin/claude-code-lb/internal/event"
	"github.com/9bingyin/claude-code-lb/internal/ledger"
	"github.com/9bingyin/claude-code-lb/internal/observe"
	"github.com/9bingyin/claude-code-lb/internal/routing"
	"github.com/9bingyin/claude-code-lb/internal/store"
	"github.com/9bingyin/claude-code-lb/internal/upstream"
	"github.com/9bingyin/claude-code-lb/internal/verdict"
)

// fixture is a handler with its sources.
type fixture struct {
	t       *testing.T
	handler *Handler
	table   *routing.Table
	log     strings.Builder
	reload  func() (uint64, config.Problems, error)
}

func newFixture(t *testing.T, key string) *fixture {
	t.Helper()
	cfg, problems := config.Decode("config.json", []byte(`{"servers": [
		{"name": "a", "url": "http://127.0.0.1:9", "token": "t0ken-1", "rate_limit": {"requests": 10}},
		{"name": "b/c d", "url": "http://127.0.0.1:9", "token": "t0ken-2", "balance_check": "echo 12.5"},
	]}`), func(string) (string, bool) { return "", false })
	if problems.Failed() {
		t.Fatal(problems)
	}
	pool := upstream.NewPool(t.Context(), event.NewBus(slog.New(slog.DiscardHandler)))
	endpoints, commit := pool.Reconcile(cfg)
	commit()
	pool.AwaitFirstReadings(t.Context())
	index := routing.NewIndex(1<<20, 1)
	r := &fixture{t: t, table: routing.NewTable(cfg, endpoints, index, routing.Random)}
	r.reload = func() (uint64, config.Problems, error) { return 2, nil, nil }
	metrics := observe.NewMetrics("1")
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	r.handler = NewHandler(Sources{
		Ledger:  sync.OnceValue(func() *store.Store { return ledgerOf(t, now) }), // only if a test needs it, because it takes time
		Metrics: metrics.Handler(), Table: func() *routing.Table { return r.table }, Index: index,
		Status: func() Status {
			return Status{Version: "1", Generation: 1, Started: now, Uptime: 1.5, Ledger: &Backlog{Rows: 3, Oldest: 2.5}}
		},
		Requests: func() []Request {
			return []Request{{ID: "req_lb_1", Client: "key-1", Model: "m", Path: "/v1/files/file_0123456789abcdef", Server: "a", Start: now, Age: 1, Sent: 2, Received: 3}}
		},
		Decisions: func() []Decision {
			return []Decision{
				{Entry: ledger.Entry{ID: "req_lb_2", Client: "key-1", Session: "s", Path: "/v1/messages", Start: now, Outcome: ledger.Answered, Routed: ledger.Warm, Status: 200, Attempts: []ledger.Attempt{{Server: "a", Served: true}}}, Trail: []string{"a: answered in 1s"}},
				{Entry: ledger.Entry{ID: "req_lb_3", Client: "key-1", Path: "/v1/models", Start: now, Outcome: ledger.ClientGone}},
			}
		},
		Keys:   func() any { return []map[string]string{{"name": "build-agents"}} },
		Reload: func() (uint64, config.Problems, error) { return r.reload() },
	}, config.NewSecret(key), slog.New(slog.NewJSONHandler(&r.log, nil)))
	return r
}

// request sends a request, as if from this machine, with headers in pairs.
func (r *fixture) request(method, path, body string, header ...string) *httptest.ResponseRecorder {
	r.t.Helper()
	return r.requestAt(&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 3001}, method, "http://127.0.0.1:3001"+path, body, header...)
}

func (r *fixture) requestAt(local net.Addr, method, url, body string, header ...string) *httptest.ResponseRecorder {
	r.t.Helper()
	ctx := context.WithValue(r.t.Context(), http.LocalAddrContextKey, local)
	req := httptest.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	r.handler.ServeHTTP(w, req)
	return w
}

// expect sends a request, checks the status and returns the response.
func (r *fixture) expect(status int, method, path, body string, header ...string) map[string]any {
	r.t.Helper()
	w := r.request(method, path, body, header...)
	var got map[string]any
	err := json.Unmarshal(w.Body.Bytes(), &got)
	if w.Code != status || err != nil {
		r.t.Errorf("%s %s: %d, want %d (%v): %s", method, path, w.Code, status, err, w.Body)
	}
	return got
}

// TestAuthorization sends every request with and without the key, from this machine and others.
func TestAuthorization(t *testing.T) {
	here, there := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 3001}, &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 3001}
	f := func(key string, local net.Addr, host string, want int, header ...string) {
		t.Helper()
		for i := range newFixture(t, key).handler.routes() {
			r := newFixture(t, key) // a new one for each request, so that none is delayed
			route := r.handler.routes()[i]
			path := strings.NewReplacer("{name}", "a", "{id}", "s", "{profile}", "heap", "{$}", "").Replace(route.pattern)
			allowed := r.requestAt(local, route.method, "http://"+host+path, "", header...).Code
			if want != http.StatusOK && allowed != want || want == http.StatusOK && (allowed == 401 || allowed == 403) {
				t.Errorf("%s %s at %v, host %s, %v: %d, want %d", route.method, path, local, host, header, allowed, want)
			}
		}
	}
	const key = "4dm1n"
	f("", here, "127.0.0.1:3001", 200)
	f("", here, "localhost:3001", 200)
	f("", here, "LOCALHOST", 200)
	f("", here, "[::1]:3001", 200)
	f("", here, "127.8.9.1", 200)
	f("", here, "evil.example:3001", 403)
	f("", here, "127.0.0.1.evil.example", 403)
	f("", here, "localhost.evil.example:3001", 403)
	f("", there, "127.0.0.1:3001", 403)
	f("", nil, "127.0.0.1:3001", 403)
	for _, name := range []string{"Forwarded", "X-Forwarded-For", "x-forwarded-host", "X-FORWARDED-PROTO", "X-Real-IP", "Via", "CF-Connecting-IP", "Cdn-Loop", "True-Client-IP", "X-Forwarded-Server", "Tailscale-User-Login"} {
		f("", here, "127.0.0.1:3001", 403, name, "")
		f(key, here, "127.0.0.1:3001", 200, name, "x", "X-Api-Key", key)
	}
	f("", here, "127.0.0.1:3001", 403, "Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "no-cors")
	f("", here, "127.0.0.1:3001", 403, "Origin", "null")
	f("", here, "127.0.0.1:3001", 403, "Origin", "http://127.0.0.1:8000")
	f("", here, "127.0.0.1:3001", 200, "Origin", "http://127.0.0.1:3001", "Sec-Fetch-Site", "same-origin")
	f("", here, "127.0.0.1:3001", 200, "Sec-Fetch-Site", "none", "Sec-Fetch-Mode", "navigate")
	f(key, here, "127.0.0.1:3001", 401)
	f(key, here, "127.0.0.1:3001", 401, "X-Api-Key", "")
	f(key, here, "127.0.0.1:3001", 401, "X-Api-Key", "4dm1")
	f(key, here, "127.0.0.1:3001", 401, "Authorization", "Basic "+key)
	f(key, there, "lb.example", 200, "X-Api-Key", key)
	f(key, there, "lb.example", 200, "Authorization", "bearer "+key)
	f(key, there, "lb.example", 200, "X-Api-Key", "wrong", "Authorization", "Bearer "+key)
}

func TestCrossOriginChanges(t *testing.T) {
	r := newFixture(t, "")
	for _, header := range [][]string{{"Origin", "http://evil.example"}, {"Sec-Fetch-Site", "cross-site"}} {
		r.expect(http.StatusForbidden, http.MethodPost, "/admin/api/servers/a/drain", "", header...)
	}
	if r.table.Endpoints()[0].Report(time.Now()).Drained {
		t.Error("drained")
	}
	r.expect(http.StatusOK, http.MethodPost, "/admin/api/servers/a/drain", "", "Origin", "http://127.0.0.1:3001")
}

// TestSetKey checks that a new key applies at once.
func TestSetKey(t *testing.T) {
	r := newFixture(t, "")
	r.expect(http.StatusOK, http.MethodGet, "/admin/api/status", "")
	r.handler.SetKey(config.NewSecret("first"))
	r.expect(http.StatusUnauthorized, http.MethodGet, "/admin/api/status", "")
	r.expect(http.StatusOK, http.MethodGet, "/admin/api/status", "", "X-Api-Key", "first")
	r.handler.SetKey(config.NewSecret("second"))
	r.expect(http.StatusUnauthorized, http.MethodGet, "/admin/api/status", "", "X-Api-Key", "first")
	if strings.Contains(r.log.String(), "first") {
		t.Errorf("the log shows a key:\n%s", r.log.String())
	}
}

func TestDrainAndReset(t *testing.T) {
	r := newFixture(t, "")
	e := r.table.Endpoints()[1]
	acquires := func(want bool) {
		t.Helper()
		lease, ok := e.Acquire(time.Now(), upstream.Subject{Model: "claude-opus-4-5"})
		if ok {
			lease.Release()
		}
		if ok != want {
			t.Errorf("acquired: %t, want %t", ok, want)
		}
	}
	server := r.expect(http.StatusOK, http.MethodPost, "/admin/api/servers/b%2Fc%20d/drain", "")
	if server["name"] != "b/c d" || server["state"] != "draining" || server["drained"] != true {
		t.Errorf("%v", server)
	}
	acquires(false)
	r.expect(http.StatusOK, http.MethodPost, "/admin/api/servers/b%2Fc%20d/undrain", "")
	acquires(true)

	lease, _ := e.Acquire(time.Now(), upstream.Subject{Model: "claude-opus-4-5"})
	lease.Settle(t.Context(), verdict.Outcome{Scope: verdict.ScopeAccount, Reason: "no credit"}, time.Now())
	lease.Release()
	acquires(false)
	if server := r.expect(http.StatusOK, http.MethodPost, "/admin/api/servers/b%2Fc%20d/reset", ""); server["state"] != "fit" {
		t.Errorf("%v", server)
	}
	acquires(true)

	r.expect(http.StatusNotFound, http.MethodPost, "/admin/api/servers/unknown/drain", "")
	for _, line := range []string{
		`"msg":"changed by an operator","action":"drain","target":"b/c d","remote":"192.0.2.1:1234"`,
		`"action":"undrain","target":"b/c d"`, `"action":"reset","target":"b/c d"`,
	} {
		if !strings.Contains(r.log.String(), line) {
			t.Errorf("no %s in the log:\n%s", line, r.log.String())
		}
	}
	if strings.Contains(r.log.String(), "unknown") {
		t.Error("a failed change is logged")
	}
}

func TestReload(t *testing.T) {
	r := newFixture(t, "")
	r.reload = func() (uint64, config.Problems, error) {
		return 3, config.Problems{{File: "config.json", Line: 2, Col: 5, Path: "mode", Msg: "is odd", Warning: true}}, nil
	}
	if got := r.expect(http.StatusOK, http.MethodPost, "/admin/api/reload", ""); got["generation"] != 3.0 || len(got["problems"].([]any)) != 1 {
		t.Errorf("%v", got)
	}
	r.reload = func() (uint64, config.Problems, error) {
		return 3, config.Problems{{File: "config.json", Line: 2, Col: 5, Path: "mode", Msg: "is wrong"}}, errors.New("the configuration has errors")
	}
	got := r.expect(http.StatusUnprocessableEntity, http.MethodPost, "/admin/api/reload", "")["error"].(map[string]any)
	problem := got["problems"].([]any)[0].(map[string]any)
	if got["type"] != "reload_failed" || problem["line"] != 2.0 || problem["path"] != "mode" || problem["message"] != "is wrong" {
		t.Errorf("%v", got)
	}
}

func TestProfilesOnDemand(t *testing.T) {
	r := newFixture(t, "")
	r.expect(http.StatusNotFound, http.MethodGet, "/debug/pprof/", "")
	r.expect(http.StatusNotFound, http.MethodGet, "/debug/pprof/heap", "")
	for _, bad := range []string{`{"minutes": -1}`, `{"minutes": 100000}`, `{"hours": 1}`, `nonsense`} {
		r.expect(http.StatusBadRequest, http.MethodPost, "/admin/api/pprof", bad)
	}
	r.expect(http.StatusOK, http.MethodPost, "/admin/api/pprof", "")
	if w := r.request(http.MethodGet, "/debug/pprof/heap", ""); w.Code != http.StatusOK || w.Body.Len() == 0 {
		t.Errorf("heap: %d", w.Code)
	}
	if w := r.request(http.MethodGet, "/debug/pprof/cmdline", ""); w.Code != http.StatusNotFound {
		t.Errorf("cmdline: %d %s", w.Code, w.Body)
	}
	r.expect(http.StatusOK, http.MethodPost, "/admin/api/pprof", `{"minutes": 0}`)
	r.expect(http.StatusNotFound, http.MethodGet, "/debug/pprof/heap", "")
}

func TestUnknownRoutes(t *testing.T) {
	r := newFixture(t, "")
	f := func(method, path string, want int, allow string) {
		t.Helper()
		w := r.request(method, path, "")
		body, _ := io.ReadAll(w.Body)
		if w.Code != want || w.Header().Get("Allow") != allow || !strings.Contains(string(body), `"error"`) {
			t.Errorf("%s %s: %d %q %s", method, path, w.Code, w.Header().Get("Allow"), body)
		}
	}
	f(http.MethodGet, "/", 404, "")
	f(http.MethodGet, "/v1/messages", 404, "")
	f(http.MethodGet, "/admin/api/servers/a/explode", 404, "")
	f(http.MethodPost, "/admin/api/status", 405, "GET")
	f(http.MethodGet, "/admin/api/reload", 405, "POST")
	f(http.MethodDelete, "/admin/api/servers/a/drain", 405, "POST")
	f(http.MethodPost, "/admin/api/sessions/"+strings.Repeat("s", 200)+"/flush", 400, "")
}

// TestNoSecretsInResponses checks every response and the log for secrets.
func TestNoSecretsInResponses(t *testing.T) {
	r := newFixture(t, "4dm1n")
	for _, route := range r.handler.routes() {
		path := strings.NewReplacer("{name}", "a", "{id}", "s", "{profile}", "heap", "{$}", "").Replace(route.pattern)
		if body := r.request(route.method, path, "", "X-Api-Key", "4dm1n").Body.String(); strings.Contains(body, "t0ken") || strings.Contains(body, "4dm1n") {
			t.Errorf("%s shows a secret:\n%s", path, body)
		}
	}
	if strings.Contains(r.log.String(), "4dm1n") {
		t.Errorf("the log shows the key:\n%s", r.log.String())
	}
}
