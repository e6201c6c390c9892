package fakeclaude

import (
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
)

// BenchmarkMessage serves a turn of usual size: 100 KB in 120 blocks.
func BenchmarkMessage(b *testing.B) {
	var turns []string
	for i := range 120 {
		turns = append(turns, fmt.Sprintf(`{"role":"user","content":[{"type":"text","text":"%d %s"}]}`, i, strings.Repeat("word ", 160)))
	}
	for _, stream := range []bool{true, false} {
		request := fmt.Sprintf(`{"model":%q,"max_tokens":4096,"stream":%t,"messages":[%s]}`, testModel, stream, strings.Join(turns, ","))
		b.Run(fmt.Sprintf("stream=%t", stream), func(b *testing.B) {
			s := New(Options{KeepRequests: -1})
			b.SetBytes(int64(len(request)))
			b.ReportAllocs()
			for b.Loop() {
				r := httptest.NewRequest("POST", "/v1/messages", strings.NewReader(request))
				r.Header.Set("X-Api-Key", "key")
				r.Header.Set("Anthropic-Version", "2023-06-01")
				if w := newRecorder(s, r); w.Code != 200 {
					b.Fatalf("status %d: %s", w.Code, w.Body)
				}
			}
		})
	}
}
