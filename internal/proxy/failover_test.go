package proxy

import (
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/config"
	"github.com/9bingyin/claude-code-lb/internal/ledger"
)

// sequence serves each request by the next handler, and all later ones by the last.
func sequence(answers ...http.HandlerFunc) http.HandlerFunc {
	var n atomic.Int64
	return func(w http.ResponseWriter, r *http.Request) {
		answers[min(int(n.Add(1)), len(answers))-1](w, r)
	}
}

// counted counts the requests that arrive.
func counted(n *atomic.Int64, h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		n.Add(1)
		h(w, r)
	}
}

func overloaded(header ...string) http.HandlerFunc {
	return respond(529, jsonType, `{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"},"request_id":"req_busy"}`, header...)
}

func limited(header ...string) http.HandlerFunc {
	return respond(429, jsonType, `{"type":"error","error":{"type":"rate_limit_error","message":"slow down"}}`, header...)
}

func whole(w http.ResponseWriter, r *http.Request) { stream(nil, wholeReply)(w, r) }

func TestWaitForAServerInCooldown(t *testing.T) {
	f := func(name string, patience time.Duration, first http.HandlerFunc, wantStatus, wantAttempts int) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, sequence(first, whole))
			r.settings.MaxWait = patience
			got := r.post("/v1/messages", streamBody)
			if e := r.last(); got.StatusCode != wantStatus || len(e.Attempts) != wantAttempts {
				t.Errorf("client got %d %q after %d attempts", got.StatusCode, got.Body, len(e.Attempts))
			}
		})
	}
	f("rate limit", 5*time.Second, limited("Retry-After-Ms", "50"), 200, 2)
	f("overloaded", 5*time.Second, overloaded("Retry-After-Ms", "50"), 200, 2)
	f("no patience", 0, overloaded("Retry-After-Ms", "50"), 529, 1)
	f("too long", 5*time.Second, limited("Retry-After", "7"), 429, 1)
}

func TestRetryAfterIsTheEarliestReturn(t *testing.T) {
	f := func(want string, upstreams ...http.HandlerFunc) {
		t.Helper()
		r := newRig(t, upstreams...)
		got := r.post("/v1/messages", streamBody)
		if got.Header.Get("Retry-After") != want || got.Header.Get("Retry-After-Ms") != "" {
			t.Errorf("%d: retry-after %q, want %q", got.StatusCode, got.Header.Get("Retry-After"), want)
		}
	}
	f("3600", limited("Retry-After", "3600"))
	f("20", limited("Retry-After", "3600"), limited("Retry-After", "20"))
	f("7", overloaded("Retry-After", "7"))
	f("10", respond(500, jsonType, "{}", "Retry-After-Ms", "100000"))
	f("10", func(http.ResponseWriter, *http.Request) { abort() })
}

func TestBestRefusalIsSent(t *testing.T) {
	busy, fault := overloaded("Retry-After", "30"), respond(500, jsonType, `{"type":"error","error":{"type":"api_error","message":"oops"}}`)
	badKey := respond(401, jsonType, `{"type":"error","error":{"type":"authentication_error","message":"invalid x-api-key"}}`)
	f := func(want int, upstreams ...http.HandlerFunc) {
		t.Helper()
		if got := newRig(t, upstreams...).post("/v1/messages", plainBody); got.StatusCode != want {
			t.Errorf("client got %d %q, want %d", got.StatusCode, got.Body, want)
		}
	}
	f(529, busy, fault)
	f(529, fault, busy)
	f(529, limited("Retry-After", "30"), busy, badKey)
	f(500, fault, badKey)
	f(503, badKey, badKey)
}

func TestAttemptsAreLimited(t *testing.T) {
	var n atomic.Int64
	fails := counted(&n, respond(500, jsonType, "{}"))
	r := newRig(t, fails, fails, fails, fails)
	r.settings.MaxAttempts = 2
	if got := r.post("/v1/messages", plainBody); got.StatusCode != 500 || n.Load() != 2 {
		t.Errorf("client got %d after %d attempts", got.StatusCode, n.Load())
	}
}

func TestTwoTimeoutsEndARequest(t *testing.T) {
	var n atomic.Int64
	hangs := counted(&n, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	r := newRig(t, hangs, hangs, hangs)
	r.settings.FirstContent = 30 * time.Millisecond
	got := r.post("/v1/messages", streamBody)
	if got.StatusCode != http.StatusGatewayTimeout || !strings.Contains(got.Body, "timeout_error") || n.Load() != 2 {
		t.Errorf("client got %d %q after %d attempts", got.StatusCode, got.Body, n.Load())
	}
}

func TestTotalTimeIsNotChargedToTheEndpoint(t *testing.T) {
	r := newRig(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	r.settings.Total = 30 * time.Millisecond
	if got := r.post("/v1/messages", streamBody); got.StatusCode != http.StatusGatewayTimeout {
		t.Errorf("client got %d %q", got.StatusCode, got.Body)
	}
	if e := r.last(); e.Outcome != ledger.Failed {
		t.Errorf("entry %+v", e)
	}
	if c := r.table.Counts(time.Now()); c.Available != 1 {
		t.Errorf("the endpoint got less than its own time limit and was charged: %+v", c)
	}
}

func TestRetriesBeyondTheBudgetGoToHealthyServersOnly(t *testing.T) {
	r := newRig(t, sequence(overloaded("Retry-After-Ms", "50"), whole))
	r.settings.MaxWait, r.settings.RetryFloor = 5*time.Second, 0
	if got := r.post("/v1/messages", streamBody); got.StatusCode != 529 {
		t.Errorf("a second pass without a budget: %d", got.StatusCode)
	}
	r = newRig(t, respond(500, jsonType, "{}"), whole)
	r.settings.RetryFloor = 0
	if got := r.post("/v1/messages", streamBody); got.StatusCode != 200 {
		t.Errorf("failover without a budget: %d", got.StatusCode)
	}
}

func TestRetryBudget(t *testing.T) {
	var b retryBudget
	now := time.Unix(1_000_000, 0)
	f := func(want bool) {
		t.Helper()
		if got := b.allows(now, 20, 2); got != want {
			t.Errorf("allows = %v, want %v", got, want)
		}
	}
	f(true)
	b.countRetry(now)
	f(true)
	b.countRetry(now)
	f(false)
	for range 15 {
		b.countRequest(now)
	}
	f(true)
	b.countRetry(now)
	f(false)
	now = now.Add(9 * time.Second)
	f(false)
	now = now.Add(time.Second)
	f(true)
}

func TestFailuresCausedByTheRequestAreForgiven(t *testing.T) {
	poison := `{"model":"claude-test","messages":[],"poison":true}`
	dies := func(how http.HandlerFunc) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			if strings.Contains(string(body), "poison") {
				how(w, r)
				return
			}
			respond(200, jsonType, plainReply)(w, r)
		}
	}
	for name, how := range map[string]http.HandlerFunc{
		"status": respond(500, jsonType, `{"type":"error","error":{"type":"api_error","message":"boom"}}`),
		"reset":  func(http.ResponseWriter, *http.Request) { abort() },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, dies(how), dies(how), dies(how))
			for range 3 { // clients repeat it byte for byte
				if got := r.post("/v1/messages", poison); got.StatusCode < 500 {
					t.Fatalf("client got %d", got.StatusCode)
				}
				if attempts := len(r.last().Attempts); attempts != 3 {
					t.Errorf("%d attempts", attempts)
				}
			}
			if c := r.table.Counts(time.Now()); c.Available != 3 {
				t.Errorf("counts %+v", c)
			}
			got := r.post("/v1/messages", plainBody)
			if e := r.last(); got.StatusCode != 200 || e.Server() != "a" {
				t.Errorf("a good request: %d from %s", got.StatusCode, e.Server())
			}
		})
	}
}

func TestOutageIsNotBlamedOnTheRequest(t *testing.T) {
	fails := respond(500, jsonType, "{}")
	r := newRig(t, fails, fails)
	r.post("/v1/messages", plainBody)
	r.post("/v1/messages", streamBody)
	if c := r.table.Counts(time.Now()); c.Available != 0 {
		t.Errorf("every request fails at every endpoint, but the counts are %+v", c)
	}
}

func TestAmbiguousRefusalNeedsASecondOne(t *testing.T) {
	page := respond(403, "text/html", "<html>blocked by a firewall</html>")
	odd := respond(418, "text/html", "<html>odd</html>")
	var n atomic.Int64
	r := newRig(t, counted(&n, odd), counted(&n, odd), counted(&n, whole))
	if got := r.post("/v1/messages", plainBody); got.StatusCode != 418 || got.Body != "<html>odd</html>" || n.Load() != 2 {
		t.Errorf("client got %d %q after %d attempts", got.StatusCode, got.Body, n.Load())
	}
	if c := r.table.Counts(time.Now()); c.Available != 3 {
		t.Errorf("an endpoint was charged: %+v", c)
	}
	r = newRig(t, odd, whole)
	if got := r.post("/v1/messages", streamBody); got.StatusCode != 200 {
		t.Errorf("only one refused: %d", got.StatusCode)
	}
	r = newRig(t, page, whole)
	if got := r.post("/v1/messages", streamBody); got.StatusCode != 200 {
		t.Errorf("a page of a firewall: %d", got.StatusCode)
	}
}

func TestBadClientCredentialChargesNoEndpoint(t *testing.T) {
	refuses := respond(401, jsonType, `{"type":"error","error":{"type":"authentication_error","message":"invalid x-api-key"}}`)
	tokenless := func(cfg *config.Config) {
		for i := range cfg.Servers {
			cfg.Servers[i].Token = config.Secret{}
		}
	}
	r := newRigWith(t, tokenless, refuses, refuses)
	r.settings.PassCredentials = true
	got := r.post("/v1/messages", plainBody)
	if got.StatusCode != 401 || !strings.Contains(got.Body, "invalid x-api-key") {
		t.Errorf("client got %d %q", got.StatusCode, got.Body)
	}
	if c := r.table.Counts(time.Now()); c.Available != 2 {
		t.Errorf("counts %+v", c)
	}
}

func TestTraceHeaderReturnsTheTrail(t *testing.T) {
	r := newRig(t, respond(503, jsonType, "{}"), whole)
	req, _ := http.NewRequestWithContext(t.Context(), "POST", r.front.URL+"/v1/messages", strings.NewReader(streamBody))
	req.Header.Set("X-Lb-Trace", "1")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	<-r.recorded
	h := res.Header
	if h.Get("X-Lb-Upstream") != "b" || h.Get("X-Lb-Attempts") != "2" || !strings.HasPrefix(h.Get("X-Lb-Reason"), "a: status 503 (endpoint) in ") || !strings.Contains(h.Get("X-Lb-Reason"), "; b: answered in ") {
		t.Errorf("headers %v", h)
	}
	if plain := r.post("/v1/messages", streamBody); plain.Header.Get("X-Lb-Upstream") != "" {
		t.Error("a trail without the request header")
	}
}

// TestTrailQuotesOddNames checks that the end of every server name is visible in the trail.
func TestTrailQuotesOddNames(t *testing.T) {
	f := func(name, upstream, reason string) {
		t.Helper()
		r := newRigWith(t, func(c *config.Config) { c.Servers[0].Name = name }, whole)
		req, _ := http.NewRequestWithContext(t.Context(), "POST", r.front.URL+"/v1/messages", strings.NewReader(streamBody))
		req.Header.Set("X-Lb-Trace", "1")
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		<-r.recorded
		if h := res.Header; h.Get("X-Lb-Upstream") != upstream || !strings.HasPrefix(h.Get("X-Lb-Reason"), reason+": answered in ") {
			t.Errorf("%s: headers %v", name, h)
		}
	}
	f("127.0.0.1:4001", "127.0.0.1:4001", "127.0.0.1:4001")
	f("b: answered in 1ms; c", "b: answered in 1ms; c", `"b: answered in 1ms; c"`)
	f(`"b:`, `"b:`, `"\"b:"`)
	f("主", `\u4e3b`, `\u4e3b`)
}

// TestUnknownModelIsTheClientsMistake checks that the client gets the 404, also if it repeats the
// request at once.
func TestUnknownModelIsTheClientsMistake(t *testing.T) {
	unknown := respond(404, jsonType, `{"type":"error","error":{"type":"not_found_error","message":"model: claude-test"}}`)
	for _, upstreams := range [][]http.HandlerFunc{{unknown}, {unknown, unknown}} {
		r := newRig(t, upstreams...)
		for i := range 3 {
			got := r.post("/v1/messages", streamBody)
			if got.StatusCode != 404 || !strings.Contains(got.Body, `"not_found_error","message":"model: claude-test`) {
				t.Errorf("request %d: client got %d %q", i, got.StatusCode, got.Body)
			}
			if e := r.last(); e.Outcome != ledger.Answered {
				t.Errorf("entry %+v", e)
			}
		}
		if got := r.post("/v1/messages", strings.Replace(streamBody, "claude-test", "claude-other", 1)); got.StatusCode != 404 || len(r.last().Attempts) != len(upstreams) {
			t.Errorf("another model: client got %d after %+v", got.StatusCode, r.last().Attempts)
		}
	}
	r := newRig(t, unknown, overloaded("Retry-After", "30"))
	if got := r.post("/v1/messages", streamBody); got.StatusCode != 529 || r.last().Outcome != ledger.Failed {
		t.Errorf("client got %d, entry %+v", got.StatusCode, r.last())
	}
}

func TestHedge(t *testing.T) {
	release := make(chan struct{})
	slow := func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
			whole(w, r)
		case <-r.Context().Done():
		}
	}
	learned := make([]http.HandlerFunc, 0, 12)
	for range 8 {
		learned = append(learned, whole)
	}
	r := newRig(t, sequence(append(learned, slow, whole)...), whole)
	r.settings.Hedge = true
	for range 8 {
		r.post("/v1/messages", streamBody)
	}
	got := r.post("/v1/messages", streamBody)
	close(release)
	e := r.last()
	if got.Body != wholeReply || len(e.Attempts) != 2 || e.Server() != "b" || e.Outcome != ledger.Answered {
		t.Fatalf("client got %q, entry %+v", got.Body, e)
	}
	if reason := e.Attempts[0].Reason; reason != "another upstream was faster" || e.Attempts[0].Server != "a" {
		t.Errorf("the slower attempt: %+v", e.Attempts[0])
	}
	if c := r.table.Counts(time.Now()); c.Available != 2 {
		t.Errorf("the slower endpoint was charged: %+v", c)
	}
}
