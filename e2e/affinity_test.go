package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// session is a conversation with cache marks on its system prompt and its last turn, as in Claude
// Code.
type session struct {
	name  string
	turns []string
}

// next returns the body of the next request.
func (s *session) next() string {
	marked := func(text string) string {
		return `[{"type":"text","text":"` + text + `","cache_control":{"type":"ephemeral"}}]`
	}
	question := fmt.Sprintf("question %d of %s %s", len(s.turns), s.name, strings.Repeat("and so on ", 60))
	turns := append(s.turns, `{"role":"user","content":`+marked(question)+`}`)
	s.turns = append(s.turns, `{"role":"user","content":"`+question+`"}`, `{"role":"assistant","content":"noted"}`)
	return `{"model":"claude-sonnet-4-5","max_tokens":50,"system":` + marked(strings.Repeat("be brief ", 2000)) + `,"messages":[` + strings.Join(turns, ",") + `]}`
}

// cacheReads runs sessions at the same time and sums the tokens read from and written to caches.
func cacheReads(t *testing.T, b *balancer) (read, written int64) {
	t.Helper()
	sessions := make([]*session, 7)
	for i := range sessions {
		sessions[i] = &session{name: fmt.Sprint("session ", i)}
	}
	for range 6 {
		for _, s := range sessions {
			a := b.do("POST", "/v1/messages", s.next())
			var m struct {
				Usage struct {
					Read    int64 `json:"cache_read_input_tokens"`
					Written int64 `json:"cache_creation_input_tokens"`
				} `json:"usage"`
			}
			if err := json.Unmarshal(a.body, &m); err != nil || a.status != 200 {
				t.Fatalf("status %d, %v: %s", a.status, err, a.body)
			}
			read += m.Usage.Read
			written += m.Usage.Written
		}
	}
	return read, written
}

// TestAffinityKeepsTheCache compares three accounts with one: apart from the shared prompt, which
// each account caches once, nothing is written twice.
func TestAffinityKeepsTheCache(t *testing.T) {
	t.Parallel()
	oneRead, oneWritten := cacheReads(t, start(t, balanced("round_robin", newFake(t, "one").entry())))
	three := newFakes(t, "a", "b", "c")
	cfg := balanced("round_robin", three[0].entry(), three[1].entry(), three[2].entry())
	read, written := cacheReads(t, start(t, cfg))
	shared := int64(2 * 5000) // two more accounts write the system prompt, of less than 5000 tokens
	if read < oneRead-shared || written > oneWritten+shared {
		t.Errorf("three accounts read %d and wrote %d tokens, one account %d and %d", read, written, oneRead, oneWritten)
	}
	for _, f := range three {
		if f.count() < 2*6 || f.count() > 3*6 {
			t.Errorf("%s served %d of 42 requests: new conversations take turns", f.name, f.count())
		}
	}
	fresh := newFakes(t, "a", "b", "c")
	cfg = balanced("round_robin", fresh[0].entry(), fresh[1].entry(), fresh[2].entry())
	_, blind := cacheReads(t, start(t, cfg.with("affinity", "off")))
	if blind <= written {
		t.Errorf("without affinity %d tokens were written, with it %d", blind, written)
	}
}

// TestAffinityIsExplained checks the reason in the trace.
func TestAffinityIsExplained(t *testing.T) {
	t.Parallel()
	fakes := newFakes(t, "a", "b")
	b := start(t, balanced("round_robin", fakes[0].entry(), fakes[1].entry()))
	s := &session{name: "explained"}
	b.do("POST", "/v1/messages", s.next())
	a := b.do("POST", "/v1/messages", s.next(), "X-Lb-Trace", "1")
	if got := a.header.Get("X-Lb-Reason"); !strings.HasPrefix(got, "a: answered in ") || !strings.Contains(got, ", warm on a (5k of 5k tokens cached, ") {
		t.Errorf("reason %q", got)
	}
}
