package proxy

import (
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/claude"
)

const planError = `{"type":"error","error":{"type":"rate_limit_error","message":"This request would exceed your account's rate limit."},"request_id":"req_other_client"}`

// planUsedUp is the refusal of a subscription whose window ends after some seconds.
func planUsedUp(seconds int, claim string) http.HandlerFunc {
	return respond(429, jsonType, planError, "Retry-After", strconv.Itoa(seconds), "X-Should-Retry", "false", "Request-Id", "req_other_client",
		"Anthropic-Ratelimit-Unified-Status", "rejected", "Anthropic-Ratelimit-Unified-Representative-Claim", claim,
		"Anthropic-Ratelimit-Unified-Reset", strconv.FormatInt(time.Now().Add(time.Duration(seconds)*time.Second).Unix(), 10))
}

// checkPlanError checks that a reply is an upstream's complete refusal, with a wait of about some
// seconds.
func checkPlanError(t *testing.T, got reply, seconds int, body string) {
	t.Helper()
	wait, err := strconv.Atoi(got.Header.Get("Retry-After"))
	if got.StatusCode != 429 || got.Body != body || got.Header.Get("X-Should-Retry") != "false" || got.Header.Get("Anthropic-Ratelimit-Unified-Status") != "rejected" {
		t.Errorf("client got %d %v %s", got.StatusCode, got.Header, got.Body)
	}
	if err != nil || wait > seconds+1 || wait < seconds-30 {
		t.Errorf("retry-after %q, want about %d", got.Header.Get("Retry-After"), seconds)
	}
}

func TestExhaustedPoolSendsTheUpstreamsRefusal(t *testing.T) {
	for _, body := range []string{streamBody, plainBody} {
		var asked atomic.Int64
		r := newRig(t, counted(&asked, planUsedUp(7200, "seven_day")), counted(&asked, planUsedUp(3600, "five_hour")), counted(&asked, planUsedUp(90000, "seven_day")))
		checkPlanError(t, r.post("/v1/messages", body), 3600, planError)
		if asked.Load() != 3 {
			t.Errorf("%d upstreams were asked", asked.Load())
		}
		// The next client gets the same refusal with its own id, although no upstream is asked.
		for range 3 {
			asked.Store(0)
			if got := r.post("/v1/messages", body); asked.Load() == 0 {
				checkPlanError(t, got, 3600, strings.Replace(planError, "req_other_client", "req_lb_test", 1))
				if got.Header.Get("Request-Id") != "req_lb_test" {
					t.Errorf("request id %q", got.Header.Get("Request-Id"))
				}
			}
		}
	}
}

func TestFamilyLimitIsRelayedUnchanged(t *testing.T) {
	r := newRig(t, planUsedUp(90000, "seven_day_opus"))
	checkPlanError(t, r.post("/v1/messages", strings.Replace(plainBody, "claude-test", "claude-opus-4-5", 1)), 90000, planError)
	checkPlanError(t, newRig(t, planUsedUp(90, "five_hour")).post("/v1/messages", plainBody), 90, planError)
}

func TestMixedPools(t *testing.T) {
	usedUp := planUsedUp(3600, "five_hour")
	badKey := respond(401, jsonType, `{"type":"error","error":{"type":"authentication_error","message":"invalid x-api-key"}}`)
	noModel := respond(503, jsonType, `{"error":{"code":"model_not_found","message":"No available channel for model claude-test"}}`)
	fault := respond(500, jsonType, `{"type":"error","error":{"type":"api_error","message":"oops"}}`)
	noCredit := respond(402, jsonType, `{"error":{"message":"Insufficient Balance"}}`)
	gone := func(http.ResponseWriter, *http.Request) { abort() }
	f := func(status int, text string, upstreams ...http.HandlerFunc) {
		t.Helper()
		for _, order := range [][]http.HandlerFunc{upstreams, {upstreams[1], upstreams[0]}} {
			got := newRig(t, order...).post("/v1/messages", plainBody)
			if got.StatusCode != status || !strings.Contains(got.Body, text) {
				t.Errorf("client got %d %s, want %d and %q", got.StatusCode, got.Body, status, text)
			}
		}
	}
	f(429, "account's rate limit", usedUp, badKey)
	f(429, "account's rate limit", usedUp, noModel)
	f(429, "account's rate limit", usedUp, noCredit)
	f(529, "Overloaded", usedUp, overloaded("Retry-After", "30"))
	f(429, "slow down", usedUp, limited("Retry-After", "30"))
	f(500, "oops", usedUp, fault)
	f(503, "Every upstream failed (2 tried)", usedUp, gone)
	f(404, "model: claude-test", noModel, badKey)
	f(404, "model: claude-test", noModel, noModel)
	f(503, "has no credit or quota left", noCredit, noCredit)
	f(503, "refused its credential: check", badKey, badKey)
	f(503, "refused its credential or account", noCredit, badKey)
}

// TestLongLimitOfOneModelIsRelayed covers a limit that names neither a window nor a bucket. It
// concerns the model, however long it lasts.
func TestLongLimitOfOneModelIsRelayed(t *testing.T) {
	r := newRig(t, limited("Retry-After", "7200", "X-Should-Retry", "true"))
	for range 2 {
		got := r.post("/v1/messages", plainBody)
		if wait, err := strconv.Atoi(got.Header.Get("Retry-After")); got.StatusCode != 429 || !strings.Contains(got.Body, "slow down") || err != nil || wait < 7100 {
			t.Errorf("client got %d %v %s", got.StatusCode, got.Header, got.Body)
		}
	}
}

// TestGatewayCapIsRelayed covers a gateway's cap, which has x-should-retry: false and no end.
func TestGatewayCapIsRelayed(t *testing.T) {
	const body = `{"type":"error","error":{"type":"billing_error","message":"Spend limit reached: resets Aug 8"}}`
	spent := respond(429, jsonType, body, "X-Should-Retry", "false")
	r := newRig(t, spent, spent)
	for range 2 {
		got := r.post("/v1/messages", streamBody)
		if got.StatusCode != 429 || got.Body != body || got.Header.Get("X-Should-Retry") != "false" || got.Header.Get("Retry-After") != "" {
			t.Errorf("client got %d %v %s", got.StatusCode, got.Header, got.Body)
		}
	}
}

func TestFinalErrorsPreventRetries(t *testing.T) {
	badKey := respond(401, jsonType, `{"type":"error","error":{"type":"authentication_error","message":"invalid x-api-key"}}`)
	r := newRig(t, badKey)
	for range 2 { // the second one makes no attempt
		if got := r.post("/v1/messages", plainBody); got.StatusCode != 503 || got.Header.Get("X-Should-Retry") != "false" || !strings.Contains(got.Body, "credential") {
			t.Errorf("client got %d %v %s", got.StatusCode, got.Header, got.Body)
		}
	}
}

// TestExhaustedPoolInAnOpenStream checks that a stream that comments have opened ends with the
// upstream's error.
func TestExhaustedPoolInAnOpenStream(t *testing.T) {
	l := late{make(chan struct{})}
	r := newRig(t, l.answer(planUsedUp(3600, "five_hour")))
	r.settings.StreamKeepalive = 20 * time.Millisecond
	_, body := r.postAndListen(l)
	_, data, _ := strings.Cut(body, "event: error\ndata: ")
	data, _, _ = strings.Cut(data, "\n")
	if e, ok := claude.ParseError([]byte(data)); !ok || e.Type != claude.ErrRateLimit || !strings.Contains(e.Message, "account's rate limit") || e.RequestID != "req_lb_test" {
		t.Errorf("client got %q", body)
	}
}

func TestFastModeLimitsAreNotWaitedFor(t *testing.T) {
	const body = `{"type":"error","error":{"type":"rate_limit_error","message":"This would exceed your rate limit of 0 fast mode input tokens per minute."}}`
	var asked atomic.Int64
	up := counted(&asked, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Fast") != "" {
			respond(429, jsonType, body, "Retry-After", "30", "Anthropic-Fast-Input-Tokens-Limit", "0")(w, r)
			return
		}
		respond(200, jsonType, plainReply)(w, r)
	})
	r := newRig(t, up, up)
	r.settings.MaxWait = time.Minute
	fast := strings.Replace(plainBody, "{", `{"speed":"fast",`, 1)
	send := func(body, header string) reply {
		t.Helper()
		req, err := http.NewRequest("POST", r.front.URL+"/v1/messages", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Fast", header)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		<-r.recorded
		return reply{Response: res}
	}
	for i := range 4 { // one attempt at each endpoint, and then none
		before := asked.Load()
		if got := send(fast, "1"); got.StatusCode != 429 || asked.Load() > before+1 || r.last().Waited > 0 {
			t.Errorf("fast request %d: status %d after %d attempts and a wait of %s", i, got.StatusCode, asked.Load()-before, r.last().Waited)
		}
	}
	got, e := send(plainBody, ""), r.last()
	if got.StatusCode != 200 || len(e.Attempts) != 1 || e.Server() != "a" {
		t.Errorf("a plain request: status %d, %+v", got.StatusCode, e.Attempts)
	}
}

func TestErrorsNameTheCommonCause(t *testing.T) {
	page := respond(403, "text/html", "<!DOCTYPE html><title>Just a moment...</title>", "Cf-Mitigated", "challenge")
	login := respond(200, "text/html", "<html>log in</html>")
	noRoute := respond(404, "text/plain", "404 page not found")
	fault := respond(404, jsonType, `{"detail":"Not Found"}`)
	f := func(text string, upstreams ...http.HandlerFunc) {
		t.Helper()
		for _, body := range []string{streamBody, plainBody} {
			got := newRig(t, upstreams...).post("/v1/messages", body)
			if e, ok := claude.ParseError([]byte(got.Body)); got.StatusCode != 503 || !ok || !strings.Contains(e.Message, text) || strings.Contains(e.Message, "127.0.0.1") || strings.Contains(e.Message, "token") {
				t.Errorf("client got %d %s, want %q", got.StatusCode, got.Body, text)
			}
		}
	}
	f("answered with a web page", page)
	f("answered with a web page", page, login)
	f("does not offer /v1/messages", noRoute, fault)
	f("Every upstream failed (2 tried)", noRoute, page)

	r := newRig(t, noRoute, noRoute)
	for range 4 { // some of them while no endpoint is available
		if got := r.post("/v1/messages", plainBody); !strings.Contains(got.Body, "does not offer /v1/messages") {
			t.Errorf("client got %s", got.Body)
		}
	}
}

// TestRefusalsWithStatus200 checks that a vendor's refusal with status 200 is understood.
func TestRefusalsWithStatus200(t *testing.T) {
	f := func(scope, body string) {
		t.Helper()
		r := newRig(t, respond(200, jsonType, body), respond(200, jsonType, plainReply))
		got, e := r.post("/v1/messages", plainBody), r.last()
		if got.StatusCode != 200 || len(e.Attempts) != 2 || e.Attempts[0].Scope != scope {
			t.Errorf("%s: status %d, %+v", body, got.StatusCode, e.Attempts)
		}
	}
	f("account", `{"code":500,"msg":"账户余额不足"}`)
	f("model", `{"success":false,"message":"model claude-test is not supported"}`)
	f("capacity", `{"code":503,"msg":"上游负载已饱和"}`)
	f("endpoint", `{"code":500,"msg":"oops"}`)
	f("endpoint", `{}`)
}

// TestOverloadIsWaitedForOnce checks that the balancer waits once for a model that is overloaded
// everywhere. After that, clients get the 529 at once, and those with a fallback model use it.
func TestOverloadIsWaitedForOnce(t *testing.T) {
	busy := overloaded("Retry-After-Ms", "100")
	r := newRig(t, busy, busy)
	r.settings.MaxWait = time.Minute
	got, e := r.post("/v1/messages", streamBody), r.last()
	if got.StatusCode != 529 || len(e.Attempts) < 2 || len(e.Attempts) > 4 || e.Waited == 0 {
		t.Errorf("the first: status %d after %d attempts and a wait of %s", got.StatusCode, len(e.Attempts), e.Waited)
	}
	for range 2 {
		got, e = r.post("/v1/messages", streamBody), r.last()
		if got.StatusCode != 529 || e.Waited > 100*time.Millisecond {
			t.Errorf("later: status %d after %d attempts and a wait of %s", got.StatusCode, len(e.Attempts), e.Waited)
		}
	}
}
