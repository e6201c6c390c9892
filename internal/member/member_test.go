package member

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/claude"
	"github.com/9bingyin/claude-code-lb/internal/config"
	"github.com/9bingyin/claude-code-lb/internal/edge"
	"github.com/9bingyin/claude-code-lb/internal/event"
	"github.com/9bingyin/claude-code-lb/internal/ledger"
	"github.com/9bingyin/claude-code-lb/internal/proxy"
	"github.com/9bingyin/claude-code-lb/internal/quota"
	"github.com/9bingyin/claude-code-lb/internal/store"
)

const (
	annKey = "ann-secret-key-0123456789"
	bobKey = "bob-secret-key-0123456789"
	// canary is in every text of an upstream.
	canary = "canary.internal:8443"
)

// desk is a handler for clients with a ledger of two keys.
type desk struct {
	*edge.Handler
	view *View
}

func newDesk(t *testing.T, auth, showServers bool, entries ...ledger.Entry) *desk {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	bus := event.NewBus(log)
	cfg := &config.Config{Auth: auth, AuthKeys: []config.ClientKey{
		{Key: config.NewSecret(annKey), Name: "ann", RPM: 60, Budget: config.Budget{Day: 20}},
		{Key: config.NewSecret(bobKey), Name: "bob"},
		{Key: config.NewSecret("old"), Name: "old", Expires: "2020-01-01"},
	}}
	view := New()
	view.Headroom = func(server string, _ time.Time) (float64, bool) { return 0.42, server == "relay-secret" }
	if entries != nil {
		books := ledgerWith(t, bus, entries)
		view.Ledger = func() *store.Store { return books }
	}
	h := edge.NewHandler(proxy.New(log, 1), log, &edge.Snapshot{
		Guard: edge.NewGuard(auth, quota.NewBook(bus, nil).Compile(t.Context(), cfg, time.Now())), ShowServers: showServers,
	})
	h.Member = view
	return &desk{h, view}
}

func ledgerWith(t *testing.T, bus *event.Bus, entries []ledger.Entry) *store.Store {
	t.Helper()
	file := filepath.Join(t.TempDir(), "ledger.db")
	w := store.NewWriter(func(ctx context.Context) (*store.Store, error) { return store.Open(ctx, file) }, bus, store.Bounds{})
	ctx, cancel := context.WithCancel(t.Context())
	var writing sync.WaitGroup
	writing.Go(func() { w.Run(ctx) })
	for _, e := range entries {
		w.Record(e)
	}
	cancel()
	writing.Wait()
	s, err := store.Open(t.Context(), file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// entry is a request that failed at spare-secret and was answered by relay-secret.
func entry(client, session string, start time.Time) ledger.Entry {
	return ledger.Entry{
		ID: "req_" + client + "_" + session, Start: start, Client: client, Session: session, Model: "claude-" + client, Method: "POST", Path: "/v1/messages",
		Status: 200, Outcome: ledger.Answered, Duration: time.Second, Reason: "dial " + canary,
		Attempts: []ledger.Attempt{
			{Server: "spare-secret", Status: 429, Scope: "rate limit", Reason: "dial " + canary},
			{Server: "relay-secret", Status: 200, Scope: "none", Served: true, Cost: ledger.Cost{Known: true, Sum: ledger.USD(0.5)},
				Answer: claude.Message{Started: true, Usage: claude.Usage{InputTokens: 10, CacheReadTokens: 90, OutputTokens: 5}}},
		},
	}
}

func (d *desk) get(t *testing.T, target, key string, header ...string) *httptest.ResponseRecorder {
	t.Helper()
	return d.ask(http.MethodGet, target, "", key, header...)
}

func (d *desk) ask(method, target, body, key string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	r.Host = "127.0.0.1:3000"
	r.RemoteAddr = "127.0.0.1:4711"
	r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, net.Addr(&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 3000})))
	if key != "" {
		r.Header.Set("Authorization", "Bearer "+key)
	}
	for i := 0; i < len(header); i += 2 {
		if header[i] == "Host" {
			r.Host = header[i+1]
		} else if header[i] == "Remote" {
			r.RemoteAddr = header[i+1]
		}
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	d.ServeHTTP(w, r)
	return w
}

func twoKeys() []ledger.Entry {
	now := time.Now()
	return []ledger.Entry{
		entry("ann", "session-of-ann", now.Add(-time.Second)), entry("ann", "second-of-ann", now.Add(-2*time.Second)),
		entry("bob", "session-of-bob", now.Add(-time.Second)), entry("bob", "session-of-ann", now.Add(-time.Second)),
	}
}

// TestNothingOfOtherKeys asks for everything as ann, with every parameter that might widen the view.
func TestNothingOfOtherKeys(t *testing.T) {
	for _, recorded := range []bool{false, true} { // in this process, or by an earlier one
		for _, target := range []string{
			"/lb/me", "/lb/me?client=bob", "/lb/me/report", "/lb/me/report?by=model", "/lb/me/report?by=hour,model&since=24h", "/lb/me/report?model=claude-bob", "/lb/me/report?by=total&since=2020-01-01",
			"/lb/me/log", "/lb/me/log?session=session-of-bob", "/lb/me/log?session=session-of-ann", "/lb/me/log?limit=100&before=9223372036854775807",
			"/lb/me/status", "/lb/me/status?session=session-of-bob", "/lb/me/status?session=session-of-ann",
		} {
			d := newDesk(t, true, false, twoKeys()...)
			if recorded {
				for _, e := range twoKeys() {
					d.view.Record(e)
				}
			}
			for _, accept := range []string{"application/json", "text/html"} {
				w := d.get(t, target, annKey, "Accept", accept)
				body := w.Body.String()
				for _, secret := range []string{"bob", canary, "relay-secret", "spare-secret", annKey, bobKey} {
					if strings.Contains(strings.ReplaceAll(body, "claude-bob", ""), secret) {
						t.Errorf("%s shows %q: %s", target, secret, body)
					}
				}
				if w.Code != 200 {
					t.Errorf("%s: %d %s", target, w.Code, body)
				}
			}
		}
	}
}

func TestOnlyWithAKey(t *testing.T) {
	var d *desk
	for _, target := range []string{"/lb/me", "/lb/me/report", "/lb/me/log", "/lb/me/status?session=session-of-ann", "/lb/me/nothing", "/lb/me/../me"} {
		d = newDesk(t, true, false, twoKeys()...)
		for key, status := range map[string]int{"": 401, "wrong": 401, annKey[1:]: 401, "old": 403} {
			if w := d.get(t, target, key, "X-Forwarded-For", "127.0.0.1"); w.Code != status && w.Code != 429 || strings.Contains(w.Body.String(), "ann") {
				t.Errorf("%s with key %q: %d %s", target, key, w.Code, w.Body)
			}
		}
	}
	if d.WrongKeys() == 0 {
		t.Error("wrong keys are not counted")
	}
	for method, status := range map[string]int{"PUT": 405, "DELETE": 405, "OPTIONS": 405, "POST": 405} {
		if w := d.ask(method, "/lb/me/log", "", annKey); w.Code != status {
			t.Errorf("%s: %d", method, w.Code)
		}
	}
	for _, target := range []string{"/lb/me/report?by=key", "/lb/me/report?by=session", "/lb/me/report?key=bob", "/lb/me/log?client=bob", "/lb/me/log?before=x", "/lb/me/log?limit=0",
		"/lb/me/report?by=hour&since=2020-01-01", "/lb/me/status?session=" + strings.Repeat("x", 200)} {
		d := newDesk(t, true, false, twoKeys()...)
		if w := d.get(t, target, annKey); w.Code != 400 {
			t.Errorf("%s: %d %s", target, w.Code, w.Body)
		}
	}
	if w := newDesk(t, true, false, twoKeys()...).get(t, "/lb/me/report?by=upstream", annKey); w.Code != 403 {
		t.Error(w.Code, w.Body)
	}
	if w := newDesk(t, true, true, twoKeys()...).get(t, "/lb/me/report?by=upstream", annKey); w.Code != 200 || !strings.Contains(w.Body.String(), "relay-secret") || strings.Contains(w.Body.String(), canary) {
		t.Error(w.Code, w.Body)
	}
	if d.Open() != 0 {
		t.Error("counted as open")
	}
}

func TestWithoutAuth(t *testing.T) {
	local := entry("127.0.0.1", "local-session", time.Now())
	other := entry("192.0.2.9", "other-session", time.Now())
	for _, c := range []struct {
		target string
		header []string
		status int
		shows  string
	}{
		{"/lb/me/status?session=local-session", nil, 200, `"cost_usd":0.5`},
		{"/lb/me/status?session=local-session", []string{"Host", "localhost:3000"}, 200, `"cost_usd":0.5`},
		{"/lb/me/status?session=other-session", nil, 200, `{}`},
		{"/lb/me/status", nil, 400, ""},
		{"/lb/me/log", nil, 403, ""},
		{"/lb/me/report", nil, 403, ""},
		{"/lb/me", nil, 200, `"auth":false`},
		{"/lb/me/status?session=local-session", []string{"Remote", "192.0.2.9:1"}, 403, ""},
		{"/lb/me/status?session=local-session", []string{"Host", "rebound.example"}, 403, ""},
		{"/lb/me/status?session=local-session", []string{"X-Forwarded-For", "127.0.0.1"}, 403, ""},
		{"/lb/me/status?session=local-session", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "no-cors"}, 403, ""},
		{"/lb/me/status?session=local-session", []string{"Origin", "https://evil.example"}, 403, ""},
	} {
		d := newDesk(t, false, false, local, other)
		w := d.get(t, c.target, "", c.header...)
		if w.Code != c.status || !strings.Contains(w.Body.String(), c.shows) || w.Header().Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s %v: %d %s", c.target, c.header, w.Code, w.Body)
		}
		if c.status == 200 && strings.Contains(w.Body.String(), "192.0.2.9") {
			t.Errorf("%s shows another client: %s", c.target, w.Body)
		}
	}
}

func TestStatus(t *testing.T) {
	for _, shown := range []bool{false, true} {
		d := newDesk(t, true, shown, twoKeys()...)
		w := d.get(t, "/lb/me/status?session=session-of-ann", annKey)
		var s Status
		if err := json.Unmarshal(w.Body.Bytes(), &s); err != nil || w.Body.Len() > 1024 {
			t.Fatalf("%v: %s", err, w.Body)
		}
		server, from := "A", "B"
		if shown {
			server, from = "relay-secret", "spare-secret"
		}
		if s.Server != server || s.Failover == nil || s.Failover.From != from || s.Failover.Status != 429 || *s.Headroom != 0.42 || s.Key != "ann" {
			t.Errorf("%s", w.Body)
		}
		if s.Session.Requests != 1 || s.Session.Cost != 0.5 || *s.Session.CacheRatio != 0.9 || s.Today.Cost != 1 || s.Budget.Window != "day" || s.Budget.Limit != 20 {
			t.Errorf("%s", w.Body)
		}
	}
}

// TestSessionOfTwoProcesses checks that requests of an earlier process and of this one count once
// each, whichever is known first.
func TestSessionOfTwoProcesses(t *testing.T) {
	now := time.Now()
	old, fresh := entry("ann", "s", now.Add(-time.Hour)), entry("ann", "s", now)
	for _, askedFirst := range []bool{false, true} {
		d := newDesk(t, true, false, old, fresh)
		if askedFirst {
			d.view.sessions.restore(&session{name: sessionName{"ann", "s"}, since: now})
			d = newDesk(t, true, false, old)
			d.get(t, "/lb/me/status?session=s", annKey)
		}
		d.view.Record(fresh)
		for range 2 {
			var s Status
			w := d.get(t, "/lb/me/status?session=s", annKey)
			if err := json.Unmarshal(w.Body.Bytes(), &s); err != nil || s.Session.Requests != 2 || s.Session.Cost != 1 {
				t.Errorf("asked first %v: %s", askedFirst, w.Body)
			}
		}
	}
}

func TestRateLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r rates
		count := func(client string, n int) (ok int) {
			for range n {
				if r.take(client, time.Now()) == 0 {
					ok++
				}
			}
			return ok
		}
		if n := count("ann", 100); n != burst {
			t.Error(n)
		}
		if n := count("bob", 1); n != 1 {
			t.Error("one key slows down another")
		}
		time.Sleep(time.Second)
		if n := count("ann", 100); n != perSecond {
			t.Error(n)
		}
	})
	d := newDesk(t, true, false)
	for i := range burst + 1 {
		w := d.get(t, "/lb/me/status", annKey)
		if want := map[bool]int{true: 200, false: 429}[i < burst]; w.Code != want || want == 429 && w.Header().Get("Retry-After") == "" {
			t.Error(i, w.Code)
		}
	}
}

func TestPage(t *testing.T) {
	d := newDesk(t, true, false, twoKeys()...)
	form := d.get(t, "/lb/me", "", "Accept", "text/html", "Accept-Language", "zh-CN,zh;q=0.9,en;q=0.8")
	if form.Code != 401 || !strings.Contains(form.Body.String(), "客户端密钥") || !strings.Contains(form.Body.String(), `type="password"`) {
		t.Errorf("%d %s", form.Code, form.Body)
	}
	const sent = "application/x-www-form-urlencoded"
	page := d.ask("POST", "/lb/me", url.Values{"key": {annKey}}.Encode(), "", "Content-Type", sent, "Sec-Fetch-Site", "same-origin")
	body := page.Body.String()
	if page.Code != 200 || !strings.Contains(body, "ann") || !strings.Contains(body, "$20.00") || strings.Contains(body, annKey) || !strings.Contains(body, pageStyle) {
		t.Errorf("%d %s", page.Code, body)
	}
	zh := d.ask("POST", "/lb/me", url.Values{"key": {annKey}}.Encode(), "", "Content-Type", sent, "Accept-Language", "zh-CN")
	if !strings.Contains(zh.Body.String(), "每天: ") || !strings.Contains(zh.Body.String(), `lang="zh-CN"`) {
		t.Error(zh.Body)
	}
	if strings.Contains(body, "<script") || strings.Contains(body, " style=") || strings.Contains(body, "src=") || page.Header().Get("Set-Cookie") != "" {
		t.Error(body)
	}
	csp := page.Header().Get("Content-Security-Policy")
	if !strings.HasPrefix(csp, "default-src 'none'; style-src 'sha256-") || strings.Contains(csp, "unsafe") || page.Header().Get("Cache-Control") != "no-store" {
		t.Error(page.Header())
	}
	if w := d.ask("POST", "/lb/me", "key=wrong", "", "Content-Type", sent); w.Code != 401 || !strings.Contains(w.Body.String(), "not known") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := d.ask("POST", "/lb/me", "key="+strings.Repeat("x", 10_000), "", "Content-Type", sent); w.Code != 400 {
		t.Error(w.Code)
	}
	if w := d.ask("POST", "/lb/me", "key="+annKey, "", "Content-Type", sent, "Sec-Fetch-Site", "cross-site"); w.Code != 403 {
		t.Error(w.Code)
	}
	if w := d.get(t, "/lb/me", "", "Accept", "text/html", "Host", `"><script>`); strings.Contains(w.Body.String(), "<script") {
		t.Error(w.Body)
	}
}

// TestHostileText puts markup where clients and upstreams choose the text.
func TestHostileText(t *testing.T) {
	const hostile = `"><script>alert(1)</script>`
	e := entry("ann", hostile, time.Now())
	e.Model = hostile
	e.Attempts[1].Server = hostile
	d := newDesk(t, true, true, e)
	if w := d.get(t, "/lb/me", annKey, "Accept", "text/html"); w.Code != 200 || strings.Contains(w.Body.String(), "<script") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestStatusStaysSmall(t *testing.T) {
	long := strings.Repeat("名", 500)
	e := entry("ann", "s", time.Now())
	e.Attempts[0].Server, e.Attempts[1].Server = long, long+"2"
	d := newDesk(t, true, true, e)
	if w := d.get(t, "/lb/me/status?session=s", annKey); w.Code != 200 || w.Body.Len() > 1024 {
		t.Errorf("%d bytes: %s", w.Body.Len(), w.Body)
	}
}

func TestMemoryIsBounded(t *testing.T) {
	tally := newTally()
	for i := range 3 * maxSessions {
		e := entry("ann", fmt.Sprint(i), time.Now())
		tally.record(&e)
		tally.label("ann", fmt.Sprint(i))
	}
	if n := len(tally.recent) + len(tally.older); n > 2*maxSessions || len(tally.labels["ann"]) > maxLabels {
		t.Error(n)
	}
}
