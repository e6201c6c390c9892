package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/anthropics/anthropic-sdk-go"

	"github.com/9bingyin/claude-code-lb/internal/fakeclaude"
	"github.com/9bingyin/claude-code-lb/internal/fakeclaude/fault"
)

// TestDialectsReachTheSDK checks that the official client reads the streams of an upstream in every
// dialect.
func TestDialectsReachTheSDK(t *testing.T) {
	t.Parallel()
	f := newFake(t, "odd")
	b := start(t, fallback(f.entry()))
	client := sdkClient(b, clientKey)
	for _, form := range fault.Dialects() {
		if form == "cr" {
			continue // the SDK for TypeScript reads such lines, the one for Go does not
		}
		f.fails(fault.Fault{Kind: fault.Dialect, Form: form})
		stream := client.Messages.NewStreaming(t.Context(), anthropic.MessageNewParams{Model: model, MaxTokens: 256, Messages: hello})
		var m anthropic.Message
		last := ""
		for stream.Next() {
			event := stream.Current()
			last = event.Type
			if err := m.Accumulate(event); err != nil {
				t.Errorf("%s: %v", form, err)
			}
		}
		if err := stream.Err(); err != nil || last != "message_stop" || len(m.Content) == 0 || m.Usage.OutputTokens == 0 {
			t.Errorf("%s: last event %q, %v", form, last, err)
		}
		stream.Close()
	}
}

// TestPausesOfAnAnswerAreBridged checks that comments fill pauses, so that no proxy on the way
// takes the connection for dead.
func TestPausesOfAnAnswerAreBridged(t *testing.T) {
	t.Parallel()
	f := newFake(t, "slow")
	f.fails(fault.Fault{Kind: fault.Stall, At: fault.AtMidText, Delay: fakeclaude.Duration(2500 * time.Millisecond)})
	b := start(t, fallback(f.entry()).with("stream_keepalive", "1s"))
	a := b.ask(true)
	if problem := a.flaw(true); problem != "" {
		t.Error(problem)
	}
	if !strings.Contains(string(a.body), "\n\n: keep-alive\n\n") {
		t.Errorf("no comment in\n%s", a.body)
	}
}
