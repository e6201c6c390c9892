package proxy

import (
	"io"
	"net/http"
	"testing"
)

// FuzzRelayedBytesEqualUpstreamBytes sends a whole answer cut into arbitrary
// pieces through the proxy and wants the same bytes at the other end.
func FuzzRelayedBytesEqualUpstreamBytes(f *testing.F) {
	f.Add([]byte{1, 200, 3}, []byte("tail without a blank line"))
	f.Add([]byte{255, 255, 255, 255}, []byte("data: [DONE]\n\n"))
	f.Add([]byte{7}, []byte{})
	f.Fuzz(func(t *testing.T, cuts, tail []byte) {
		sent := startEvent + pingEvent + blockEvent + textEvent + ": comment\r\n\r\n" + textEvent + deltaEvent + stopEvent + string(tail)
		r := newRig(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			rest := sent
			for _, c := range cuts {
				n := min(int(c), len(rest))
				io.WriteString(w, rest[:n])
				w.(http.Flusher).Flush()
				rest = rest[n:]
			}
			io.WriteString(w, rest)
		})
		got := r.post("/v1/messages", streamBody)
		if got.Body != sent || got.Err != nil {
			t.Fatalf("client got %q, %v\nwant %q", got.Body, got.Err, sent)
		}
	})
}
