package proxy

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/9bingyin/claude-code-lb/internal/claude"
)

// FuzzRelayedBytesEqualUpstreamBytes sends a complete response in arbitrary pieces through the
// proxy, and checks that the client gets the same bytes, without a byte order mark and with the
// names that events need.
func FuzzRelayedBytesEqualUpstreamBytes(f *testing.F) {
	f.Add([]byte{1, 200, 3}, []byte("tail without a blank line"), uint8(0))
	f.Add([]byte{255, 255, 255, 255}, []byte("data: [DONE]\n\n"), uint8(1))
	f.Add([]byte{7}, []byte{}, uint8(2))
	f.Add([]byte{2, 1, 90, 91, 92}, []byte("event: done\r\ndata: [DONE]\r\n\r\n"), uint8(3))
	f.Add([]byte{3, 3, 3}, []byte("data: {\"error\":\"x\"}\r\rdata: {\"type\":\"news\"}\n\n"), uint8(6))
	f.Add([]byte{40, 40, 40, 40, 40, 40}, []byte("\ufeffevent: \ndata: x\n\n\r\n"), uint8(5))
	f.Fuzz(func(t *testing.T, cuts, tail []byte, form uint8) {
		sent := startEvent + pingEvent + blockEvent + textEvent + ": comment\r\n\r\n" + textEvent + deltaEvent + stopEvent
		if form&4 != 0 {
			sent = strings.ReplaceAll(sent, "event: ", "id: ") // data alone
		}
		sent = strings.ReplaceAll(sent, "\n", []string{"\n", "\r\n", "\r", "\n"}[form&3]) + string(tail)
		want, refused := relabeled(sent)
		if refused {
			t.Skip("an error event")
		}
		r := newRig(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			rest := "\ufeff" + sent
			for _, c := range cuts {
				n := min(int(c), len(rest))
				io.WriteString(w, rest[:n])
				w.(http.Flusher).Flush()
				rest = rest[n:]
			}
			io.WriteString(w, rest)
		})
		got := r.post("/v1/messages", streamBody)
		if got.Body != want || got.Err != nil {
			t.Fatalf("client got %q, %v\nwant %q", got.Body, got.Err, want)
		}
	})
}

// relabeled returns the stream with the names that its events need, and whether it has an error
// event.
func relabeled(stream string) (text string, refused bool) {
	var out strings.Builder
	var a attempt
	done := 0
	a.events.KeepData = claude.NeedsData
	a.events.Feed([]byte(stream), a.observe)
	for _, r := range a.relabelings {
		out.WriteString(stream[done:r.at] + "event: " + r.name + "\n")
		done = r.at
	}
	return out.String() + stream[done:], a.message.Err != nil
}
