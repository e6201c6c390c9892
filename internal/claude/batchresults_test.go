package claude

import (
	"fmt"
	"strings"
	"testing"
)

func TestBatchResults(t *testing.T) {
	text := `{"custom_id":"1","result":{"type":"succeeded","message":{"type":"message","model":"a","usage":{"input_tokens":1,"output_tokens":2}}}}
{"custom_id":"2","result":{"type":"errored","error":{"type":"error","error":{"type":"invalid_request_error","message":"m"}}}}
{"custom_id":"3","result":{"type":"expired"}}
{"custom_id":"4","result":{"type":"succeeded","message":{"type":"message","model":"` + strings.Repeat("x", maxResult) + `"}}}

nonsense
{"custom_id":"5","result":{"type":"succeeded","message":{"type":"message","model":"b","usage":{"input_tokens":3}}}}`
	for _, step := range []int{1000, 7919, len(text)} {
		got := ""
		r := BatchResults{OnMessage: func(m *Message) { got += fmt.Sprint(m.Model, m.Usage.InputTokens, " ") }}
		for rest := []byte(text); len(rest) > 0; {
			n := min(step, len(rest))
			r.Feed(rest[:n])
			rest = rest[n:]
		}
		r.End()
		if got != "a1 b3 " || r.Skipped != 1 {
			t.Errorf("%q, %d skipped", got, r.Skipped)
		}
	}
}

// FuzzBatchResults checks that the messages do not depend on how the text is cut.
func FuzzBatchResults(f *testing.F) {
	f.Add([]byte("{\"result\":{\"message\":{\"type\":\"message\",\"id\":\"1\"}}}\n{\"result\":{\"message\":{\"type\":\"message\",\"id\":\"2\"}}}"), 3)
	f.Fuzz(func(t *testing.T, text []byte, step int) {
		read := func(step int) (ids []string) {
			r := BatchResults{OnMessage: func(m *Message) { ids = append(ids, m.ID) }}
			for rest := text; len(rest) > 0; {
				n := min(max(step, 1), len(rest))
				r.Feed(rest[:n])
				rest = rest[n:]
			}
			r.End()
			return ids
		}
		if whole, cut := read(len(text)), read(step%100); fmt.Sprint(whole) != fmt.Sprint(cut) {
			t.Errorf("%q and %q", whole, cut)
		}
	})
}
