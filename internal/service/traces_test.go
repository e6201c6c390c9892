package service

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/codes"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/9bingyin/claude-code-lb/internal/fakeclaude/fault"
	"github.com/9bingyin/claude-code-lb/internal/observe"
)

// followed returns a stage with traced requests.
func followed(t *testing.T, n int, settings map[string]any) (*stage, *tracetest.SpanRecorder) {
	t.Helper()
	s, spans := newStage(t, n, false, settings), tracetest.NewSpanRecorder()
	s.b.proxy.Tracer = observe.NewTracer(sdk.NewTracerProvider(sdk.WithSpanProcessor(spans)))
	return s, spans
}

// holds waits for a condition.
func holds(t *testing.T, what string, condition func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	poll := time.NewTicker(time.Millisecond)
	defer poll.Stop()
	for !condition() {
		if <-poll.C; time.Now().After(deadline) {
			t.Fatal("it never came to be: " + what)
		}
	}
}

// ended waits until some requests have ended, and returns the spans by the name of their upstream;
// a request's span, which has no parent, has the key "".
func ended(t *testing.T, spans *tracetest.SpanRecorder, requests int) map[string]sdk.ReadOnlySpan {
	t.Helper()
	byServer := map[string]sdk.ReadOnlySpan{}
	holds(t, "all requests have ended", func() bool {
		roots := 0
		for _, s := range spans.Ended() {
			name := attr(s, "claude_code_lb.server")
			if !s.Parent().IsValid() {
				name = ""
				roots++
			}
			byServer[name] = s
		}
		return roots == requests
	})
	if began, done := len(spans.Started()), len(spans.Ended()); began != done {
		t.Errorf("%d spans were begun, %d ended", began, done)
	}
	return byServer
}

// attr returns the value of a span's attribute as text, "" without one.
func attr(s sdk.ReadOnlySpan, name string) string {
	for _, kv := range s.Attributes() {
		if string(kv.Key) == name {
			return kv.Value.String()
		}
	}
	return ""
}

func TestTraceOfCutAnswer(t *testing.T) {
	s, spans := followed(t, 1, nil)
	injected := fault.Fault{Kind: fault.Reset, At: fault.AtMidText}
	s.fakes[0].Script(injected)
	s.post(injected, true)
	all := ended(t, spans, 1)
	for _, name := range []string{"", "a"} {
		if all[name].Status().Code != codes.Error {
			t.Errorf("%q: status %v", name, all[name].Status())
		}
	}
	if attr(all[""], "error.type") != "truncated" || attr(all["a"], "error.type") != "endpoint" || attr(all["a"], "claude_code_lb.usage_estimated") != "true" {
		t.Errorf("request %v\nattempt %v", all[""].Attributes(), all["a"].Attributes())
	}
}

func TestTraceOfClientThatLeaves(t *testing.T) {
	s, spans := followed(t, 1, nil)
	s.fakes[0].Script(fault.Fault{Kind: fault.Stall})
	ctx, leave := context.WithCancel(t.Context())
	r, err := http.NewRequestWithContext(ctx, "POST", s.front.URL+"/v1/messages", strings.NewReader(matrixBody(true)))
	if err != nil {
		t.Fatal(err)
	}
	gone := make(chan error)
	go func() {
		_, err := s.front.Client().Do(r)
		gone <- err
	}()
	holds(t, "the request is at the upstream", func() bool { return s.fakes[0].Stats().Requests > 0 })
	leave()
	if err := <-gone; err == nil {
		t.Error("the client got an answer")
	}
	all := ended(t, spans, 1)
	if attr(all[""], "error.type") != "client_gone" || attr(all["a"], "error.type") != "client" || all[""].Status().Code == codes.Error {
		t.Errorf("request %v\nattempt %v", all[""].Attributes(), all["a"].Attributes())
	}
}

// TestTraceOfHedge makes the first server hang when its usual time to first token is known.
func TestTraceOfHedge(t *testing.T) {
	s, spans := followed(t, 2, map[string]any{"hedge": true, "affinity": "off"})
	const known = 40 // responses from which the usual time is learned
	for range known {
		s.post(fault.Fault{}, true)
	}
	ended(t, spans, known)
	spans.Reset()
	s.fakes[0].Script(fault.Fault{Kind: fault.Stall})
	s.post(fault.Fault{}, true)
	all := ended(t, spans, 1)
	if attr(all["a"], "claude_code_lb.reason") != "another upstream was faster" || attr(all["b"], "claude_code_lb.served") != "true" || attr(all[""], "claude_code_lb.attempts") != "2" {
		t.Errorf("request %v\nloser %v\nwinner %v", all[""].Attributes(), all["a"].Attributes(), all["b"].Attributes())
	}
	if attr(all[""], "claude_code_lb.server") != "b" {
		t.Errorf("the request's server is %q", attr(all[""], "claude_code_lb.server"))
	}
}
