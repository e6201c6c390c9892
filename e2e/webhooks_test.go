package e2e

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// listener receives the messages of a webhook.
type listener struct {
	url string

	mu       sync.Mutex
	received []event
}

// event is one message in the format for programs.
type event struct {
	Type      string
	Timestamp string
	Data      map[string]any
	header    http.Header
	body      string
}

func newListener(t *testing.T) *listener {
	t.Helper()
	l := &listener{}
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		m := event{header: r.Header, body: string(body)}
		if err != nil || json.Unmarshal(body, &m) != nil {
			t.Errorf("a webhook got %q, %v", body, err)
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		l.received = append(l.received, m)
	}))
	t.Cleanup(s.Close)
	l.url = s.URL + "/hooks/very-secret-path?token=very-secret-token"
	return l
}

// of returns the messages of one type.
func (l *listener) of(kind string) []event {
	l.mu.Lock()
	defer l.mu.Unlock()
	var found []event
	for _, m := range l.received {
		if m.Type == kind {
			found = append(found, m)
		}
	}
	return found
}

func (l *listener) await(t *testing.T, kind string) event {
	t.Helper()
	eventually(t, "a webhook is told of "+kind, func() bool { return len(l.of(kind)) > 0 })
	return l.of(kind)[0]
}

// TestWebhooks makes both servers go out and one come back, and a reload fail.
func TestWebhooks(t *testing.T) {
	t.Parallel()
	unixOnly(t, "the program is told to end, and has to tell what is left")
	l, chosen := newListener(t), newListener(t)
	bad, good := newFake(t, "bad"), newFake(t, "good")
	bad.fails(status(500))
	cfg := fallback(bad.entry(), good.entry()).with("cooldown", "200ms").with("max_wait", "0s").with("webhooks", []object{
		{"url": l.url, "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"},
		{"url": chosen.url, "events": []string{"all_servers_out"}},
	})
	b := start(t, cfg)
	b.mustServe(true, good)
	m := l.await(t, "server_out")
	if m.Data["server"] != "bad" || !strings.HasPrefix(m.Data["text"].(string), "Server bad is out for ") {
		t.Errorf("%v", m)
	}
	if !strings.HasPrefix(m.header.Get("Webhook-Signature"), "v1,") || !strings.HasPrefix(m.header.Get("Webhook-Id"), "msg_") {
		t.Errorf("headers %v", m.header)
	}
	if n := len(l.of("all_servers_out")); n != 0 {
		t.Errorf("told %d times that all are out", n)
	}
	good.fails(status(500))
	eventually(t, "all servers are out", func() bool {
		b.ask(true)
		return len(l.of("all_servers_out")) > 0
	})
	chosen.await(t, "all_servers_out")
	b.waitLog("all servers out", nil)
	bad.fails()
	good.fails()
	eventually(t, "a server is back", func() bool {
		b.ask(true)
		return len(l.of("server_back")) > 0
	})
	replaceFile(t, b.file, []byte("{"))
	l.await(t, "reload_failed")
	b.signal(syscall.SIGTERM)
	if b.exitStatus() != 0 {
		t.Error("exit status")
	}
	if len(chosen.of("all_servers_out")) != len(chosen.received) {
		t.Errorf("told of what it did not ask for: %v", chosen.received)
	}
	if strings.Contains(b.log.String(), "very-secret") {
		t.Errorf("the log shows the address:\n%s", b.log)
	}
}

// TestWebhookOfReload checks that a webhook receives nothing before it is configured, and then
// everything.
func TestWebhookOfReload(t *testing.T) {
	t.Parallel()
	l := newListener(t)
	bad, good := newFake(t, "bad"), newFake(t, "good")
	bad.fails(status(500))
	cfg := fallback(bad.entry(), good.entry())
	b := start(t, cfg)
	b.reconfigure(cfg.with("webhooks", []object{{"url": l.url}}))
	b.mustServe(true, good)
	if m := l.await(t, "server_out"); m.Data["server"] != "bad" || m.header.Get("Webhook-Signature") != "" {
		t.Errorf("%v %v", m, m.header)
	}
}

func TestWebhookCommand(t *testing.T) {
	t.Parallel()
	dir, l := t.TempDir(), newListener(t)
	file := filepath.Join(dir, "config.json")
	ask := func(hooks ...object) result {
		hooks = append([]object{}, hooks...)
		writeConfig(t, file, fallback(object{"url": "https://a.example", "token": "t"}).with("webhooks", hooks))
		return run(t, invocation{args: []string{"webhook-test", "-c", file}})
	}
	good := object{"url": l.url, "events": []string{"budget_100"}}
	r := ask(good)
	if r.status != 0 || !strings.Contains(r.stdout, "webhooks[0] 127.0.0.1:") || !strings.Contains(r.stdout, "(json): delivered") || len(l.of("test")) != 1 {
		t.Errorf("%+v", r)
	}
	r = ask(good, object{"url": "http://" + freeAddress(t) + "/very-secret", "format": "slack"})
	if r.status != 1 || !strings.Contains(r.stdout, "webhooks[1] 127.0.0.1:") || !strings.Contains(r.stdout, "(slack): FAILED: ") || strings.Contains(r.stdout+r.stderr, "very-secret") {
		t.Errorf("%+v", r)
	}
	if r = ask(); r.status != 1 || !strings.Contains(r.stderr, "has no webhooks") {
		t.Errorf("%+v", r)
	}
}
