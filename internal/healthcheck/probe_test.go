package healthcheck

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/config"
	"github.com/9bingyin/claude-code-lb/internal/event"
	"github.com/9bingyin/claude-code-lb/internal/telemetry"
	"github.com/9bingyin/claude-code-lb/internal/transport"
)

// fakeTarget records the reports of health checks. A report changes something unless unchanged is
// set.
type fakeTarget struct {
	unchanged bool
	reports   []string
}

func (p *fakeTarget) ProbePassed(time.Time) bool {
	p.reports = append(p.reports, "passed")
	return !p.unchanged
}

func (p *fakeTarget) ProbeFailed(since, now time.Time, reason string) bool {
	p.reports = append(p.reports, fmt.Sprintf("%s after %s", reason, now.Sub(since)))
	return !p.unchanged
}

// roundTripFunc is a transport in memory.
type roundTripFunc func(*http.Request) (*http.Response, error)

func (w roundTripFunc) RoundTrip(r *http.Request) (*http.Response, error) { return w(r) }

func respond(status int, body string, header ...string) roundTripFunc {
	return func(r *http.Request) (*http.Response, error) {
		h := http.Header{}
		for i := 0; i < len(header); i += 2 {
			h.Set(header[i], header[i+1])
		}
		return &http.Response{StatusCode: status, Header: h, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
	}
}

func planFor(t *testing.T, check config.HealthCheck) ProbePlan {
	t.Helper()
	s := relay("http://a.example/base", "token")
	s.HealthCheck = check
	return NewProbePlan(s)
}

// probeFor runs a prober for some time. It returns the prober's log; target has its reports.
func probeFor(t *testing.T, d time.Duration, plan ProbePlan, w roundTripFunc, target *fakeTarget) string {
	t.Helper()
	var lines bytes.Buffer
	log := slog.New(slog.NewTextHandler(&lines, &slog.HandlerOptions{Level: slog.LevelDebug}))
	synctest.Test(t, func(t *testing.T) {
		var wg sync.WaitGroup
		p := StartProber(t.Context(), &wg, event.NewBus(log), plan, w, target)
		time.Sleep(d)
		p.Stop()
		wg.Wait()
	})
	return lines.String()
}

const pong = `{"type":"message","id":"msg_1","model":"m","content":[],"stop_reason":"max_tokens","usage":{"input_tokens":8,"output_tokens":1}}`

func TestProbeOfPath(t *testing.T) {
	plan := planFor(t, config.HealthCheck{Path: "/health", Interval: time.Minute})
	f := func(name string, w roundTripFunc, want ...string) {
		t.Helper()
		target := &fakeTarget{}
		probeFor(t, 90*time.Second, plan, w, target)
		if got := strings.Join(target.reports, ", "); got != strings.Join(want, ", ") {
			t.Errorf("%s: reports %q, want %q", name, got, want)
		}
	}
	for _, status := range []int{200, 204, 302, 400, 401, 403, 404, 408, 429} {
		f(fmt.Sprint(status), respond(status, "anything"), "passed")
	}
	f("500", respond(500, ""), "health check: status 500 after 0s")
	f("503", respond(503, "<html>"), "health check: status 503 after 0s")
	f("529", respond(529, ""))
	f("reset", func(*http.Request) (*http.Response, error) { return nil, errors.New("connection reset") }, "health check: connection reset after 0s")
	f("silence", func(r *http.Request) (*http.Response, error) {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}, "health check: no response within 10s after 10s")
	f("cut body", func(r *http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: 200, Body: io.NopCloser(io.MultiReader(strings.NewReader("x"), errReader{}))}, nil
	}, "passed")
}

type errReader struct{}

func (errReader) Read([]byte) (int, error) { return 0, errors.New("connection reset") }

func TestProbeOfModel(t *testing.T) {
	plan := planFor(t, config.HealthCheck{Model: "claude-haiku", Interval: time.Minute})
	f := func(name string, w roundTripFunc, want ...string) {
		t.Helper()
		target := &fakeTarget{}
		probeFor(t, 90*time.Second, plan, w, target)
		if got := strings.Join(target.reports, ", "); got != strings.Join(want, ", ") {
			t.Errorf("%s: reports %q, want %q", name, got, want)
		}
	}
	problem := func(kind string) string {
		return fmt.Sprintf(`{"type":"error","error":{"type":%q,"message":"x"}}`, kind)
	}
	f("message", respond(200, pong), "passed")
	f("bad request", respond(400, problem("invalid_request_error")), "passed")
	f("bad key", respond(401, problem("authentication_error")), "passed")
	f("no money", respond(402, problem("billing_error")), "passed")
	f("no such model", respond(404, problem("not_found_error")), "passed")
	f("limited", respond(429, problem("rate_limit_error")), "passed")
	f("overloaded", respond(529, problem("overloaded_error")))
	f("overloaded inside a 200", respond(200, problem("overloaded_error")))
	f("broken inside a 200", respond(200, problem("api_error")), "health check: error event api_error after 0s")
	f("internal error", respond(500, problem("api_error")), "health check: status 500 api_error after 0s")
	f("login page", respond(200, "<html>please log in</html>"), "health check: unusable response: not a message after 0s")
	f("redirect", respond(302, "", "Location", "/login"), "health check: unusable response: status 302 after 0s")
	f("nothing", respond(200, ""), "health check: unusable response: not a message after 0s")
	f("compressed", respond(200, "\x1f\x8b", "Content-Encoding", "gzip"), "passed")
	f("cut body", func(r *http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: 200, Body: io.NopCloser(io.MultiReader(strings.NewReader(pong[:20]), errReader{}))}, nil
	}, "health check: connection reset after 0s")
	f("endless body", func(r *http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: 200, Body: io.NopCloser(endlessBody(' '))}, nil
	}, "health check: unusable response: not a message after 0s")
}

// endlessBody is a body without an end.
type endlessBody byte

func (b endlessBody) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(b)
	}
	return len(p), nil
}

func TestPauseAndLimit(t *testing.T) {
	f := func(check config.HealthCheck, random float64, pause, limit time.Duration) {
		t.Helper()
		check.Path = "/"
		plan := planFor(t, check)
		if p, l := plan.pause(random), plan.limit(); p != pause || l != limit {
			t.Errorf("%+v: pause %s, limit %s, want %s and %s", check, p, l, pause, limit)
		}
	}
	f(config.HealthCheck{Interval: time.Minute}, 0.9, time.Minute, 10*time.Second)
	f(config.HealthCheck{Interval: time.Minute, Jitter: 20}, 0, time.Minute, 10*time.Second)
	f(config.HealthCheck{Interval: time.Minute, Jitter: 20}, 0.5, 54*time.Second, 10*time.Second)
	f(config.HealthCheck{Interval: 5 * time.Second, Jitter: 100}, 0.5, 2500*time.Millisecond, 5*time.Second)
	f(config.HealthCheck{Interval: 100 * time.Millisecond}, 0, 100*time.Millisecond, time.Second)
}

func TestOneCheckAtATime(t *testing.T) {
	target := &fakeTarget{}
	running, checks := 0, 0
	slow := func(r *http.Request) (*http.Response, error) {
		running++
		checks++
		if running > 1 {
			t.Error("two checks at once")
		}
		time.Sleep(900 * time.Millisecond)
		running--
		return respond(200, "")(r)
	}
	plan := planFor(t, config.HealthCheck{Path: "/", Interval: 100 * time.Millisecond})
	probeFor(t, 5050*time.Millisecond, plan, slow, target)
	if checks != 5 || len(target.reports) != 5 {
		t.Errorf("%d checks made %d reports, want 5", checks, len(target.reports))
	}
}

func TestStoppedCheckReportsNothing(t *testing.T) {
	target := &fakeTarget{}
	hang := func(r *http.Request) (*http.Response, error) {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	if lines := probeFor(t, 65*time.Second, planFor(t, config.HealthCheck{Path: "/", Interval: time.Minute}), hang, target); len(target.reports) > 0 || lines != "" {
		t.Errorf("reports %q, log %q", target.reports, lines)
	}
	if probeFor(t, time.Hour, NewProbePlan(relay("http://a", "t")), hang, target); len(target.reports) > 0 {
		t.Errorf("without a health_check: reports %q", target.reports)
	}
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		StartProber(ctx, &wg, event.NewBus(slog.New(slog.DiscardHandler)), planFor(t, config.HealthCheck{Path: "/", Interval: time.Minute}), roundTripFunc(hang), target)
		cancel()
		wg.Wait()
	})
}

func TestChangesAreLogged(t *testing.T) {
	f := func(name string, w roundTripFunc, unchanged bool, want string) {
		t.Helper()
		plan := planFor(t, config.HealthCheck{Path: "/", Interval: time.Minute})
		line := probeFor(t, 90*time.Second, plan, w, &fakeTarget{unchanged: unchanged})
		if _, rest, _ := strings.Cut(line, " "); rest != want+"\n" {
			t.Errorf("%s: log %q, want %q", name, rest, want)
		}
	}
	f("back", respond(200, ""), false, fmt.Sprintf("level=INFO msg=%q server=a", telemetry.ProbePassed))
	f("still healthy", respond(200, ""), true, fmt.Sprintf(`level=DEBUG msg=%q server=a scope=none reason=""`, telemetry.ProbeDone))
	f("out", respond(503, ""), false, fmt.Sprintf(`level=WARN msg=%q server=a reason="status 503"`, telemetry.ProbeFailed))
	f("still failing", respond(503, ""), true, fmt.Sprintf(`level=DEBUG msg=%q server=a scope=endpoint reason="status 503"`, telemetry.ProbeDone))
	f("overloaded", respond(529, ""), false, fmt.Sprintf(`level=DEBUG msg=%q server=a scope=capacity reason="status 529"`, telemetry.ProbeDone))
}

func TestPlansCompare(t *testing.T) {
	f := func(change func(*config.Server), same bool) {
		t.Helper()
		s := relay("https://a.example/base", "sk-secret")
		s.HealthCheck = config.HealthCheck{Path: "/health", Interval: time.Minute}
		before := NewProbePlan(s)
		s = relay("https://a.example/base", "sk-secret")
		s.HealthCheck = config.HealthCheck{Path: "/health", Interval: time.Minute}
		change(&s)
		after := NewProbePlan(s)
		if (before == after) != same {
			t.Errorf("%+v and %+v: same is %t", before, after, !same)
		}
		if text := fmt.Sprintf("%v %+v %#v", after, after, after); strings.Contains(text, "sk-") {
			t.Errorf("a plan shows its token: %s", text)
		}
	}
	f(func(*config.Server) {}, true)
	f(func(s *config.Server) { s.Weight = 7 }, true)
	f(func(s *config.Server) { s.HealthCheck.Path = "/healthz" }, false)
	f(func(s *config.Server) { s.HealthCheck.Interval = time.Second }, false)
	f(func(s *config.Server) { s.Token = config.NewSecret("sk-other") }, false)
	f(func(s *config.Server) { s.HealthCheck = config.HealthCheck{} }, false)
}

// TestProbeRequests looks at the requests on a real connection.
func TestProbeRequests(t *testing.T) {
	received := make(chan *http.Request, 1)
	var body []byte
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ = io.ReadAll(r.Body)
		received <- r
		http.Redirect(w, r, "/elsewhere", http.StatusFound)
	}))
	defer s.Close()
	transport := transport.NewNetTransport(time.Second)
	defer transport.CloseIdleConnections()
	probe := func(check config.HealthCheck, token string) *http.Request {
		t.Helper()
		spec := relay(s.URL+"/base", token)
		check.Interval = time.Minute
		spec.HealthCheck = check
		p := &Prober{Plan: NewProbePlan(spec), transport: transport}
		p.probe(t.Context())
		return <-received
	}
	r := probe(config.HealthCheck{Path: "/health?deep=1"}, "sk-relay")
	if r.Method != http.MethodGet || r.URL.RequestURI() != "/base/health?deep=1" || r.Header.Get("Authorization") != "Bearer sk-relay" || len(body) > 0 {
		t.Errorf("path: %s %s %v %s", r.Method, r.URL, r.Header, body)
	}
	r = probe(config.HealthCheck{Model: `claude-"x"`}, "sk-ant-api03-a")
	if r.Method != http.MethodPost || r.URL.RequestURI() != "/base/v1/messages" || r.Header.Get("X-Api-Key") != "sk-ant-api03-a" || r.Header.Get("Anthropic-Version") == "" {
		t.Errorf("model: %s %s %v", r.Method, r.URL, r.Header)
	}
	if _, sent := r.Header["Idempotency-Key"]; sent {
		t.Error("the marker for net/http was sent")
	}
	var message struct {
		Model     string `json:"model"`
		MaxTokens int    `json:"max_tokens"`
		Messages  []any  `json:"messages"`
	}
	if err := json.Unmarshal(body, &message); err != nil || message.Model != `claude-"x"` || message.MaxTokens != 1 || len(message.Messages) != 1 {
		t.Errorf("body %s, %v", body, err)
	}
	if r = probe(config.HealthCheck{Path: "/"}, ""); r.Header.Get("Authorization")+r.Header.Get("X-Api-Key") != "" {
		t.Errorf("without a token: %v", r.Header)
	}
	select {
	case r := <-received:
		t.Errorf("a redirect was followed to %s", r.URL)
	default:
	}
}

// relay returns a server of the configuration.
func relay(base, token string) config.Server {
	u, err := url.Parse(base)
	if err != nil {
		panic(err)
	}
	return config.Server{Name: "a", URL: u, Weight: 1, Token: config.NewSecret(token), AuthHeader: config.AuthHeaderAuto}
}
