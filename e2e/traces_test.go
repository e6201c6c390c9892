package e2e

import (
	"cmp"
	"compress/gzip"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	v1 "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	_ "google.golang.org/grpc/encoding/gzip" // the exporter compresses
	"google.golang.org/protobuf/proto"

	"github.com/9bingyin/claude-code-lb/internal/fakeclaude"
)

// collector receives spans as an OpenTelemetry collector does.
type collector struct {
	v1.UnimplementedTraceServiceServer
	t       *testing.T
	mu      sync.Mutex
	batches []*tracepb.ResourceSpans
	headers http.Header
}

// Export implements the gRPC service.
func (c *collector) Export(_ context.Context, r *v1.ExportTraceServiceRequest) (*v1.ExportTraceServiceResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.batches = append(c.batches, r.GetResourceSpans()...)
	return &v1.ExportTraceServiceResponse{}, nil
}

// ServeHTTP implements OTLP over HTTP with protobuf.
func (c *collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body := io.Reader(r.Body)
	if r.Header.Get("Content-Encoding") == "gzip" {
		unzipped, err := gzip.NewReader(body)
		if err != nil {
			c.t.Error(err)
			return
		}
		body = unzipped
	}
	text, err := io.ReadAll(body)
	var request v1.ExportTraceServiceRequest
	if err := cmp.Or(err, proto.Unmarshal(text, &request)); err != nil || r.URL.Path != "/v1/traces" {
		c.t.Errorf("%s: %v", r.URL.Path, err)
	}
	c.mu.Lock()
	c.headers = r.Header
	c.mu.Unlock()
	if _, err := c.Export(r.Context(), &request); err != nil {
		c.t.Error(err)
	}
	w.Header().Set("Content-Type", "application/x-protobuf")
}

func newCollector(t *testing.T) (c *collector, overHTTP, overGRPC string) {
	t.Helper()
	c = &collector{t: t}
	web := httptest.NewServer(c)
	t.Cleanup(web.Close)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	v1.RegisterTraceServiceServer(server, c)
	go server.Serve(listener)
	t.Cleanup(server.Stop)
	return c, web.URL, "http://" + listener.Addr().String()
}

// spans returns all received spans as maps of their attributes, by start.
func (c *collector) spans() []span {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []span
	for _, batch := range c.batches {
		for _, scope := range batch.ScopeSpans {
			for _, s := range scope.Spans {
				all = append(all, span{s, attributes(s.Attributes), attributes(batch.Resource.Attributes)})
			}
		}
	}
	slices.SortFunc(all, func(a, b span) int { return cmp.Compare(a.StartTimeUnixNano, b.StartTimeUnixNano) })
	return all
}

type span struct {
	*tracepb.Span
	attrs    map[string]string
	resource map[string]string
}

func attributes(list []*common.KeyValue) map[string]string {
	attrs := map[string]string{}
	for _, kv := range list {
		switch v := kv.Value.Value.(type) {
		case *common.AnyValue_StringValue:
			attrs[kv.Key] = v.StringValue
		case *common.AnyValue_IntValue:
			attrs[kv.Key] = fmt.Sprint(v.IntValue)
		case *common.AnyValue_DoubleValue:
			attrs[kv.Key] = fmt.Sprint(v.DoubleValue)
		case *common.AnyValue_BoolValue:
			attrs[kv.Key] = fmt.Sprint(v.BoolValue)
		case *common.AnyValue_ArrayValue:
			attrs[kv.Key] = v.ArrayValue.Values[0].GetStringValue()
		}
	}
	return attrs
}

func (s span) mustHave(t *testing.T, want map[string]string) {
	t.Helper()
	for name, value := range want {
		if s.attrs[name] != value {
			t.Errorf("%s: %s is %q, want %q", s.Name, name, s.attrs[name], value)
		}
	}
}

const parentTrace, parentSpan = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"

// TestTraces has one server that fails and one that responds, and checks the spans that a collector
// receives.
func TestTraces(t *testing.T) {
	t.Parallel()
	unixOnly(t, "the program is told to end, and has to export what is left")
	for _, protocol := range []string{"http/protobuf", "grpc"} {
		t.Run(protocol, func(t *testing.T) {
			t.Parallel()
			c, endpoint, overGRPC := newCollector(t)
			if protocol == "grpc" {
				endpoint = overGRPC
			}
			bad, good := newFake(t, "bad"), newFake(t, "good")
			bad.fails(status(529))
			b := start(t, fallback(bad.entry(), good.entry()), "OTEL_EXPORTER_OTLP_ENDPOINT="+endpoint, "OTEL_EXPORTER_OTLP_PROTOCOL="+protocol,
				"OTEL_EXPORTER_OTLP_HEADERS=x-team=blue", "OTEL_RESOURCE_ATTRIBUTES=deployment.environment.name=test", "OTEL_EXPORTER_OTLP_COMPRESSION=gzip")
			a := b.ask(true, "Traceparent", "00-"+parentTrace+"-"+parentSpan+"-01", "Tracestate", "vendor=1", "X-Claude-Code-Session-Id", "session-1")
			if problem := a.flaw(true); problem != "" {
				t.Fatal(problem)
			}
			b.signal(syscall.SIGTERM)
			b.exitStatus()
			all := c.spans()
			if len(all) != 3 {
				t.Fatalf("%d spans, want a request and two attempts: %v", len(all), all)
			}
			request, failed, served := all[0], all[1], all[2]
			mustBeTree(t, request, failed, served)
			mustReportTokens(t, request, served, good.finalStats(b).Tokens)
			failed.mustHave(t, map[string]string{"claude_code_lb.server": "bad", "http.response.status_code": "529", "error.type": "529", "claude_code_lb.scope": "capacity"})
			request.mustHave(t, map[string]string{"claude_code_lb.attempts": "2", "claude_code_lb.routed": "placed", "claude_code_lb.outcome": "answered",
				"http.route": "/v1/messages", "http.response.status_code": "200", "claude_code_lb.session": "session-1"})
			if request.resource["service.name"] != "claude-code-lb" || request.resource["deployment.environment.name"] != "test" || request.resource["service.version"] == "" {
				t.Errorf("resource %v", request.resource)
			}
			if protocol != "grpc" && c.headers.Get("X-Team") != "blue" {
				t.Errorf("headers %v", c.headers)
			}
			passedOn(t, bad, failed)
			passedOn(t, good, served)
			if text := fmt.Sprint(all); strings.Contains(text, bad.token) || strings.Contains(text, good.token) || strings.Contains(text, "hello there") {
				t.Error("a credential or the prompt is in a span")
			}
		})
	}
}

func mustBeTree(t *testing.T, request span, attempts ...span) {
	t.Helper()
	if hex.EncodeToString(request.TraceId) != parentTrace || hex.EncodeToString(request.ParentSpanId) != parentSpan || request.Kind != tracepb.Span_SPAN_KIND_SERVER {
		t.Errorf("the request's span: %v", request.Span)
	}
	for _, s := range attempts {
		if string(s.ParentSpanId) != string(request.SpanId) || string(s.TraceId) != string(request.TraceId) || s.Kind != tracepb.Span_SPAN_KIND_CLIENT {
			t.Errorf("an attempt's span: %v", s.Span)
		}
		if s.StartTimeUnixNano < request.StartTimeUnixNano || s.EndTimeUnixNano > request.EndTimeUnixNano || s.EndTimeUnixNano <= s.StartTimeUnixNano {
			t.Errorf("an attempt from %d to %d in a request from %d to %d", s.StartTimeUnixNano, s.EndTimeUnixNano, request.StartTimeUnixNano, request.EndTimeUnixNano)
		}
	}
}

// mustReportTokens compares a span with the upstream's figures.
func mustReportTokens(t *testing.T, request, served span, u fakeclaude.TokenStats) {
	t.Helper()
	created := u.CacheCreation5m + u.CacheCreation1h
	want := map[string]string{
		"gen_ai.usage.input_tokens": fmt.Sprint(u.Input + u.CacheRead + created), "gen_ai.usage.output_tokens": fmt.Sprint(u.Output),
		"gen_ai.usage.cache_read.input_tokens": fmt.Sprint(u.CacheRead), "gen_ai.usage.cache_creation.input_tokens": fmt.Sprint(created),
		"gen_ai.operation.name": "chat", "gen_ai.provider.name": "anthropic", "gen_ai.request.model": model, "gen_ai.response.model": model,
		"gen_ai.response.finish_reasons": "end_turn", "claude_code_lb.server": "good",
	}
	request.mustHave(t, want)
	served.mustHave(t, want)
	if served.Name != "chat "+model || served.attrs["gen_ai.response.id"] == "" || served.attrs["server.address"] != "127.0.0.1" || served.attrs["server.port"] == "" {
		t.Errorf("%s: %v", served.Name, served.attrs)
	}
}

// passedOn checks that the attempt's context, and no other, reached the upstream.
func passedOn(t *testing.T, f *fake, s span) {
	t.Helper()
	got := f.Requests()[0].Header
	want := "00-" + parentTrace + "-" + hex.EncodeToString(s.SpanId) + "-01"
	if len(got.Values("Traceparent")) != 1 || got.Get("Traceparent") != want || got.Get("Tracestate") != "vendor=1" {
		t.Errorf("%s got %q %q, want %s", f.name, got.Values("Traceparent"), got.Get("Tracestate"), want)
	}
}

// TestTracesOff checks that the client's context passes unchanged, without a collector.
func TestTracesOff(t *testing.T) {
	t.Parallel()
	f := func(env []string, logs string) {
		t.Helper()
		up := newFake(t, "up")
		b := start(t, fallback(up.entry()), env...)
		if problem := b.ask(false, "Traceparent", "anything", "Tracestate", "a=b").flaw(false); problem != "" {
			t.Fatal(problem)
		}
		if h := up.Requests()[0].Header; h.Get("Traceparent") != "anything" || h.Get("Tracestate") != "a=b" {
			t.Errorf("%v: %v", env, h)
		}
		if logs != "" {
			b.waitLog(logs, nil)
		}
	}
	f(nil, "")
	f([]string{"OTEL_SDK_DISABLED=true", "OTEL_TRACES_EXPORTER=otlp"}, "")
	f([]string{"OTEL_TRACES_EXPORTER=none", "OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:1"}, "")
	f([]string{"OTEL_TRACES_EXPORTER=zipkin"}, "trace export disabled")
}

// TestTracesWithoutCollector checks that an unreachable collector affects no request, and is logged
// once.
func TestTracesWithoutCollector(t *testing.T) {
	t.Parallel()
	up := newFake(t, "up")
	b := start(t, fallback(up.entry()), "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http://127.0.0.1:1/secret-path", "OTEL_BSP_SCHEDULE_DELAY=10", "OTEL_EXPORTER_OTLP_TIMEOUT=500")
	for range 3 {
		b.mustServe(true)
	}
	b.waitLog("traces not sent", nil)
	b.awaitRecords()
	if n := b.log.count("traces not sent"); n != 1 || strings.Contains(b.log.String(), "secret-path") {
		t.Errorf("%d lines, or the address in one:\n%s", n, b.log)
	}
}
