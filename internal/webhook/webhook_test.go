package webhook

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/config"
	"github.com/9bingyin/claude-code-lb/internal/telemetry"
)

// receiver receives messages in place of a network.
type receiver struct {
	mu        sync.Mutex
	responses []func(*http.Request) (*http.Response, error) // in this order; afterwards every message is accepted
	times     []time.Time
	ids       []string
	bodies    []string
	blocking  chan struct{} // unless nil, every message waits for it
}

func (r *receiver) RoundTrip(req *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	r.times, r.ids, r.bodies = append(r.times, time.Now()), append(r.ids, req.Header.Get("Webhook-Id")), append(r.bodies, string(body))
	respond := respondWith(http.StatusOK)
	if len(r.responses) > 0 {
		respond, r.responses = r.responses[0], r.responses[1:]
	}
	r.mu.Unlock()
	if r.blocking != nil {
		select {
		case <-r.blocking:
		case <-req.Context().Done():
			return nil, req.Context().Err()
		}
	}
	return respond(req)
}

func (r *receiver) messages() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string{}, r.bodies...)
}

func respondWith(status int, header ...string) func(*http.Request) (*http.Response, error) {
	return func(req *http.Request) (*http.Response, error) {
		res := &http.Response{StatusCode: status, Header: http.Header{}, Body: http.NoBody, Request: req}
		for i := 0; i+1 < len(header); i += 2 {
			res.Header.Set(header[i], header[i+1])
		}
		return res, nil
	}
}

func failConnection(*http.Request) (*http.Response, error) {
	return nil, errors.New("connection reset")
}

// newTestWebhooks returns a Webhooks with webhooks and a log, inside a synctest bubble.
func newTestWebhooks(r *receiver, hooks ...config.Webhook) (*Webhooks, *bytes.Buffer) {
	var log bytes.Buffer
	w := newWebhooks(slog.New(slog.NewTextHandler(&log, nil)), newSender("test-host", r))
	w.Apply(hooks)
	return w, &log
}

func hookAt(url string) config.Webhook {
	return config.Webhook{URL: config.NewSecret(url), Format: config.WebhookJSON, MinInterval: time.Minute}
}

func serverOut(server string) Message {
	return Message{Name: config.EventServerOut, Time: time.Now(), Text: "Server " + server + " is out.", Subject: server, Facts: []Fact{{telemetry.Server, server}}}
}

func closeWithTimeout(w *Webhooks) {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	w.Close(ctx)
}

func TestWebhookRetries(t *testing.T) {
	f := func(name string, wantTries int, logged bool, least, most time.Duration, responses ...func(*http.Request) (*http.Response, error)) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			r := &receiver{responses: responses}
			w, log := newTestWebhooks(r, hookAt("https://hooks.example/T0/secret-token-1"))
			w.enqueue(serverOut("a"))
			time.Sleep(10 * time.Minute)
			synctest.Wait()
			took := r.times[len(r.times)-1].Sub(r.times[0])
			if len(r.times) != wantTries || took < least || took > most {
				t.Errorf("%s: %d tries in %s, want %d in %s to %s", name, len(r.times), took, wantTries, least, most)
			}
			for _, id := range r.ids {
				if id != r.ids[0] || !strings.HasPrefix(id, "msg_") {
					t.Errorf("%s: ids %q", name, r.ids)
				}
			}
			if got := strings.Contains(log.String(), telemetry.WebhookFailed); got != logged || strings.Contains(log.String(), "secret-token") {
				t.Errorf("%s: log %q", name, log)
			}
			closeWithTimeout(w)
		})
	}
	busy := respondWith(http.StatusServiceUnavailable)
	f("accepted", 1, false, 0, 0)
	f("accepted at the second try", 2, false, 500*time.Millisecond, 1500*time.Millisecond, busy)
	f("network error", 2, false, 500*time.Millisecond, 1500*time.Millisecond, failConnection)
	f("given up", 5, true, 7500*time.Millisecond, 22500*time.Millisecond, busy, failConnection, busy, respondWith(http.StatusTooManyRequests), busy, busy)
	f("Retry-After", 2, false, 90*time.Second, 90*time.Second, respondWith(http.StatusTooManyRequests, "Retry-After", "90"))
	f("Retry-After of a day", 2, false, maxRetryAfter, maxRetryAfter, respondWith(http.StatusTooManyRequests, "Retry-After", "86400"))
	f("410", 1, true, 0, 0, respondWith(http.StatusGone))
	f("redirect to another host", 1, true, 0, 0, respondWith(http.StatusTemporaryRedirect, "Location", "https://elsewhere.example/"))
	f("redirect as GET", 1, true, 0, 0, respondWith(http.StatusFound, "Location", "/T0/other"))
	f("redirect within the host", 2, false, 0, 0, respondWith(http.StatusPermanentRedirect, "Location", "/T0/other"))
}

func TestWebhookSumsUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &receiver{}
		w, _ := newTestWebhooks(r, hookAt("https://hooks.example/"))
		for range 5 {
			w.enqueue(serverOut("a"))
			time.Sleep(time.Second)
		}
		w.enqueue(serverOut("b"))
		synctest.Wait()
		if got := r.messages(); len(got) != 2 {
			t.Fatalf("within the interval: %q", got)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		got := r.messages()
		if len(got) != 3 || !strings.Contains(got[2], `"repeated":3,"server":"a","since":"2000-01-01T00:00:01Z"`) {
			t.Errorf("after it: %q", got)
		}
		time.Sleep(time.Hour)
		w.enqueue(serverOut("a"))
		synctest.Wait()
		if got := r.messages(); len(got) != 4 || strings.Contains(got[3], "repeated") {
			t.Errorf("long after: %q", got)
		}
		closeWithTimeout(w)
	})
}

func TestWebhookEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &receiver{}
		only := hookAt("https://hooks.example/")
		only.Events = []config.Event{config.EventBalanceLow}
		w, _ := newTestWebhooks(r, only)
		w.enqueue(serverOut("a"))
		w.enqueue(Message{Name: config.EventBalanceLow})
		closeWithTimeout(w)
		if got := r.messages(); len(got) != 1 || !strings.Contains(got[0], "balance_low") {
			t.Errorf("%q", got)
		}
		w.enqueue(Message{Name: config.EventBalanceLow})
		w.Apply([]config.Webhook{only})
		if len(r.messages()) != 1 {
			t.Error("message after the end")
		}
	})
}

// TestWebhookQueue blocks the receiver until the queue is full.
func TestWebhookQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &receiver{blocking: make(chan struct{})}
		hook := hookAt("https://hooks.example/very-secret-path")
		w, log := newTestWebhooks(r, hook)
		w.enqueue(serverOut("first"))
		synctest.Wait()
		for i := range maxQueued + 44 {
			w.enqueue(serverOut(fmt.Sprint(i)))
		}
		close(r.blocking)
		synctest.Wait()
		if got := r.messages(); len(got) != 1+maxQueued {
			t.Errorf("%d messages", len(got))
		}
		if s := log.String(); !strings.Contains(s, "dropped=44") || strings.Contains(s, "secret") || !strings.Contains(s, "hooks.example") {
			t.Errorf("log %q", s)
		}
		closeWithTimeout(w)
	})
}

// TestWebhookReload changes the configuration while messages are queued, for webhooks that stay and
// for one that is removed.
func TestWebhookReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &receiver{blocking: make(chan struct{})}
		stays, goes := hookAt("https://stays.example/"), hookAt("https://goes.example/")
		w, _ := newTestWebhooks(r, goes, stays)
		for _, server := range []string{"a", "b", "c"} {
			w.enqueue(serverOut(server))
		}
		synctest.Wait()
		stays.Events, stays.MinInterval = []config.Event{config.EventServerOut}, 0
		w.Apply([]config.Webhook{stays, hookAt("https://new.example/")})
		w.enqueue(serverOut("a"))
		w.enqueue(Message{Name: config.EventServerBack, Subject: "a"})
		close(r.blocking)
		synctest.Wait()
		if got := r.messages(); len(got) != 3+4+2 {
			t.Errorf("%d messages: %q", len(got), got)
		}
		closeWithTimeout(w)
	})
}

func TestWebhookClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &receiver{}
		w, _ := newTestWebhooks(r, hookAt("https://hooks.example/"))
		for range 3 {
			w.enqueue(serverOut("a"))
		}
		closeWithTimeout(w)
		if got := r.messages(); len(got) != 2 || !strings.Contains(got[1], `"repeated":1`) {
			t.Errorf("suppressed messages at the end: %q", got)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		w, log := newTestWebhooks(&receiver{blocking: make(chan struct{})}, hookAt("https://hooks.example/"))
		w.enqueue(serverOut("a"))
		began := time.Now()
		closeWithTimeout(w)
		if took := time.Since(began); took != 3*time.Second || !strings.Contains(log.String(), telemetry.WebhookFailed) {
			t.Errorf("Close took %s; log %q", took, log)
		}
	})
}

// TestWebhookFailureLog makes every delivery fail for half an hour: the log reports it once in ten
// minutes.
func TestWebhookFailureLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &receiver{}
		for range 1000 {
			r.responses = append(r.responses, respondWith(http.StatusNotFound))
		}
		w, log := newTestWebhooks(r, hookAt("https://hooks.example/"))
		for i := range 30 {
			w.enqueue(serverOut(fmt.Sprint(i)))
			time.Sleep(time.Minute)
		}
		closeWithTimeout(w)
		if n := strings.Count(log.String(), telemetry.WebhookFailed); n != 3 {
			t.Errorf("%d log lines, want 3", n)
		}
	})
}

func TestLimiterBounds(t *testing.T) {
	var l limiter
	now := time.Unix(1e9, 0)
	for i := range 3 * maxSubjects {
		l.admit(serverOut(fmt.Sprint(i)), time.Hour, now)
	}
	if len(l.subjects) > maxSubjects+1 {
		t.Errorf("%d subjects", len(l.subjects))
	}
	if l.admit(serverOut("new"), time.Hour, now) {
		t.Error("beyond the bound, subjects do not share a limit")
	}
	if !l.admit(serverOut("new"), time.Hour, now.Add(2*time.Hour)) {
		t.Error("expired limits are not removed")
	}
	if !l.admit(serverOut("new"), 0, now) {
		t.Error("suppressed without an interval")
	}
}
