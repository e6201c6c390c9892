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

// patient records what checks told it. Every telling changes something unless it is stubborn.
type patient struct {
	stubborn bool
	told     []string
}

func (p *patient) ProbePassed(time.Time) bool {
	p.told = append(p.told, "passed")
	return !p.stubborn
}

func (p *patient) ProbeFailed(since, now time.Time, reason string) bool {
	p.told = append(p.told, fmt.Sprintf("%s after %s", reason, now.Sub(since)))
	return !p.stubborn
}

// wire is a transport in memory.
type wire func(*http.Request) (*http.Response, error)

func (w wire) RoundTrip(r *http.Request) (*http.Response, error) { return w(r) }

func answering(status int, body string, header ...string) wire {
	return func(r *http.Request) (*http.Response, error) {
		h := http.Header{}
		for i := 0; i < len(header); i += 2 {
			h.Set(header[i], header[i+1])
		}
		return &http.Response{StatusCode: status, Header: h, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
	}
}

func checked(t *testing.T, check config.HealthCheck) Probe {
	t.Helper()
	s := relay("http://a.example/base", "token")
	s.HealthCheck = check
	return PlanProbe(s)
}

// probeFor runs a prober for some time and returns what it told, and its log.
func probeFor(t *testing.T, d time.Duration, plan Probe, w wire, target *patient) string {
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

func TestVerdictOfAPath(t *testing.T) {
	plan := checked(t, config.HealthCheck{Path: "/health", Interval: time.Minute})
	f := func(name string, w wire, want ...string) {
		t.Helper()
		target := &patient{}
		probeFor(t, 90*time.Second, plan, w, target)
		if got := strings.Join(target.told, ", "); got != strings.Join(want, ", ") {
			t.Errorf("%s: told %q, want %q", name, got, want)
		}
	}
	for _, status := range []int{200, 204, 302, 400, 401, 403, 404, 408, 429} {
		f(fmt.Sprint(status), answering(status, "anything"), "passed")
	}
	f("500", answering(500, ""), "health check: status 500 after 0s")
	f("503", answering(503, "<html>"), "health check: status 503 after 0s")
	f("529", answering(529, ""))
	f("reset", func(*http.Request) (*http.Response, error) { return nil, errors.New("connection reset") }, "health check: connection reset after 0s")
	f("silence", func(r *http.Request) (*http.Response, error) {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}, "health check: no answer within 10s after 10s")
	f("cut body", func(r *http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: 200, Body: io.NopCloser(io.MultiReader(strings.NewReader("x"), errReader{}))}, nil
	}, "passed")
}

type errReader struct{}

func (errReader) Read([]byte) (int, error) { return 0, errors.New("connection reset") }

func TestVerdictOfAModel(t *testing.T) {
	plan := checked(t, config.HealthCheck{Model: "claude-haiku", Interval: time.Minute})
	f := func(name string, w wire, want ...string) {
		t.Helper()
		target := &patient{}
		probeFor(t, 90*time.Second, plan, w, target)
		if got := strings.Join(target.told, ", "); got != strings.Join(want, ", ") {
			t.Errorf("%s: told %q, want %q", name, got, want)
		}
	}
	problem := func(kind string) string {
		return fmt.Sprintf(`{"type":"error","error":{"type":%q,"message":"x"}}`, kind)
	}
	f("message", answering(200, pong), "passed")
	f("bad request", answering(400, problem("invalid_request_error")), "passed")
	f("bad key", answering(401, problem("authentication_error")), "passed")
	f("no money", answering(402, problem("billing_error")), "passed")
	f("no such model", answering(404, problem("not_found_error")), "passed")
	f("limited", answering(429, problem("rate_limit_error")), "passed")
	f("overloaded", answering(529, problem("overloaded_error")))
	f("overloaded inside a 200", answering(200, problem("overloaded_error")))
	f("broken inside a 200", answering(200, problem("api_error")), "health check: error event api_error after 0s")
	f("internal error", answering(500, problem("api_error")), "health check: status 500 api_error after 0s")
	f("login page", answering(200, "<html>please log in</html>"), "health check: unusable answer: not a message after 0s")
	f("redirect", answering(302, "", "Location", "/login"), "health check: unusable answer: status 302 after 0s")
	f("nothing", answering(200, ""), "health check: unusable answer: not a message after 0s")
	f("compressed", answering(200, "\x1f\x8b", "Content-Encoding", "gzip"), "passed")
	f("cut body", func(r *http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: 200, Body: io.NopCloser(io.MultiReader(strings.NewReader(pong[:20]), errReader{}))}, nil
	}, "health check: connection reset after 0s")
	f("endless body", func(r *http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: 200, Body: io.NopCloser(neverending(' '))}, nil
	}, "health check: unusable answer: not a message after 0s")
}

// neverending is a body without an end.
type neverending byte

func (b neverending) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(b)
	}
	return len(p), nil
}

func TestChecksAreTimed(t *testing.T) {
	f := func(check config.HealthCheck, random float64, pause, limit time.Duration) {
		t.Helper()
		check.Path = "/"
		plan := checked(t, check)
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

func TestChecksComeOneAfterTheOther(t *testing.T) {
	target := &patient{}
	running, asked := 0, 0
	slow := func(r *http.Request) (*http.Response, error) {
		running++
		asked++
		if running > 1 {
			t.Error("two checks at once")
		}
		time.Sleep(900 * time.Millisecond)
		running--
		return answering(200, "")(r)
	}
	plan := checked(t, config.HealthCheck{Path: "/", Interval: 100 * time.Millisecond})
	probeFor(t, 5050*time.Millisecond, plan, slow, target)
	if asked != 5 || len(target.told) != 5 {
		t.Errorf("%d checks told %d times, want 5", asked, len(target.told))
	}
}

func TestAStoppedCheckSaysNothing(t *testing.T) {
	target := &patient{}
	hang := func(r *http.Request) (*http.Response, error) {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	if lines := probeFor(t, 65*time.Second, checked(t, config.HealthCheck{Path: "/", Interval: time.Minute}), hang, target); len(target.told) > 0 || lines != "" {
		t.Errorf("told %q, log %q", target.told, lines)
	}
	if probeFor(t, time.Hour, PlanProbe(relay("http://a", "t")), hang, target); len(target.told) > 0 {
		t.Errorf("without a health_check: told %q", target.told)
	}
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		StartProber(ctx, &wg, event.NewBus(slog.New(slog.DiscardHandler)), checked(t, config.HealthCheck{Path: "/", Interval: time.Minute}), wire(hang), target)
		cancel()
		wg.Wait()
	})
}

func TestChecksAreLoggedOnChange(t *testing.T) {
	f := func(name string, w wire, stubborn bool, want string) {
		t.Helper()
		plan := checked(t, config.HealthCheck{Path: "/", Interval: time.Minute})
		line := probeFor(t, 90*time.Second, plan, w, &patient{stubborn: stubborn})
		if _, rest, _ := strings.Cut(line, " "); rest != want+"\n" {
			t.Errorf("%s: log %q, want %q", name, rest, want)
		}
	}
	f("back", answering(200, ""), false, fmt.Sprintf("level=INFO msg=%q server=a", telemetry.ProbePassed))
	f("well as ever", answering(200, ""), true, fmt.Sprintf(`level=DEBUG msg=%q server=a scope=none reason=""`, telemetry.ProbeDone))
	f("out", answering(503, ""), false, fmt.Sprintf(`level=WARN msg=%q server=a reason="status 503"`, telemetry.ProbeFailed))
	f("ill as ever", answering(503, ""), true, fmt.Sprintf(`level=DEBUG msg=%q server=a scope=endpoint reason="status 503"`, telemetry.ProbeDone))
	f("overloaded", answering(529, ""), false, fmt.Sprintf(`level=DEBUG msg=%q server=a scope=capacity reason="status 529"`, telemetry.ProbeDone))
}

func TestPlansAreComparable(t *testing.T) {
	f := func(change func(*config.Server), same bool) {
		t.Helper()
		s := relay("https://a.example/base", "sk-secret")
		s.HealthCheck = config.HealthCheck{Path: "/health", Interval: time.Minute}
		before := PlanProbe(s)
		s = relay("https://a.example/base", "sk-secret")
		s.HealthCheck = config.HealthCheck{Path: "/health", Interval: time.Minute}
		change(&s)
		after := PlanProbe(s)
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

// TestWhatIsAsked looks at the requests on a real connection.
func TestWhatIsAsked(t *testing.T) {
	asked := make(chan *http.Request, 1)
	var body []byte
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ = io.ReadAll(r.Body)
		asked <- r
		http.Redirect(w, r, "/elsewhere", http.StatusFound)
	}))
	defer s.Close()
	transport := transport.NewNetTransport(time.Second)
	defer transport.CloseIdleConnections()
	ask := func(check config.HealthCheck, token string) *http.Request {
		t.Helper()
		spec := relay(s.URL+"/base", token)
		check.Interval = time.Minute
		spec.HealthCheck = check
		p := &Prober{Plan: PlanProbe(spec), transport: transport}
		p.ask(t.Context())
		return <-asked
	}
	r := ask(config.HealthCheck{Path: "/health?deep=1"}, "sk-relay")
	if r.Method != http.MethodGet || r.URL.RequestURI() != "/base/health?deep=1" || r.Header.Get("Authorization") != "Bearer sk-relay" || len(body) > 0 {
		t.Errorf("path: %s %s %v %s", r.Method, r.URL, r.Header, body)
	}
	r = ask(config.HealthCheck{Model: `claude-"x"`}, "sk-ant-api03-a")
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
	if r = ask(config.HealthCheck{Path: "/"}, ""); r.Header.Get("Authorization")+r.Header.Get("X-Api-Key") != "" {
		t.Errorf("without a token: %v", r.Header)
	}
	select {
	case r := <-asked:
		t.Errorf("a redirect was followed to %s", r.URL)
	default:
	}
}

// relay is a server of the configuration.
func relay(base, token string) config.Server {
	u, err := url.Parse(base)
	if err != nil {
		panic(err)
	}
	return config.Server{Name: "a", URL: u, Weight: 1, Token: config.NewSecret(token), AuthHeader: config.AuthHeaderAuto}
}
