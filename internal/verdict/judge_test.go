package verdict

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/textproto"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/claude"
	"github.com/9bingyin/claude-code-lb/internal/config"
)

const anyModel = "claude-opus-4-5"

func failure(kind claude.ErrorType, message string) *claude.Error {
	return &claude.Error{Type: kind, Message: message}
}

func TestJudgeAnswers(t *testing.T) {
	f := func(status int, e *claude.Error, want Scope, rest time.Duration, header ...string) {
		t.Helper()
		ev := Evidence{Status: status, Header: http.Header{}, Error: e, Model: anyModel, Now: t0}
		for i := 0; i < len(header); i += 2 {
			ev.Header.Set(header[i], header[i+1])
		}
		if got := Judge(ev); got.Scope != want || got.RetryAfter != rest || got.Ambiguous {
			t.Errorf("%d %+v %v: %+v, want %v for %v", status, e, header, got, want, rest)
		}
	}
	const day = 24 * time.Hour
	at := func(after time.Duration) string { return t0.Add(after).Format(time.RFC3339) }
	unix := func(after time.Duration) string { return fmt.Sprint(t0.Add(after).Unix()) }
	invalid := func(message string) *claude.Error { return failure(claude.ErrInvalidRequest, message) }

	f(200, nil, ScopeNone, 0)
	f(302, nil, ScopeNone, 0)

	// The request is at fault.
	f(400, invalid("prompt is too long: 210000 tokens > 200000 maximum"), ScopeRequest, 0)
	f(400, invalid("messages.1.content.0: thinking block is bound to a different conversation"), ScopeRequest, 0, "Retry-After", "9")
	f(404, failure(claude.ErrNotFound, "Not found"), ScopeRequest, 0)
	f(409, failure(claude.ErrConflict, "conflict"), ScopeRequest, 0)
	f(413, failure(claude.ErrTooLarge, "Request exceeds the maximum size"), ScopeRequest, 0)
	f(422, invalid("max_tokens: too large"), ScopeRequest, 0)
	f(400, invalid("tools.0.name: 'credit balance is too low' is no name"), ScopeRequest, 0)
	f(200, invalid("x"), ScopeRequest, 0)

	// The key is at fault.
	f(401, failure(claude.ErrAuthentication, "invalid x-api-key"), ScopeCredential, 0)
	f(401, nil, ScopeCredential, 0)
	f(403, failure(claude.ErrPermission, "Your API key does not have permission"), ScopeCredential, 0)
	f(400, invalid("You have reached your specified workspace API usage limits."), ScopeCredential, 30*day+12*time.Hour)
	f(400, invalid("You have reached your specified workspace API usage limits. You will regain access on 2026-01-03 at 12:00 UTC."), ScopeCredential, 2*day)
	f(200, failure(claude.ErrAuthentication, "x"), ScopeCredential, 0)

	// The account is at fault.
	f(402, failure(claude.ErrBilling, "payment"), ScopeAccount, 0)
	f(400, invalid("Your credit balance is too low to access the Anthropic API."), ScopeAccount, 0)
	f(400, invalid("This organization has been disabled."), ScopeAccount, 0)
	f(400, invalid("You have reached your specified API usage limits. You will regain access on 2026-01-03 at 12:00 UTC."), ScopeAccount, 2*day)
	f(400, invalid("You have reached your specified API usage limits."), ScopeAccount, 30*day+12*time.Hour)
	f(429, &claude.Error{Type: claude.ErrRateLimit, Code: "enforced_spend_limit_reached"}, ScopeAccount, 30*day+12*time.Hour)
	f(429, failure(claude.ErrRateLimit, "Your monthly spend limit is reached"), ScopeAccount, 30*day+12*time.Hour)
	f(403, &claude.Error{Type: claude.ErrPermission, Code: "oauth_not_allowed_for_organization"}, ScopeAccount, 0)
	f(429, failure(claude.ErrRateLimit, "limit"), ScopeAccount, 3*time.Hour,
		"Anthropic-Ratelimit-Unified-Status", "rejected", "Anthropic-Ratelimit-Unified-Reset", unix(3*time.Hour), "X-Should-Retry", "true")
	f(429, failure(claude.ErrRateLimit, "limit"), ScopeAccount, 5*day,
		"Anthropic-Ratelimit-Unified-Status", "rejected", "Anthropic-Ratelimit-Unified-Reset", unix(3*time.Hour),
		"Anthropic-Ratelimit-Unified-7d-Status", "rejected", "Anthropic-Ratelimit-Unified-7d-Reset", unix(5*day), "Retry-After", "10")
	f(429, failure(claude.ErrRateLimit, "limit"), ScopeAccount, 4*time.Hour, "Retry-After", "14400",
		"Anthropic-Ratelimit-Unified-Status", "rejected", "Anthropic-Ratelimit-Unified-5h-Status", "rejected", "Anthropic-Ratelimit-Unified-5h-Reset", unix(3*time.Hour))
	f(429, failure(claude.ErrRateLimit, "limit"), ScopeAccount, 0, "Anthropic-Ratelimit-Unified-Status", "rejected", "Anthropic-Ratelimit-Unified-Reset", unix(-time.Hour))

	// The model is not available.
	f(404, failure(claude.ErrNotFound, "model: claude-opus-4-5"), ScopeModel, 0)
	f(403, failure(claude.ErrPermission, "Your account may not use Claude-Opus-4-5 yet"), ScopeModel, 0)
	f(429, failure(claude.ErrRateLimit, "limit"), ScopeModel, 5*time.Second, "X-Should-Retry", "true")
	f(429, failure(claude.ErrRateLimit, "limit"), ScopeModel, 2*time.Second, "X-Should-Retry", "true", "Retry-After", "2")

	// The rate limit is reached.
	f(429, failure(claude.ErrRateLimit, "This would exceed the workspace spend limit"), ScopeRateLimit, 60*time.Second, "Retry-After", "60")
	f(429, failure(claude.ErrRateLimit, "limit"), ScopeRateLimit, 250*time.Millisecond, "Retry-After-Ms", "250", "Retry-After", "1")
	f(429, failure(claude.ErrRateLimit, "limit"), ScopeRateLimit, 0, "X-Should-Retry", "true", "Anthropic-Ratelimit-Unified-7d_oi-Status", "rejected")
	f(429, failure(claude.ErrRateLimit, "limit"), ScopeRateLimit, 9*time.Second, "Retry-After", "9",
		"Anthropic-Ratelimit-Unified-Status", "allowed", "Anthropic-Ratelimit-Unified-Reset", unix(3*time.Hour))
	f(429, failure(claude.ErrRateLimit, "limit"), ScopeRateLimit, 7*time.Second, "Retry-After", "7")
	f(429, nil, ScopeRateLimit, 0)
	f(429, failure(claude.ErrRateLimit, "limit"), ScopeRateLimit, 7*time.Second, "Retry-After", "7", "X-Should-Retry", "true", "Anthropic-Ratelimit-Requests-Limit", "50",
		"Anthropic-Ratelimit-Requests-Remaining", "0", "Anthropic-Ratelimit-Requests-Reset", at(time.Minute))
	f(429, failure(claude.ErrRateLimit, "limit"), ScopeRateLimit, 40*time.Second,
		"Anthropic-Ratelimit-Input-Tokens-Limit", "50", "Anthropic-Ratelimit-Input-Tokens-Remaining", "0", "Anthropic-Ratelimit-Input-Tokens-Reset", at(40*time.Second),
		"Anthropic-Ratelimit-Requests-Limit", "50", "Anthropic-Ratelimit-Requests-Remaining", "49", "Anthropic-Ratelimit-Requests-Reset", at(time.Minute))

	// The service is overloaded.
	f(529, failure(claude.ErrOverloaded, "Overloaded"), ScopeCapacity, 0)
	f(529, nil, ScopeCapacity, 4*time.Second, "Retry-After", "4")
	f(503, failure(claude.ErrOverloaded, "Overloaded"), ScopeCapacity, 0)
	f(200, failure(claude.ErrOverloaded, "Overloaded"), ScopeCapacity, 0)

	// The endpoint is at fault.
	for _, status := range []int{408, 500, 502, 503, 504, 520} {
		f(status, nil, ScopeEndpoint, 0)
	}
	f(503, nil, ScopeEndpoint, 30*time.Second, "Retry-After", "30")
	f(508, failure(claude.ErrAPI, "x"), ScopeEndpoint, loopCooldown, "X-Should-Retry", "false", "Retry-After", "1")
	f(508, nil, ScopeEndpoint, 0)
	f(500, invalid("Your credit balance is too low"), ScopeEndpoint, 0)
	f(200, failure(claude.ErrAPI, "x"), ScopeEndpoint, 0)
	f(200, failure(claude.ErrTimeout, "x"), ScopeEndpoint, 0)
	f(200, failure("", "x"), ScopeEndpoint, 0)
}

// TestNoModelNoModelScope checks that a request without a model, such as a look-up of one, cannot
// cause a model's cooldown.
func TestNoModelNoModelScope(t *testing.T) {
	f := func(status int, message string, want Scope, header http.Header) {
		t.Helper()
		if got := Judge(Evidence{Status: status, Header: header, Error: failure(claude.TypeForStatus(status), message), Now: t0}); got.Scope != want {
			t.Errorf("%d %q: %+v, want %v", status, message, got, want)
		}
	}
	f(404, "model: claude-x", ScopeRequest, nil)
	f(403, "model: claude-x", ScopeCredential, nil)
	f(429, "limit", ScopeRateLimit, http.Header{"X-Should-Retry": {"true"}})
}

func TestJudgeErrors(t *testing.T) {
	f := func(err error, want Outcome) {
		t.Helper()
		if got := Judge(Evidence{Err: err, Now: t0}); got != want {
			t.Errorf("Judge(%v) = %+v, want %+v", err, got, want)
		}
	}
	f(ErrClientGone, Outcome{Scope: ScopeClient, Reason: "client left"})
	f(fmt.Errorf("send: %w", context.Canceled), Outcome{Scope: ScopeClient, Reason: "client left"})
	f(ErrStopping, Outcome{Scope: ScopeClient, Reason: "claude-code-lb is stopping"})
	f(ErrOutrun, Outcome{Scope: ScopeClient, Reason: "another upstream was faster"})
	f(&TimeoutError{Waiting: "next byte", After: time.Second}, Outcome{Scope: ScopeEndpoint, Reason: "no next byte within 1s", Cause: CauseTimeout})
	f(&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}, Outcome{Scope: ScopeEndpoint, Reason: "connect: connection refused", Unbilled: true, Connection: true, Cause: CauseRefused})
	f(tls.AlertError(40), Outcome{Scope: ScopeEndpoint, Reason: "TLS: tls: handshake failure", Unbilled: true, Connection: true, Cause: CauseTLS})
	f(&net.OpError{Op: "dial", Err: &net.DNSError{Err: "no such host", Name: "a.example", IsNotFound: true}}, Outcome{Scope: ScopeEndpoint, Reason: "connect: name lookup: no such host", Unbilled: true, Connection: true, Cause: CauseName})
	own := Outcome{Scope: ScopeBalancer, Reason: "no file descriptors left", Unbilled: true}
	f(&net.OpError{Op: "dial", Err: syscall.EMFILE}, own)
	f(fmt.Errorf("a connection: %w", &net.OpError{Op: "dial", Err: syscall.ENFILE}), own)
	f(&net.OpError{Op: "dial", Err: &net.DNSError{Err: "dial udp 127.0.0.1:53: socket: too many open files", Name: "a.example"}}, own)
	f(&net.OpError{Op: "proxyconnect", Err: syscall.ECONNREFUSED}, Outcome{Scope: ScopeEndpoint, Reason: "connect: connection refused", Unbilled: true, Connection: true, Cause: CauseRefused})
	f(http.ErrSchemeMismatch, Outcome{Scope: ScopeEndpoint, Reason: "TLS: http: server gave HTTP response to HTTPS client", Unbilled: true, Connection: true, Cause: CauseTLS})
	f(errors.New("net/http: TLS handshake timeout"), Outcome{Scope: ScopeEndpoint, Reason: "TLS: net/http: TLS handshake timeout", Unbilled: true, Connection: true, Cause: CauseTLS})
	f(&net.OpError{Op: "read", Err: syscall.ECONNRESET}, Outcome{Scope: ScopeEndpoint, Reason: "connection reset by peer", Connection: true})
	f(io.ErrUnexpectedEOF, Outcome{Scope: ScopeEndpoint, Reason: "unexpected EOF", Connection: true})
	f(fmt.Errorf("%w: empty", ErrUnusable), Outcome{Scope: ScopeEndpoint, Reason: "unusable response: empty"})

	// Text from outside does not get into the reason.
	f(fmt.Errorf("invalid proxy address %q: parse", "http://user:s3cr3t@proxy"), Outcome{Scope: ScopeEndpoint, Reason: "invalid proxy address"})
	f(fmt.Errorf("broken: %w", textproto.ProtocolError("malformed MIME header line: s3cr3t")), Outcome{Scope: ScopeEndpoint, Reason: "malformed header"})
	f(errors.New("odd \x1b[31m\n"+strings.Repeat("x", 200)), Outcome{Scope: ScopeEndpoint, Reason: "odd [31m" + strings.Repeat("x", 150)})
}

func TestWhatIsFree(t *testing.T) {
	f := func(status int, e *claude.Error, want bool) {
		t.Helper()
		if got := Judge(Evidence{Status: status, Error: e, Now: t0}); got.Unbilled != want {
			t.Errorf("%d %+v: unbilled is %v", status, e, got.Unbilled)
		}
	}
	f(429, nil, true)
	f(529, nil, true)
	f(500, nil, true)
	f(401, nil, true)
	f(408, nil, false)
	f(504, nil, false)
	f(500, failure(claude.ErrTimeout, ""), false)
	f(503, failure(claude.ErrOverloaded, ""), true)
	f(400, failure(claude.ErrInvalidRequest, "Your credit balance is too low"), true)
	f(200, failure(claude.ErrOverloaded, ""), false)
}

func TestDoubtfulRefusals(t *testing.T) {
	f := func(ev Evidence, want Outcome) {
		t.Helper()
		ev.Now = t0
		if got := Judge(ev); got != want || !got.Failover() {
			t.Errorf("%+v: %+v, want %+v", ev, got, want)
		}
	}
	page := http.Header{"Content-Type": {"text/html; charset=utf-8"}}
	f(Evidence{Status: 400, Header: page}, Outcome{Scope: ScopeRequest, Ambiguous: true, Reason: "status 400"})
	f(Evidence{Status: 418}, Outcome{Scope: ScopeRequest, Ambiguous: true, Reason: "status 418"})
	f(Evidence{Status: 401, OwnCredential: true, Error: failure(claude.ErrAuthentication, "")}, Outcome{Scope: ScopeRequest, Ambiguous: true, Reason: "status 401 authentication_error"})
	f(Evidence{Status: 400, OwnCredential: true, Error: failure(claude.ErrInvalidRequest, "Your credit balance is too low")},
		Outcome{Scope: ScopeRequest, Ambiguous: true, Reason: "status 400 invalid_request_error, no credit", Cause: CauseNoCredit})
}

func TestReasonsQuoteNoUpstream(t *testing.T) {
	got := Judge(Evidence{Status: 500, Error: failure("sk-ant-api03\x1b[31m", "secret")}).Reason
	if got != "status 500 skantapim" {
		t.Errorf("reason %q", got)
	}
}

func TestRules(t *testing.T) {
	rules := NewRules([]config.ErrorRule{
		{Server: "relay", Status: 400, Message: "(?i)quota", Scope: config.ErrorScopeAccount, Duration: 2 * time.Hour},
		{Header: "x-maintenance: ^on$", Scope: config.ErrorScopeEndpoint, Duration: 5 * time.Minute},
		{Header: "x-blocked", Scope: config.ErrorScopeCredential},
		{Type: "overloaded_error", Scope: config.ErrorScopeRateLimit},
		{Status: 503, Scope: config.ErrorScopeRequest},
		{Status: 422, Scope: config.ErrorScopeModel},
		{Status: 429, Scope: config.ErrorScopeEndpoint},
	})
	f := func(ev Evidence, wantRule int, wantScope Scope, rest time.Duration) {
		t.Helper()
		ev.Now = t0
		if o, i := rules.Explain(ev); i != wantRule || o.Scope != wantScope || o.RetryAfter != rest {
			t.Errorf("%+v: rule %d, %+v; want rule %d, %v for %v", ev, i, o, wantRule, wantScope, rest)
		}
	}
	quota := failure(claude.ErrInvalidRequest, "the QUOTA of the month")
	f(Evidence{Server: "relay", Status: 400, Error: quota}, 0, ScopeAccount, 2*time.Hour)
	f(Evidence{Server: "relay", Status: 400, Body: []byte("no quota left")}, 0, ScopeAccount, 2*time.Hour)
	f(Evidence{Server: "other", Status: 400, Error: quota}, -1, ScopeRequest, 0)
	f(Evidence{Status: 404, Header: http.Header{"X-Maintenance": {"on"}}}, 1, ScopeEndpoint, 5*time.Minute)
	f(Evidence{Status: 404, Header: http.Header{"X-Maintenance": {"off"}}}, -1, ScopeEndpoint, 0)
	f(Evidence{Status: 502, Header: http.Header{"X-Blocked": {""}}}, 2, ScopeCredential, 0)
	f(Evidence{Status: 200, Error: failure(claude.ErrOverloaded, "")}, 3, ScopeRateLimit, 0)
	f(Evidence{Status: 529, Error: failure(claude.ErrOverloaded, ""), Header: http.Header{"Retry-After": {"3"}}}, 3, ScopeRateLimit, 3*time.Second)
	f(Evidence{Status: 503}, 4, ScopeRequest, 0)
	f(Evidence{Status: 422, Error: quota, Model: anyModel, Header: http.Header{"Retry-After": {"8"}}}, 5, ScopeModel, 8*time.Second)
	f(Evidence{Status: 422, Error: quota}, -1, ScopeRequest, 0)
	f(Evidence{Status: 429, Error: failure(claude.ErrRateLimit, "spend limit")}, 6, ScopeEndpoint, 30*24*time.Hour+12*time.Hour)
	f(Evidence{Status: 200, Header: http.Header{"X-Maintenance": {"on"}}}, -1, ScopeNone, 0)
	f(Evidence{Status: 503, Err: ErrClientGone}, -1, ScopeClient, 0)
	f(Evidence{Err: errors.New("reset")}, -1, ScopeEndpoint, 0)
}

func TestWhatARuleConcludes(t *testing.T) {
	rules := NewRules([]config.ErrorRule{{Status: 400, Scope: config.ErrorScopeCredential, Duration: time.Minute}, {Status: 503, Scope: config.ErrorScopeRequest, Duration: time.Minute}})
	f := func(ev Evidence, want Outcome) {
		t.Helper()
		if got := rules.Judge(ev); got != want {
			t.Errorf("%+v: %+v, want %+v", ev, got, want)
		}
	}
	f(Evidence{Status: 400}, Outcome{Scope: ScopeCredential, Reason: "status 400, by a rule", RetryAfter: time.Minute, FromRule: true, Unbilled: true})
	f(Evidence{Status: 400, OwnCredential: true}, Outcome{Scope: ScopeRequest, Ambiguous: true, Reason: "status 400, by a rule"})
	f(Evidence{Status: 503}, Outcome{Scope: ScopeRequest})
	f(Evidence{Status: 200, Error: failure(claude.ErrInvalidRequest, "")}, Outcome{Scope: ScopeCredential, Reason: "error event invalid_request_error, by a rule", RetryAfter: time.Minute, FromRule: true})
}

// FuzzJudge checks the properties of outcomes that callers rely on.
func FuzzJudge(f *testing.F) {
	f.Add(429, "rate_limit_error", "limit", "", "12", "rejected", "1767268800", true)
	f.Add(400, "invalid_request_error", "You have reached your specified API usage limits. You will regain access on 2026-02-30 at 00:00 UTC", "", "", "", "", false)
	f.Add(400, "invalid_request_error", "You have reached your specified API usage limits. You will regain access on 9999-12-31 at 00:00 UTC", "", "", "", "", false)
	f.Add(200, "overloaded_error", "", "enforced_spend_limit_reached", "-1", "", "x", false)
	f.Add(429, "new_api_error", "余额不足", "", "1787316059", "", "", false)
	f.Add(403, "", "", "", "1e300", "rejected", "253402300799", true)
	rules := NewRules([]config.ErrorRule{{Type: "api_error", Scope: config.ErrorScopeAccount}, {Message: "a", Header: "retry-after: 1", Scope: config.ErrorScopeModel}})
	f.Fuzz(func(t *testing.T, status int, kind, message, code, retryAfter, unified, reset string, own bool) {
		ev := Evidence{
			Status: status, Model: anyModel, OwnCredential: own, Now: t0,
			Header: http.Header{"Retry-After": {retryAfter}, "Anthropic-Ratelimit-Unified-Status": {unified}, "Anthropic-Ratelimit-Unified-Reset": {reset}},
		}
		if kind != "" {
			ev.Error = &claude.Error{Type: claude.ErrorType(kind), Message: message, Code: code}
		}
		for _, o := range []Outcome{Judge(ev), rules.Judge(ev)} {
			switch {
			case o.RetryAfter < 0:
				t.Errorf("a cooldown of %v", o.RetryAfter)
			case (o.Scope == ScopeNone) != (status < 400 && ev.Error == nil):
				t.Errorf("scope %v", o.Scope)
			case o.Ambiguous && o.Scope != ScopeRequest:
				t.Errorf("ambiguous, but scope %v", o.Scope)
			case o.Unbilled && (status < 400 || o.Scope <= ScopeClient):
				t.Errorf("unbilled: %+v", o)
			case own && (o.Scope == ScopeCredential || o.Scope == ScopeAccount):
				t.Errorf("a client's own key charged: %v", o.Scope)
			case o.Failover() && o.Reason == "", len(o.Reason) > 200, strings.ContainsAny(o.Reason, "\n\x1b"):
				t.Errorf("reason %q of %+v", o.Reason, o)
			}
		}
	})
}

func TestTimeoutErrorIsOne(t *testing.T) {
	var err error = fmt.Errorf("read: %w", &TimeoutError{Waiting: "next byte"})
	if timeout, ok := errors.AsType[net.Error](err); !ok || !timeout.Timeout() {
		t.Error("a TimeoutError does not report Timeout")
	}
}

// judged returns the outcome for a response body.
func judged(status int, body string, change ...func(*Evidence)) Outcome {
	ev := Evidence{Status: status, Header: http.Header{"Content-Type": {"application/json"}}, Body: []byte(body), Model: anyModel, Now: t0}
	if e, ok := claude.ParseError(ev.Body); ok {
		ev.Error = &e
	}
	for _, each := range change {
		each(&ev)
	}
	return Judge(ev)
}

func TestJudgeVendors(t *testing.T) {
	f := func(want Scope, doubtful bool, status int, body string) {
		t.Helper()
		if got := judged(status, body); got.Scope != want || got.Ambiguous != doubtful {
			t.Errorf("%d %s: %+v, want %v, ambiguous %v", status, body, got, want, doubtful)
		}
	}
	noChannel := `{"error":{"code":"model_not_found","message":"No available channel for model x","type":"new_api_error"}}`
	for _, status := range []int{400, 403, 404, 422, 429, 500, 503} {
		f(ScopeModel, false, status, noChannel)
	}
	f(ScopeModel, false, 400, `{"error":{"message":"当前分组 default 下对于模型 x 无可用渠道"}}`)
	f(ScopeRequest, false, 400, `{"type":"error","error":{"type":"invalid_request_error","message":"model: claude-opus-4-5 is not supported with this beta"}}`)

	noQuota := `{"code":403,"msg":"账户余额不足"}`
	for _, status := range []int{400, 401, 402, 403, 429, 500} {
		f(ScopeAccount, false, status, noQuota)
	}
	f(ScopeAccount, false, 429, `{"type":"error","error":{"type":"billing_error","message":"Spend limit reached"}}`)

	relay := `{"error":{"message":"Error from provider: Upstream request failed","type":"invalid_request_error"}}`
	f(ScopeRequest, true, 400, relay)
	f(ScopeRequest, true, 422, relay)
	f(ScopeEndpoint, false, 502, relay)
	f(ScopeEndpoint, false, 403, relay)
	f(ScopeRateLimit, false, 429, relay)
	f(ScopeRequest, false, 400, `{"error":{"message":"upstream error: prompt is too long: 5 > 4"}}`)

	for _, body := range []string{"404 page not found", "", `{"detail":"Not Found"}`, "<html>no</html>", `{"error":{"message":"Invalid URL (POST /v1/messages)","type":"invalid_request_error"}}`,
		`{"type":"error","error":{"type":"invalid_request_error","message":"Invalid URL (POST /v1/messages)"}}`, `{"message":"no Route matched with those values"}`, `{"error":"Not Found"}`} {
		f(ScopeEndpoint, false, 404, body)
	}
	f(ScopeEndpoint, false, 405, `{"type":"error","error":{"type":"invalid_request_error","message":"x"}}`)
	f(ScopeRequest, false, 404, `{"type":"error","error":{"type":"not_found_error","message":"Not found","details":{"error_code":"thread_not_found"}}}`)
	f(ScopeRequest, true, 404, `{"error":{"type":"not_found_error","message":"Not found"}}`)

	// The API's refusals are final; a refusal in another format may be specific to one upstream.
	f(ScopeRequest, false, 400, `{"type":"error","error":{"type":"invalid_request_error","message":"Invalid"}}`)
	f(ScopeRequest, true, 400, `{"error":{"type":"invalid_request_error","message":"Invalid"}}`)
	f(ScopeRequest, true, 422, `{"detail":[{"loc":["body","thinking"],"msg":"extra fields not permitted"}]}`)
	f(ScopeRequest, true, 413, "<html><title>413 Request Entity Too Large</title>")
	f(ScopeRequest, false, 413, `{"type":"error","error":{"type":"request_too_large","message":"Request exceeds the maximum size"}}`)

	f(ScopeEndpoint, false, 403, "<!DOCTYPE html><title>Just a moment...</title>")
	f(ScopeEndpoint, false, 503, "<html>")
	f(ScopeCredential, false, 403, `{"message":"Forbidden"}`)
	f(ScopeCredential, false, 403, `{"error":{"message":"无权访问 default 分组","type":"new_api_error"}}`)
	f(ScopeRequest, true, 400, `{"error":{"message":"anything","type":"new_api_error"}}`)
	f(ScopeCapacity, false, 429, `{"error":{"message":"当前分组上游负载已饱和，请稍后再试","type":"new_api_error"}}`)
	f(ScopeRequest, true, 501, `{"type":"error","error":{"type":"not_supported","message":"x"}}`)

	for _, status := range []int{400, 403, 429, 500, 503} {
		f(ScopeRequest, false, status, `{"type":"error","error":{"type":"policy_blocked","message":"blocked"}}`)
	}
	if o := judged(200, `{"type":"error","error":{"type":"policy_blocked","message":"blocked"}}`); o.Failover() || o.Scope != ScopeRequest {
		t.Errorf("policy_blocked in an event: %+v", o)
	}
	if o := judged(429, "{}", func(ev *Evidence) { ev.Header.Set("Cf-Mitigated", "challenge") }); o.Scope != ScopeEndpoint || o.Cause != CausePage {
		t.Errorf("a challenge: %+v", o)
	}
	elsewhere := func(ev *Evidence) { ev.Path = "other" }
	if o := judged(404, "404 page not found", elsewhere); o.Scope != ScopeRequest {
		t.Errorf("404 of another path: %+v", o)
	}
	if o := judged(501, `{"type":"error","error":{"type":"not_supported","message":"x"}}`, elsewhere); o != (Outcome{Scope: ScopeRequest}) {
		t.Errorf("501 of another path: %+v", o)
	}
}

// TestJudgeDimensions checks that limits concern only what they name: a family of models, fast
// mode, the long context.
func TestJudgeDimensions(t *testing.T) {
	const limit = `{"type":"error","error":{"type":"rate_limit_error","message":"This would exceed your account's rate limit"}}`
	head := func(pairs ...string) func(*Evidence) {
		return func(ev *Evidence) {
			for i := 0; i < len(pairs); i += 2 {
				ev.Header.Set(pairs[i], pairs[i+1])
			}
		}
	}
	const prefix = "Anthropic-Ratelimit-Unified-"
	end := fmt.Sprint(t0.Add(50 * time.Hour).Unix())
	o := judged(429, limit, head(prefix+"Status", "rejected", prefix+"Representative-Claim", "seven_day_opus", prefix+"Reset", end, prefix+"7d-Status", "allowed"))
	if o.Scope != ScopeRateLimit || o.RetryAfter != 50*time.Hour || !o.Failover() {
		t.Errorf("a family's window: %+v", o)
	}
	o = judged(429, limit, head(prefix+"Status", "rejected", prefix+"Representative-Claim", "five_hour", prefix+"Reset", end))
	if o.Scope != ScopeAccount || o.Cause != CauseUsedUp || o.RetryAfter != 50*time.Hour {
		t.Errorf("a common window: %+v", o)
	}

	fast := func(ev *Evidence) { ev.Variant = Fast }
	f := func(o Outcome, scope Scope, final bool) {
		t.Helper()
		if o.Scope != scope || o.Final != final || final && o.Failover() {
			t.Errorf("%+v, want %v, final %v", o, scope, final)
		}
	}
	const noFast = `{"type":"error","error":{"type":"rate_limit_error","message":"This would exceed your rate limit of 0 fast mode input tokens per minute."}}`
	f(judged(429, noFast, fast), ScopeRateLimit, true)
	f(judged(429, noFast), ScopeRateLimit, false)
	f(judged(403, `{"error":{"type":"permission_error","message":"Fast mode is not enabled"}}`, fast), ScopeRateLimit, true)
	f(judged(429, limit, fast, head("Anthropic-Fast-Requests-Limit", "5")), ScopeRateLimit, true)
	f(judged(429, limit, head("Anthropic-Fast-Requests-Limit", "5")), ScopeRateLimit, false)
	f(judged(429, limit, fast, head("Anthropic-Fast-Requests-Limit", "5", prefix+"Status", "rejected")), ScopeAccount, false)
	f(judged(429, limit, fast), ScopeRateLimit, false)

	const longContext = `{"type":"error","error":{"type":"rate_limit_error","message":"Extra usage is required for long context requests."}}`
	long := func(ev *Evidence) { ev.Variant = LongContext }
	f(judged(429, longContext, long), ScopeModel, false)
	f(judged(400, longContext, long), ScopeModel, false)
	if o := judged(429, longContext); o.Scope != ScopeRequest || !o.Ambiguous {
		t.Errorf("long context without the beta: %+v", o)
	}
}

var t0 = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
