package fakeclaude

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/9bingyin/claude-code-lb/internal/claude"
	"github.com/9bingyin/claude-code-lb/internal/fakeclaude/fault"
)

func TestShapes(t *testing.T) {
	u := serve(t, Options{})
	for _, form := range fault.Shapes() {
		for _, stream := range []bool{true, false} {
			u.Script(fault.Fault{Kind: fault.Shape, Form: form})
			got := u.ask(body(stream, ""))
			m, plain := claude.ParseMessage(got.body)
			if got.status != 200 || plain && !m.Empty() || !plain && !json.Valid(got.body) && !stream {
				t.Errorf("%s, stream %v: %d %q", form, stream, got.status, got.body)
			}
		}
	}
}

func TestDialectsKeepTheContent(t *testing.T) {
	read := func(events []byte) (kinds []string, m claude.Message) {
		s := claude.EventScanner{KeepData: claude.NeedsData}
		s.Feed(events, func(ev claude.Event) {
			if kind := ev.Kind(); kind != "" && kind != "ping" {
				kinds = append(kinds, kind)
			}
			m.Observe(ev)
		})
		return kinds, m
	}
	for _, form := range fault.Dialects() {
		u := serve(t, Options{Seed: 1})
		u.Script(fault.Fault{}, fault.Fault{Kind: fault.Dialect, Form: form})
		plain, odd := u.ask(body(true, "")), u.ask(body(true, ""))
		want, _ := read(plain.body)
		kinds, m := read(odd.body)
		if len(kinds) < 6 || kinds[0] != want[0] || kinds[len(kinds)-1] != "message_stop" || !m.Stopped || m.Usage.OutputTokens == 0 || bytes.Equal(plain.body, odd.body) {
			t.Errorf("%s: %q of %q", form, kinds, odd.body)
		}
	}
}
