package e2e

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// contract lists Anthropic's requirements for a gateway in front of Claude Code: the gateway
// protocol in the client and the gateway compatibility guide. Each row has a check, or the reason
// why it does not apply here. Rows that need the real client are in claudecode_rows_test.go.
var contract = []struct {
	row, requirement string
	check            func(*testing.T)
	notApplicable    string
}{
	{row: "messages", requirement: "serve POST /v1/messages, match on the path, keep the query", check: contractQuery},
	{row: "count_tokens", requirement: "token counting is optional: its failures concern nothing else", check: contractCountTokens},
	{row: "probes", requirement: "HEAD / and /api/hello are answered without an upstream", check: contractProbes},
	{row: "no buffering", requirement: "content reaches the client as it arrives", check: contractNoBuffering},
	{row: "pings", requirement: "pings and comments are forwarded", check: contractPings},
	{row: "version and beta", requirement: "anthropic-version and anthropic-beta are forwarded verbatim, line by line", check: contractHeaders},
	{row: "unknown headers", requirement: "anthropic-*, x-claude-code-*, tracing and custom headers are forwarded", check: contractHeaders},
	{row: "hint headers", requirement: "hint headers are forwarded", check: contractHeaders},
	{row: "body", requirement: "the body is forwarded byte for byte, unknown fields included", check: contractBody},
	{row: "unknown input", requirement: "unknown headers, fields and betas are not refused", check: contractBody},
	{row: "attribution block", requirement: "the first system block stays first and unchanged", check: contractBody},
	{row: "content length", requirement: "a chunked request is accepted and sent with its length", check: contractChunked},
	{row: "credential", requirement: "the client's key may be in either header or in both", check: contractCredential},
	{row: "own credential", requirement: "the client's credential never goes with the upstream's own", check: contractOwnCredential},
	{row: "error bodies", requirement: "errors about the request are forwarded unchanged, and nothing rests", check: contractErrorBodies},
	{row: "thinking prefix", requirement: "anthropic-thinking-prefix-mismatch is forwarded", check: contractErrorHeaders},
	{row: "x-should-retry", requirement: "x-should-retry is forwarded", check: contractErrorHeaders},
	{row: "retry-after", requirement: "retry-after is in whole seconds and not shortened", check: contractExhausted},
	{row: "unified limits", requirement: "anthropic-ratelimit-unified-* are forwarded on every answer", check: contractExhausted},
	{row: "unified limits of answers", requirement: "anthropic-ratelimit-unified-* are forwarded on a 200", check: contractAnswerHeaders},
	{row: "own cap", requirement: "a spending cap is a 429 with x-should-retry: false and its message", check: contractSpendingCap},
	{row: "policy block", requirement: "policy_blocked is forwarded, whatever its status, and is asked of no other upstream", check: contractPolicyBlock},
	{row: "unknown key", requirement: "an unknown client key is a 401 with x-should-retry: false", check: contractUnknownKey},
	{row: "not supported", requirement: "501 not_supported of a side endpoint is an answer", check: contractNotSupported},
	{row: "too large", requirement: "a body over the limit is a 413 request_too_large", check: contractTooLarge},
	{row: "overload", requirement: "an overload of every upstream is a 529", check: contractOverload},
	{row: "content type", requirement: "a stream is text/event-stream; a charset is kept", check: contractContentType},
	{row: "models", requirement: "GET /v1/models is Anthropic's list, within the client's 3 s, without a redirect", check: contractModels},
	{row: "unknown events", requirement: "unknown events, blocks, stop reasons and usage fields are forwarded unchanged", check: contractUnknownEvents},
	{row: "error events", requirement: "an error event before the content goes to another upstream, unless it is the request's fault", check: contractErrorEvents},
	{row: "redirects", requirement: "redirects and empty answers to a message never reach the client", check: contractRedirects},
	{row: "encodings", requirement: "content-encoding and the body of an answer agree", check: contractEncodings},
	{row: "discovery", requirement: "optional endpoints of a gateway that are not served are a 404 in Anthropic's shape", check: contractLocal},
	{row: "telemetry", requirement: "event_logging is accepted and reaches no upstream", check: contractLocal},
	{row: "other dialects", requirement: "paths of Bedrock and Vertex AI are refused clearly", check: contractLocal},
	{row: "base URL", requirement: "a base URL that ends in /v1 or / is understood or explained", check: contractBaseURL},
	{row: "threads", requirement: "a continuation goes to the account of its thread, without a session header too", check: contractThreads},
	{row: "cache_touch", requirement: "cache_touch goes to the account of its conversation", check: contractCacheTouch},
	{row: "compressed requests", requirement: "a compressed request body is served like a plain one", check: contractCompressed},
	{row: "thread recovery", requirement: "thread_not_found after a failover is forwarded", check: contractThreadNotFound},
	{row: "telemetry by OTLP", notApplicable: "only clients that signed in at a gateway by /login send it, and there is no /login here"},
	{row: "customer-routed inference", notApplicable: "it strips response headers for Anthropic's own routing; nobody routes to this product that way"},
	{row: "sign-in", notApplicable: "/managed/settings, /protocol and /oauth serve gateways with /login; client keys are used here"},
}

func TestContract(t *testing.T) {
	t.Parallel()
	run := map[string][]string{} // names of rows that one check proves
	for _, c := range contract {
		t.Run(strings.ReplaceAll(c.row, " ", "_"), func(t *testing.T) {
			if (c.check == nil) == (c.notApplicable == "") {
				t.Fatal("a row has a check or a reason, not both")
			}
			if slices.Contains(run[c.row], c.requirement) {
				t.Fatal("the row is there twice")
			}
			run[c.row] = append(run[c.row], c.requirement)
			if c.check == nil {
				return
			}
			t.Parallel()
			c.check(t)
		})
	}
}

// pair is a balancer in front of two scripted upstreams; it prefers a.
type pair struct {
	*balancer
	a, b *scripted
}

func newPair(t *testing.T, a, b responder, members ...any) *pair {
	t.Helper()
	p := &pair{a: newScripted(t, "a", a), b: newScripted(t, "b", b)}
	cfg := fallback(p.a.entry(), p.b.entry())
	for i := 0; i+1 < len(members); i += 2 {
		cfg = cfg.with(members[i].(string), members[i+1])
	}
	p.balancer = start(t, cfg)
	return p
}

// say sends a message with a unique text, so that no two requests are alike.
func (p *pair) say(stream bool, text string, header ...string) answer {
	p.t.Helper()
	body, err := json.Marshal(object{"model": model, "max_tokens": 64, "stream": stream, "messages": []object{{"role": "user", "content": text}}})
	if err != nil {
		p.t.Fatal(err)
	}
	return p.do(http.MethodPost, "/v1/messages?beta=true", string(body), header...)
}

// mustRestNone checks that both upstreams are available and that a serves the next message.
func (p *pair) mustRestNone(t *testing.T) {
	t.Helper()
	if n := p.available(); n != 2 {
		t.Errorf("%d upstreams available, want 2", n)
	}
	p.a.behave(nil)
	before := len(p.a.messages())
	if a := p.say(false, "is a still asked first?"); a.status != http.StatusOK {
		t.Errorf("afterwards status %d: %s", a.status, a.body)
	}
	if len(p.a.messages()) == before {
		t.Error("a rests: the next message went elsewhere")
	}
}

// streams and plain responses alike.
var bothKinds = map[string]bool{"stream": true, "plain": false}

// eachKind runs a check for streams and for plain responses.
func eachKind(t *testing.T, check func(t *testing.T, stream bool)) {
	t.Helper()
	for name, stream := range bothKinds {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			check(t, stream)
		})
	}
}
