package observe

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.40.0"

	"github.com/9bingyin/claude-code-lb/internal/telemetry"
)

// defaultService is the service's name if the environment sets none.
const defaultService = "claude-code-lb"

// TraceSettings reads the standard variables of OpenTelemetry: whether to export spans, and by
// which OTLP protocol. Export is off unless an endpoint or the exporter "otlp" is set. The error
// names unsupported settings.
func TraceSettings(env func(string) (string, bool)) (protocol string, wanted bool, err error) {
	get := func(names ...string) string {
		for _, name := range names {
			if value, _ := env(name); strings.TrimSpace(value) != "" {
				return strings.ToLower(strings.TrimSpace(value))
			}
		}
		return ""
	}
	exporter := get("OTEL_TRACES_EXPORTER")
	endpoint := get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
	protocol = get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
	if protocol == "" {
		protocol = "http/protobuf"
	}
	switch {
	case get("OTEL_SDK_DISABLED") == "true", exporter == "none", exporter == "" && endpoint == "":
		return "", false, nil
	case exporter != "" && exporter != "otlp":
		return "", false, fmt.Errorf("OTEL_TRACES_EXPORTER %.40q is not one of otlp, none", exporter)
	case protocol != "grpc" && protocol != "http/protobuf" && protocol != "http/json":
		return "", false, fmt.Errorf("the OTLP protocol %.40q is not one of grpc, http/protobuf, http/json", protocol)
	}
	return protocol, true, nil
}

// Traces exports spans in the background, configured by the environment. It logs export errors at
// most once in ten minutes, and continues.
type Traces struct {
	*Tracer
	provider *sdk.TracerProvider
}

// StartTraces begins to export spans by an OTLP protocol. It sets OpenTelemetry's error handler,
// which is global to the process. The caller calls Stop at the end.
func StartTraces(ctx context.Context, protocol, version string, log *slog.Logger) (*Traces, error) {
	exportErrors := &telemetry.Occasional{Every: telemetry.RepeatPeriod}
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) {
		if exportErrors.Allow(time.Now()) {
			log.Warn(telemetry.TracesNotSent, telemetry.Err, redactAddresses(err))
		}
	}))
	exporter, err := newExporter(ctx, protocol)
	if err != nil {
		return nil, redactAddresses(err)
	}
	res, err := resource.New(ctx, resource.WithTelemetrySDK(),
		resource.WithAttributes(semconv.ServiceName(defaultService), semconv.ServiceVersion(version)), resource.WithFromEnv())
	if err != nil { // it contains the readable part of OTEL_RESOURCE_ATTRIBUTES
		otel.Handle(err)
	}
	provider := sdk.NewTracerProvider(sdk.WithBatcher(exporter), sdk.WithResource(res))
	return &Traces{NewTracer(provider), provider}, nil
}

func newExporter(ctx context.Context, protocol string) (sdk.SpanExporter, error) {
	if protocol == "grpc" {
		return otlptracegrpc.New(ctx)
	}
	return otlptracehttp.New(ctx)
}

// Stop exports the remaining spans, as long as ctx lasts.
func (t *Traces) Stop(ctx context.Context) {
	if err := t.provider.Shutdown(ctx); err != nil {
		otel.Handle(err)
	}
}

// redactAddresses reduces the collector's address in an error to the host, because the rest may
// contain a credential. It bounds the length, because the text comes from the collector.
func redactAddresses(err error) error {
	address := regexp.MustCompile(`(https?://)(?:[^\s/"@]*@)?([^\s/"]*)[^\s":]*`)
	return errors.New(telemetry.Clip(telemetry.OneLine(address.ReplaceAllString(err.Error(), "$1$2"))))
}
