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
	mu       sync.Mutex
	answers  []func(*http.Request) (*http.Response, error) // in turn; afterwards every message is accepted
	times    []time.Time
	ids      []string
	bodies   []string
	blocking chan struct{} // unless nil, every message waits for it
}

func (r *receiver) RoundTrip(req *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	r.times, r.ids, r.bodies = append(r.times, time.Now()), append(r.ids, req.Header.Get("Webhook-Id")), append(r.bodies, string(body))
	answer := replies(http.StatusOK)
	if len(r.answers) > 0 {
		answer, r.answers = r.answers[0], r.answers[1:]
	}
	r.mu.Unlock()
	if r.blocking != nil {
		select {
		case <-r.blocking:
		case <-req.Context().Done():
			return nil, req.Context().Err()
		}
	}
	return answer(req)
}

func (r *receiver) got() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string{}, r.bodies...)
}

func replies(status int, header ...string) func(*http.Request) (*http.Response, error) {
	return func(req *http.Request) (*http.Response, error) {
		res := &http.Response{StatusCode: status, Header: http.Header{}, Body: http.NoBody, Request: req}
		for i := 0; i+1 < len(header); i += 2 {
			res.Header.Set(header[i], header[i+1])
		}
		return res, nil
	}
}

func breaks(*http.Request) (*http.Response, error) { return nil, errors.New("connection reset") }

// notified returns a Webhooks with webhooks and a log, inside a synctest bubble.
func notified(r *receiver, hooks ...config.Webhook) (*Webhooks, *bytes.Buffer) {
	var log bytes.Buffer
	w := newWebhooks(slog.New(slog.NewTextHandler(&log, nil)), newSender("test-host", r))
	w.Apply(hooks)
	return w, &log
}

func hookAt(url string) config.Webhook {
	return config.Webhook{URL: config.NewSecret(url), Format: config.WebhookJSON, MinInterval: time.Minute}
}

func out(server string) Message {
	return Message{Name: config.EventServerOut, Time: time.Now(), Text: "Server " + server + " is out.", Subject: server, Facts: []Fact{{telemetry.Server, server}}}
}

func closeSoon(w *Webhooks) {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	w.Close(ctx)
}

func TestWebhookTriesAgain(t *testing.T) {
	f := func(name string, wantTries int, logged bool, least, most time.Duration, answers ...func(*http.Request) (*http.Response, error)) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			r := &receiver{answers: answers}
			w, log := notified(r, hookAt("https://hooks.example/T0/secret-token-1"))
			w.queue(out("a"))
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
			closeSoon(w)
		})
	}
	busy := replies(http.StatusServiceUnavailable)
	f("at once", 1, false, 0, 0)
	f("second", 2, false, 500*time.Millisecond, 1500*time.Millisecond, busy)
	f("network", 2, false, 500*time.Millisecond, 1500*time.Millisecond, breaks)
	f("given up", 5, true, 7500*time.Millisecond, 22500*time.Millisecond, busy, breaks, busy, replies(http.StatusTooManyRequests), busy, busy)
	f("asked to wait", 2, false, 90*time.Second, 90*time.Second, replies(http.StatusTooManyRequests, "Retry-After", "90"))
	f("asked to wait for ever", 2, false, maxRetryAfter, maxRetryAfter, replies(http.StatusTooManyRequests, "Retry-After", "86400"))
	f("gone", 1, true, 0, 0, replies(http.StatusGone))
	f("sent elsewhere", 1, true, 0, 0, replies(http.StatusTemporaryRedirect, "Location", "https://elsewhere.example/"))
	f("made a GET", 1, true, 0, 0, replies(http.StatusFound, "Location", "/T0/other"))
	f("sent on", 2, false, 0, 0, replies(http.StatusPermanentRedirect, "Location", "/T0/other"))
}

func TestWebhookSumsUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &receiver{}
		w, _ := notified(r, hookAt("https://hooks.example/"))
		for range 5 {
			w.queue(out("a"))
			time.Sleep(time.Second)
		}
		w.queue(out("b"))
		synctest.Wait()
		if got := r.got(); len(got) != 2 {
			t.Fatalf("within the interval: %q", got)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		got := r.got()
		if len(got) != 3 || !strings.Contains(got[2], `"repeated":3,"server":"a","since":"2000-01-01T00:00:01Z"`) {
			t.Errorf("after it: %q", got)
		}
		time.Sleep(time.Hour)
		w.queue(out("a"))
		synctest.Wait()
		if got := r.got(); len(got) != 4 || strings.Contains(got[3], "repeated") {
			t.Errorf("long after: %q", got)
		}
		closeSoon(w)
	})
}

func TestWebhookEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &receiver{}
		only := hookAt("https://hooks.example/")
		only.Events = []config.Event{config.EventBalanceLow}
		w, _ := notified(r, only)
		w.queue(out("a"))
		w.queue(Message{Name: config.EventBalanceLow})
		closeSoon(w)
		if got := r.got(); len(got) != 1 || !strings.Contains(got[0], "balance_low") {
			t.Errorf("%q", got)
		}
		w.queue(Message{Name: config.EventBalanceLow})
		w.Apply([]config.Webhook{only})
		if len(r.got()) != 1 {
			t.Error("message after the end")
		}
	})
}

// TestWebhookQueue blocks the receiver until the queue is full.
func TestWebhookQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &receiver{blocking: make(chan struct{})}
		hook := hookAt("https://hooks.example/very-secret-path")
		w, log := notified(r, hook)
		w.queue(out("first"))
		synctest.Wait()
		for i := range maxQueued + 44 {
			w.queue(out(fmt.Sprint(i)))
		}
		close(r.blocking)
		synctest.Wait()
		if got := r.got(); len(got) != 1+maxQueued {
			t.Errorf("%d messages", len(got))
		}
		if s := log.String(); !strings.Contains(s, "dropped=44") || strings.Contains(s, "secret") || !strings.Contains(s, "hooks.example") {
			t.Errorf("log %q", s)
		}
		closeSoon(w)
	})
}

// TestWebhookReload changes the configuration while messages are queued, for webhooks that stay and
// for one that is removed.
func TestWebhookReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &receiver{blocking: make(chan struct{})}
		stays, goes := hookAt("https://stays.example/"), hookAt("https://goes.example/")
		w, _ := notified(r, goes, stays)
		for _, server := range []string{"a", "b", "c"} {
			w.queue(out(server))
		}
		synctest.Wait()
		stays.Events, stays.MinInterval = []config.Event{config.EventServerOut}, 0
		w.Apply([]config.Webhook{stays, hookAt("https://new.example/")})
		w.queue(out("a"))
		w.queue(Message{Name: config.EventServerBack, Subject: "a"})
		close(r.blocking)
		synctest.Wait()
		if got := r.got(); len(got) != 3+4+2 {
			t.Errorf("%d messages: %q", len(got), got)
		}
		closeSoon(w)
	})
}

func TestWebhookEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &receiver{}
		w, _ := notified(r, hookAt("https://hooks.example/"))
		for range 3 {
			w.queue(out("a"))
		}
		closeSoon(w)
		if got := r.got(); len(got) != 2 || !strings.Contains(got[1], `"repeated":1`) {
			t.Errorf("suppressed messages at the end: %q", got)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		w, log := notified(&receiver{blocking: make(chan struct{})}, hookAt("https://hooks.example/"))
		w.queue(out("a"))
		began := time.Now()
		closeSoon(w)
		if took := time.Since(began); took != 3*time.Second || !strings.Contains(log.String(), telemetry.WebhookFailed) {
			t.Errorf("the end took %s; log %q", took, log)
		}
	})
}

// TestWebhookComplaints makes every delivery fail for half an hour: the log reports it once in ten
// minutes.
func TestWebhookComplaints(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &receiver{}
		for range 1000 {
			r.answers = append(r.answers, replies(http.StatusNotFound))
		}
		w, log := notified(r, hookAt("https://hooks.example/"))
		for i := range 30 {
			w.queue(out(fmt.Sprint(i)))
			time.Sleep(time.Minute)
		}
		closeSoon(w)
		if n := strings.Count(log.String(), telemetry.WebhookFailed); n != 3 {
			t.Errorf("%d complaints", n)
		}
	})
}

func TestLimiterBounds(t *testing.T) {
	var l limiter
	now := time.Unix(1e9, 0)
	for i := range 3 * maxSubjects {
		l.admit(out(fmt.Sprint(i)), time.Hour, now)
	}
	if len(l.held) > maxSubjects+1 {
		t.Errorf("%d subjects", len(l.held))
	}
	if l.admit(out("new"), time.Hour, now) {
		t.Error("beyond the bound, subjects do not share a limit")
	}
	if !l.admit(out("new"), time.Hour, now.Add(2*time.Hour)) {
		t.Error("expired limits are not removed")
	}
	if !l.admit(out("new"), 0, now) {
		t.Error("suppressed without an interval")
	}
}
