package edge

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/claude"
	"github.com/9bingyin/claude-code-lb/internal/config"
	"github.com/9bingyin/claude-code-lb/internal/event"
	"github.com/9bingyin/claude-code-lb/internal/proxy"
	"github.com/9bingyin/claude-code-lb/internal/quota"
	"github.com/9bingyin/claude-code-lb/internal/routing"
	"github.com/9bingyin/claude-code-lb/internal/upstream"
)

// front is a handler in front of one upstream, which responds with ok and records the requests.
type front struct {
	*Handler
	seen *http.Request
}

func newFront(t *testing.T, weight int, keys ...string) *front {
	t.Helper()
	f := &front{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.seen = r
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `{"type":"message","content":[],"usage":{"output_tokens":3}}`)
	}))
	t.Cleanup(s.Close)
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	cfg := &config.Config{Mode: config.ModeLoadBalance, Cooldown: time.Minute, Timeouts: config.Timeouts{Connect: time.Second},
		Servers: []config.Server{{Name: "a", URL: u, Weight: weight}}}
	for i, k := range keys {
		cfg.AuthKeys = append(cfg.AuthKeys, config.ClientKey{Key: config.NewSecret(k), Name: fmt.Sprint("key-", i+1)})
	}
	ctx, cancel := context.WithCancel(t.Context())
	log := slog.New(slog.DiscardHandler)
	pool := upstream.NewPool(ctx, event.NewBus(log))
	t.Cleanup(func() { cancel(); pool.Wait() })
	eps, commit := pool.Reconcile(cfg)
	commit()
	f.Handler = NewHandler(proxy.New(log, 1), log, &Snapshot{
		Guard: NewGuard(len(keys) > 0, quota.NewBook(event.NewBus(log), nil).Compile(ctx, cfg, time.Now())), Table: routing.NewTable(cfg, eps, routing.NewIndex(1<<20, 1), routing.Random), Limits: Limits{MaxBody: 1 << 20},
		Forward: &proxy.Settings{PassCredentials: len(keys) == 0, MaxAttempts: 4, RetryFloor: 10}, Mode: "load_balance", Algorithm: "round_robin", LoadBalancer: "random", Cooldown: 1500 * time.Millisecond,
	})
	return f
}

func (f *front) ask(t *testing.T, method, target, body string, header ...string) *httptest.ResponseRecorder {
	t.Helper()
	f.seen = nil
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	f.ServeHTTP(w, r)
	return w
}

func TestRoutes(t *testing.T) {
	f := newFront(t, 1)
	ask := func(method, target string, status int, forwarded bool) {
		t.Helper()
		if w := f.ask(t, method, target, ""); w.Code != status || (f.seen != nil) != forwarded {
			t.Errorf("%s %s: %d, forwarded %v", method, target, w.Code, f.seen != nil)
		}
	}
	ask("HEAD", "/", 200, false)
	ask("HEAD", "/api/hello", 200, false)
	ask("POST", "/api/event_logging/batch", 200, false)
	ask("POST", "/api/event_logging/v2/batch", 200, false)
	ask("GET", "/health", 200, false)
	ask("HEAD", "/health", 200, false)
	ask("POST", "/health", 405, false)
	ask("POST", "/v1/messages?beta=true", 200, true)
	ask("DELETE", "/v1/files/f1", 200, true)
	ask("POST", "//v1/messages", 200, true)
	ask("GET", "/v2/messages", 404, false)
	ask("GET", "/metrics", 404, false)
	ask("GET", "/v1/../admin", 400, false)
	ask("GET", "/v1/%2e%2e/admin", 400, false)
}

func TestErrorsHaveTheShapeOfTheAPI(t *testing.T) {
	f := newFront(t, 1, "client-key")
	check := func(w *httptest.ResponseRecorder, status int, kind claude.ErrorType) {
		t.Helper()
		e, ok := claude.ParseError(w.Body.Bytes())
		if w.Code != status || !ok || e.Type != kind || e.Message == "" || e.RequestID == "" || e.RequestID != w.Header().Get("Request-Id") {
			t.Errorf("%d %q", w.Code, w.Body)
		}
		if f.seen != nil {
			t.Error("the request was forwarded")
		}
	}
	check(f.ask(t, "POST", "/v1/messages", "{}"), 401, claude.ErrAuthentication)
	check(f.ask(t, "POST", "/v1/messages", "{}", "X-Api-Key", "client-ke"), 401, claude.ErrAuthentication)
	check(f.ask(t, "POST", "/v1/messages", "{}", "Authorization", "Basic client-key"), 401, claude.ErrAuthentication)
	check(f.ask(t, "POST", "/v1/messages", strings.Repeat("x", 1<<20+1), "X-Api-Key", "client-key"), 413, claude.ErrTooLarge)
	check(f.ask(t, "POST", "/elsewhere", ""), 404, claude.ErrNotFound)
	w := f.ask(t, "POST", "/health", "{}")
	check(w, 405, claude.ErrInvalidRequest)
	if allow := w.Header().Get("Allow"); allow != "GET, HEAD" {
		t.Errorf("Allow: %q", allow)
	}
}

func TestClientKeysInBothHeaders(t *testing.T) {
	f := newFront(t, 1, "other", "client-key")
	ask := func(header ...string) {
		t.Helper()
		if w := f.ask(t, "POST", "/v1/messages", "{}", header...); w.Code != 200 || f.seen == nil {
			t.Errorf("%v: %d %s", header, w.Code, w.Body)
			return
		}
		if f.seen.Header.Get("X-Api-Key") != "" || f.seen.Header.Get("Authorization") != "" {
			t.Errorf("the client key went upstream: %v", f.seen.Header)
		}
	}
	ask("X-Api-Key", "client-key")
	ask("Authorization", "Bearer client-key")
	ask("Authorization", "bearer client-key")
	ask("X-Api-Key", "client-key", "Authorization", "Bearer wrong")
	ask("X-Api-Key", "wrong", "Authorization", "Bearer client-key")

	open := newFront(t, 1)
	open.ask(t, "POST", "/v1/messages", "{}", "X-Api-Key", "own")
	if open.seen.Header.Get("X-Api-Key") != "own" {
		t.Error("without auth a client's own credential did not reach a server without token")
	}
}

func TestHealthReportsAvailability(t *testing.T) {
	f := func(weight, status int, word string) {
		t.Helper()
		w := newFront(t, weight).ask(t, "GET", "/health", "")
		var h Health
		if err := json.Unmarshal(w.Body.Bytes(), &h); err != nil {
			t.Fatal(err)
		}
		if w.Code != status || h.Status != word || h.Total != 1 || h.Available != weight || h.Mode != "load_balance" || h.Time.IsZero() {
			t.Errorf("%d %s", w.Code, w.Body)
		}
		if strings.Contains(w.Body.String(), "127.0.0.1") {
			t.Error("health names an upstream")
		}
		former := fmt.Sprintf(`"total_servers":1,"available_servers":%d,"cooling_down":0,"load_balancer":"random","fallback":false,"cooldown_seconds":1.5,"time"`, weight)
		if !strings.Contains(w.Body.String(), former) {
			t.Errorf("probes written for the former project need %s: %s", former, w.Body)
		}
	}
	f(1, 200, "ok")
	f(0, 503, "unavailable")
}

func TestPanicsBecomeErrors(t *testing.T) {
	f := newFront(t, 1)
	f.current.Store(&Snapshot{Guard: NewGuard(false, nil), Limits: Limits{MaxBody: 1}, Forward: &proxy.Settings{}})
	w := f.ask(t, "POST", "/v1/messages", "")
	if e, ok := claude.ParseError(w.Body.Bytes()); w.Code != 500 || !ok || e.Type != claude.ErrAPI {
		t.Errorf("%d %q", w.Code, w.Body)
	}
}
