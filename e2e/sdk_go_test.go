package e2e

import (
	"errors"
	"net/http"
	"testing"

	"github.com/anthropics/anthropic-sdk-go"
	"github.com/anthropics/anthropic-sdk-go/option"

	"github.com/9bingyin/claude-code-lb/internal/fakeclaude/fault"
)

// sdkClient returns the official Go client in front of a balancer, without retries.
func sdkClient(b *balancer, key string) anthropic.Client {
	return anthropic.NewClient(option.WithoutEnvironmentDefaults(), option.WithBaseURL(b.url), option.WithAuthToken(key),
		option.WithMaxRetries(0), option.WithHTTPClient(b.client))
}

var hello = []anthropic.MessageParam{anthropic.NewUserMessage(anthropic.NewTextBlock("hello there"))}

func TestGoSDK(t *testing.T) {
	t.Parallel()
	first, second := newFake(t, "first"), newFake(t, "second")
	first.fails(status(529))
	b := start(t, fallback(first.entry(), second.entry()).with("auth", true).with("auth_keys", []string{clientKey}))
	client := sdkClient(b, clientKey)
	params := anthropic.MessageNewParams{Model: model, MaxTokens: 256, Messages: hello}

	t.Run("create", func(t *testing.T) {
		m, err := client.Messages.New(t.Context(), params)
		if err != nil {
			t.Fatal(err)
		}
		if m.ID == "" || len(m.Content) == 0 || m.Content[0].Text == "" || m.StopReason != anthropic.StopReasonEndTurn || m.Usage.InputTokens == 0 {
			t.Errorf("message: %s", m.RawJSON())
		}
	})
	t.Run("stream", func(t *testing.T) {
		stream := client.Messages.NewStreaming(t.Context(), params)
		defer stream.Close()
		var m anthropic.Message
		last := ""
		for stream.Next() {
			event := stream.Current()
			last = event.Type
			if err := m.Accumulate(event); err != nil {
				t.Fatal(err)
			}
		}
		if err := stream.Err(); err != nil || last != "message_stop" {
			t.Errorf("last event %q, %v", last, err)
		}
		if len(m.Content) == 0 || m.Content[0].Text == "" || m.Usage.OutputTokens == 0 || m.StopReason != anthropic.StopReasonEndTurn {
			t.Errorf("message: %s", m.RawJSON())
		}
	})
	t.Run("count tokens", func(t *testing.T) {
		n, err := client.Messages.CountTokens(t.Context(), anthropic.MessageCountTokensParams{Model: model, Messages: hello})
		if err != nil || n.InputTokens == 0 {
			t.Errorf("%v, %v", n, err)
		}
	})
	t.Run("models", func(t *testing.T) {
		pages := client.Models.ListAutoPaging(t.Context(), anthropic.ModelListParams{Limit: anthropic.Int(4)})
		n := 0
		for pages.Next() {
			n++
		}
		if pages.Err() != nil || n < 5 {
			t.Errorf("%d models, %v", n, pages.Err())
		}
		m, err := client.Models.Get(t.Context(), model, anthropic.ModelGetParams{})
		if err != nil || m.ID != model {
			t.Errorf("%v, %v", m, err)
		}
	})
}

func TestGoSDKErrors(t *testing.T) {
	t.Parallel()
	f := newFake(t, "a")
	dead := start(t, balanced("random", deadEntry(t)))
	b := start(t, guarded(f.entry()).with("max_wait", 0)) // otherwise the balancer waits for limits of seconds
	params := anthropic.MessageNewParams{Model: model, MaxTokens: 256, Messages: hello}
	for _, test := range []struct {
		name   string
		client anthropic.Client
		fault  fault.Fault
		status int
		kind   anthropic.ErrorType
	}{
		{"the client's mistake", sdkClient(b, clientKey), status(400), 400, anthropic.ErrorTypeInvalidRequestError},
		{"unknown model", sdkClient(b, clientKey), status(404), 404, anthropic.ErrorTypeNotFoundError},
		{"rate limit", sdkClient(b, clientKey), status(429), 429, anthropic.ErrorTypeRateLimitError},
		{"overloaded", sdkClient(b, clientKey), status(529), 529, anthropic.ErrorTypeOverloadedError},
		{"wrong client key", sdkClient(b, "sk-wrong"), fault.Fault{}, 401, anthropic.ErrorTypeAuthenticationError},
		{"no upstream", sdkClient(dead, "any"), fault.Fault{}, 503, anthropic.ErrorTypeAPIError},
	} {
		t.Run(test.name, func(t *testing.T) {
			f.Script(test.fault)
			_, err := test.client.Messages.New(t.Context(), params)
			failure, ok := errors.AsType[*anthropic.Error](err)
			if !ok {
				t.Fatalf("%T: %v", err, err)
			}
			if failure.StatusCode != test.status || failure.Type() != test.kind || failure.RequestID == "" {
				t.Errorf("status %d, type %q, request id %q, want %d and %q", failure.StatusCode, failure.Type(), failure.RequestID, test.status, test.kind)
			}
		})
	}
}

// TestGoSDKTruncation checks that the SDK never gets a clean end without message_stop, which it
// would accept as a complete response.
func TestGoSDKTruncation(t *testing.T) {
	t.Parallel()
	f := newFake(t, "a")
	b := start(t, balanced("random", f.entry()))
	client := sdkClient(b, "any")
	for _, kind := range []fault.Kind{fault.End, fault.Close, fault.Reset} {
		f.Script(fault.Fault{Kind: kind, At: fault.AtMidText})
		stream := client.Messages.NewStreaming(t.Context(), anthropic.MessageNewParams{Model: model, MaxTokens: 256, Messages: hello})
		for stream.Next() {
		}
		if stream.Err() == nil {
			t.Errorf("%s: the stream ended without an error", kind)
		}
		stream.Close()
	}
	if a := b.get("/health"); a.status != http.StatusServiceUnavailable {
		t.Errorf("/health: status %d after three answers broke off, want 503", a.status)
	}
}
