package observe

import (
	"errors"
	"strings"
	"testing"

	"github.com/9bingyin/claude-code-lb/internal/telemetry"
)

func TestTraceSettings(t *testing.T) {
	f := func(env map[string]string, protocol string, wanted bool, problem string) {
		t.Helper()
		p, w, err := TraceSettings(func(name string) (string, bool) { v, ok := env[name]; return v, ok })
		if p != protocol || w != wanted || (err == nil) != (problem == "") || err != nil && !strings.Contains(err.Error(), problem) {
			t.Errorf("%v: %q, %t, %v", env, p, w, err)
		}
	}
	type env = map[string]string
	f(nil, "", false, "")
	f(env{"OTEL_SERVICE_NAME": "x", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "", false, "")
	f(env{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, "http/protobuf", true, "")
	f(env{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4318", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": " http/JSON "}, "http/json", true, "")
	f(env{"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "grpc", true, "")
	f(env{"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, "", false, "")
	f(env{"OTEL_SDK_DISABLED": "TRUE", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, "", false, "")
	f(env{"OTEL_EXPORTER_OTLP_ENDPOINT": " "}, "", false, "")
	f(env{"OTEL_TRACES_EXPORTER": "jaeger"}, "", false, `"jaeger" is not one of otlp, none`)
	f(env{"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "thrift"}, "", false, "thrift")
}

func TestRoute(t *testing.T) {
	f := func(path, want string) {
		t.Helper()
		if got := routeOf(path); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
	f("/v1/messages", "/v1/messages")
	f("/v1/messages/count_tokens", "/v1/messages/count_tokens")
	f("/v1/messages/batches/msgbatch_01HkcTjaV5uDC8jWR4ZsDV8d/results", "/v1/messages/batches/{id}/results")
	f("/v1/files/file_011CNha8iCJcU1wXNR6q4V8w", "/v1/files/{id}")
	f("/v1/models/claude-sonnet-4-5", "/v1/models/{id}")
	f("/v1/"+strings.Repeat("x", 100), "/v1/{id}")
	f(strings.Repeat("/a", 100), strings.Repeat("/a", 7))
	f("", "")
}

func TestRedactAddresses(t *testing.T) {
	f := func(in, want string) {
		t.Helper()
		if got := redactAddresses(errors.New(in)).Error(); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
	f("failed to send to https://c.example:4318/s3cr3t/v1/traces: 401 (body: no\nkey)", "failed to send to https://c.example:4318: 401 (body: no key)")
	f(`Post "http://user:s3cr3t@c.example/v1/traces?k=s3cr3t": dial tcp: refused`, `Post "http://c.example": dial tcp: refused`)
	f("rpc error: code = Unavailable", "rpc error: code = Unavailable")
}

func TestClip(t *testing.T) {
	if got := telemetry.Clip(strings.Repeat("ä", 300)); len(got) != 200 || got != strings.Repeat("ä", 100) {
		t.Errorf("%d bytes", len(got))
	}
	if got := telemetry.Clip("x" + strings.Repeat("ä", 300)); len(got) != 199 {
		t.Errorf("%d bytes", len(got))
	}
}
