package observe

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/9bingyin/claude-code-lb/internal/claude"
	"github.com/9bingyin/claude-code-lb/internal/ledger"
	"github.com/9bingyin/claude-code-lb/internal/proxy"
	"github.com/9bingyin/claude-code-lb/internal/telemetry"
)

// Tracer creates a span for every request, and below it one for every attempt. A client's trace
// context is the parent of the request's span, and the attempt's context goes upstream. It
// implements proxy.Tracer.
type Tracer struct {
	tracer  trace.Tracer
	context propagation.TraceContext
}

// NewTracer returns a Tracer that creates spans with a provider.
func NewTracer(spans trace.TracerProvider) *Tracer {
	return &Tracer{tracer: spans.Tracer("claude-code-lb")}
}

// requestSpan is the span of one request.
type requestSpan struct {
	*Tracer
	ctx    context.Context // contains the span, but no values of the request's context
	span   trace.Span
	method string
	route  string
	model  string
}

// Begin implements proxy.Tracer.
func (t *Tracer) Begin(r *http.Request, e *ledger.Entry) proxy.RequestTrace {
	s := &requestSpan{Tracer: t, method: e.Method, route: routeOf(e.Path), model: telemetry.Clip(e.Model)}
	ctx := t.context.Extract(context.Background(), propagation.HeaderCarrier(r.Header))
	s.ctx, s.span = t.tracer.Start(ctx, s.method+" "+s.route, trace.WithSpanKind(trace.SpanKindServer), trace.WithTimestamp(e.Start),
		trace.WithAttributes(s.requestAttrs()...))
	return s
}

// requestAttrs returns the attributes of the request.
func (s *requestSpan) requestAttrs() []attribute.KeyValue {
	attrs := []attribute.KeyValue{attrMethod.String(s.method), attrRoute.String(s.route), attrProvider.String(providerAnthropic)}
	if s.isChat() {
		attrs = append(attrs, attrOperation.String(operationChat))
	}
	if s.model != "" {
		attrs = append(attrs, attrRequestModel.String(s.model))
	}
	return attrs
}

// isChat reports whether the request is for a message, the only operation here with a name in the
// conventions.
func (s *requestSpan) isChat() bool {
	return s.method == http.MethodPost && s.route == claude.MessagesPath
}

// Attempt implements proxy.RequestTrace.
func (s *requestSpan) Attempt(out *http.Request, server string, start time.Time) func(*ledger.Attempt) {
	name := s.method + " " + s.route
	if s.isChat() {
		name = strings.TrimSpace(operationChat + " " + s.model)
	}
	ctx, span := s.tracer.Start(s.ctx, name, trace.WithSpanKind(trace.SpanKindClient), trace.WithTimestamp(start),
		trace.WithAttributes(append(s.requestAttrs(), attrServer.String(server))...))
	out.Header.Del("Traceparent")
	out.Header.Del("Tracestate")
	s.context.Inject(ctx, propagation.HeaderCarrier(out.Header))
	return func(a *ledger.Attempt) {
		if span.IsRecording() {
			span.SetAttributes(serverAttrs(out)...)
			describeAttempt(span, a)
		}
		span.End(trace.WithTimestamp(a.Start.Add(a.Duration)))
	}
}

// serverAttrs returns the address of the server. The URL contains it only after the request was
// sent.
func serverAttrs(out *http.Request) []attribute.KeyValue {
	attrs := []attribute.KeyValue{attrServerAddress.String(out.URL.Hostname())}
	port, err := strconv.Atoi(out.URL.Port())
	switch {
	case err == nil:
	case out.URL.Scheme == "http":
		port = 80
	default:
		port = 443
	}
	return append(attrs, attrServerPort.Int(port))
}

func describeAttempt(span trace.Span, a *ledger.Attempt) {
	attrs := []attribute.KeyValue{attrScope.String(a.Scope), attrServed.Bool(a.Served), attrFirstByte.Float64(a.TimeToOutcome.Seconds())}
	if a.Status != 0 {
		attrs = append(attrs, attrStatus.Int(a.Status))
	}
	if a.Reason != "" {
		attrs = append(attrs, attrReason.String(a.Reason))
	}
	if a.RequestID != "" {
		attrs = append(attrs, attrUpstreamID.String(telemetry.Clip(a.RequestID)))
	}
	if a.Known() {
		attrs = append(attrs, responseAttrs(&a.Answer)...)
		attrs = append(attrs, costAttrs(a.Cost)...)
	}
	if a.Estimated {
		attrs = append(attrs, attrEstimated.Bool(true))
	}
	span.SetAttributes(attrs...)
	if a.Reason == "" {
		return
	}
	kind := a.Scope
	if a.Status >= http.StatusBadRequest {
		kind = strconv.Itoa(a.Status)
	}
	span.SetAttributes(attrErrorType.String(kind))
	span.SetStatus(codes.Error, a.Reason)
}

// responseAttrs returns the attributes of a response.
func responseAttrs(m *claude.Message) []attribute.KeyValue {
	u := m.Usage
	attrs := []attribute.KeyValue{
		attrInputTokens.Int64(u.TotalInputTokens()), attrOutputTokens.Int64(u.OutputTokens),
		attrCacheRead.Int64(u.CacheReadTokens), attrCacheCreation.Int64(u.CacheCreationTokens()),
	}
	if m.Model != "" {
		attrs = append(attrs, attrResponseModel.String(telemetry.Clip(m.Model)))
	}
	if m.ID != "" {
		attrs = append(attrs, attrResponseID.String(telemetry.Clip(m.ID)))
	}
	if m.StopReason != "" {
		attrs = append(attrs, attrFinishReasons.StringSlice([]string{telemetry.Clip(m.StopReason)}))
	}
	return attrs
}

// costAttrs returns the known parts of the cost.
func costAttrs(c ledger.Cost) []attribute.KeyValue {
	if !c.Known {
		return nil
	}
	return []attribute.KeyValue{attrCost.Float64(c.Sum.Dollars()), attrSaved.Float64(c.Saved.Dollars()), attrWasted.Float64(c.Wasted.Dollars())}
}

// End implements proxy.RequestTrace.
func (s *requestSpan) End(e *ledger.Entry) {
	if s.span.IsRecording() {
		describeRequest(s.span, e)
	}
	s.span.End(trace.WithTimestamp(e.Start.Add(e.Duration)))
}

func describeRequest(span trace.Span, e *ledger.Entry) {
	attrs := []attribute.KeyValue{
		attrRequestID.String(e.ID), attrClient.String(e.Client), attrStream.Bool(e.Stream), attrAttempts.Int(len(e.Attempts)),
		attrOutcome.String(string(e.Outcome)), attrRequestSize.Int64(e.Sent), attrResponseSize.Int64(e.Bytes), attrWaited.Float64(e.Waited.Seconds()),
	}
	for key, value := range map[attribute.Key]string{attrSession: e.Session, attrAgent: e.Agent, attrRouted: string(e.Routed), attrServer: e.Server(), attrReason: e.Reason} {
		if value != "" {
			attrs = append(attrs, key.String(telemetry.Clip(value)))
		}
	}
	if e.Status != 0 {
		attrs = append(attrs, attrStatus.Int(e.Status))
	}
	if e.TimeToFirstByte > 0 {
		attrs = append(attrs, attrFirstByte.Float64(e.TimeToFirstByte.Seconds()))
	}
	if a := e.Final(); a != nil && a.Served && a.Known() {
		attrs = append(attrs, responseAttrs(&a.Answer)...)
	}
	span.SetAttributes(append(attrs, costAttrs(e.Cost())...)...)
	if e.Outcome == ledger.Answered {
		return
	}
	kind := string(e.Outcome)
	if e.Outcome == ledger.Failed && e.Status >= http.StatusBadRequest {
		kind = strconv.Itoa(e.Status)
	}
	span.SetAttributes(attrErrorType.String(kind))
	if e.Outcome == ledger.Failed || e.Outcome == ledger.Truncated {
		span.SetStatus(codes.Error, e.Reason)
	}
}

// routeOf returns a path in which {id} replaces ids and names.
func routeOf(path string) string {
	const maxSegments = 8
	segments := strings.Split(path, "/")
	for i, s := range segments[:min(len(segments), maxSegments)] {
		if len(s) > 24 || strings.ContainsFunc(s, func(r rune) bool { return (r < 'a' || r > 'z') && r != '_' }) && s != "v1" {
			segments[i] = "{id}"
		}
	}
	return strings.Join(segments[:min(len(segments), maxSegments)], "/")
}
