package e2e

import (
	"bytes"
	"compress/gzip"
	"io"
	"math/rand/v2"
	"net/http"
	"testing"

	"github.com/9bingyin/claude-code-lb/internal/fakeclaude/fault"
)

// TestAnyBodyArrivesAsItIs sends bodies that are not requests: every upstream of an attempt gets
// the same bytes.
func TestAnyBodyArrivesAsItIs(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("dice: %d", seed)
	dice := rand.New(rand.NewPCG(seed, 0))
	first, second := newFake(t, "first"), newFake(t, "second")
	b := start(t, undeterred(first.entry(), second.entry()))
	faults := []fault.Fault{status(500), {Kind: fault.Reset}, {Kind: fault.Close}}
	arrived := map[*fake]int{}
	for n := range 60 {
		body := randomBody(t, dice)
		first.Script(faults[n%len(faults)], faults[n%len(faults)])
		r := newRequest(t, t.Context(), http.MethodPost, b.url+"/v1/messages", "")
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
		if n%2 == 0 {
			r.ContentLength = -1 // chunked
		}
		if n%5 == 0 {
			r.Header.Set("Content-Encoding", "gzip") // although the body is not gzip
		}
		if a := send(b.client, r); a.err != nil {
			t.Fatal(a.err)
		}
		for _, f := range []*fake{first, second} {
			seen := f.Requests()
			if len(seen) <= arrived[f] {
				t.Fatalf("%d requests arrived at %s, want more", len(seen), f.name)
			}
			// A request is repeated when a kept connection ends before any byte of a response.
			for ; arrived[f] < len(seen); arrived[f]++ {
				if got := seen[arrived[f]].Body; !bytes.Equal(got, body) {
					t.Errorf("%s got %d bytes that are not the %d sent: %.200q and %.200q", f.name, len(got), len(body), got, body)
				}
			}
		}
	}
}

// randomBody returns up to 1 MiB: noise, text with unusual characters, compressed data, or a
// truncated request.
func randomBody(t *testing.T, dice *rand.Rand) []byte {
	t.Helper()
	size := dice.IntN(1 << (1 + dice.IntN(20)))
	noise := make([]byte, size)
	for i := range noise {
		noise[i] = byte(dice.Uint32())
	}
	switch dice.IntN(4) {
	case 0:
		return noise
	case 1:
		alphabet := []rune("{}[]\",:\\ \r\n\t\x00\ufeff\u2028é😀�a0")
		text := make([]rune, size/2)
		for i := range text {
			text[i] = alphabet[dice.IntN(len(alphabet))]
		}
		return []byte(string(text))[:size/2]
	case 2:
		var packed bytes.Buffer
		z := gzip.NewWriter(&packed)
		z.Write(noise)
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
		return packed.Bytes()[:dice.IntN(packed.Len())+1]
	default:
		request := append([]byte(message(dice.IntN(2) == 0)), noise...)
		return request[:dice.IntN(len(request)+1)]
	}
}
