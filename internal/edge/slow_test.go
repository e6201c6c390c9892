package edge

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestSlowBodiesDoNotStarveOthers: one key, whose clients announce much and send little, uses its
// full share. Small requests of others are served at once. For their large requests, slow bodies
// are evicted.
func TestSlowBodiesDoNotStarveOthers(t *testing.T) {
	var stream bool
	var got sent
	h := encodedFront(t, &stream, &got)
	h.bodies.limiter.resize(4<<20, 1<<20)
	post := func(do func(*http.Request) (*http.Response, error), key string, body io.Reader, length int) (int, string) {
		r, err := http.NewRequest(http.MethodPost, "http://x"+messages, body)
		if err != nil {
			return 0, err.Error()
		}
		r.ContentLength = int64(length)
		r.Header.Set("X-Api-Key", key)
		res, err := do(r)
		if err != nil {
			return 0, err.Error()
		}
		defer res.Body.Close()
		text, _ := io.ReadAll(res.Body)
		return res.StatusCode, fmt.Sprint(string(text), res.Close, res.Header["Connection"])
	}
	for engine, do := range engines(t, h) {
		const announced = 1 << 20
		slow := make(chan string, 6)
		var pipes []*io.PipeWriter
		for range cap(slow) {
			body, to := io.Pipe()
			pipes = append(pipes, to)
			go to.Write(bytes.Repeat([]byte("x"), 100<<10))
			go func() {
				status, text := post(do, "budget", body, announced)
				slow <- fmt.Sprint(status, text)
			}()
		}
		await(t, "the slow bodies to take memory", func() bool { return h.InFlight() > 2<<20 })
		small := fmt.Sprintf(`{"model":"m","max_tokens":9,"messages":[{"role":"user","content":%q}]}`, strings.Repeat("x", 30<<10))
		began := time.Now()
		if status, text := post(do, "free", strings.NewReader(small), len(small)); status != http.StatusOK || time.Since(began) > slowAfter/2 {
			t.Errorf("%s: a small request: %d after %v: %s", engine, status, time.Since(began), text)
		}
		// Together they need more memory than there is, so slow bodies are evicted.
		large := fmt.Sprintf(`{"model":"m","max_tokens":9,"messages":[{"role":"user","content":%q}]}`, strings.Repeat("x", 900<<10))
		for range 3 {
			if status, text := post(do, "free", strings.NewReader(large), len(large)); status != http.StatusOK {
				t.Errorf("%s: a large request: %d %s", engine, status, text)
			}
		}
		select {
		case text := <-slow:
			if !strings.HasPrefix(text, "408") && !strings.HasPrefix(text, "429") || engine == "http1" && !strings.Contains(text, "true") {
				t.Errorf("%s: %s", engine, text)
			}
		case <-time.After(10 * time.Second):
			t.Errorf("%s: no slow body was evicted", engine)
		}
		for _, to := range pipes {
			to.CloseWithError(io.ErrUnexpectedEOF)
		}
		await(t, "all memory to come back", func() bool { return h.InFlight() == 0 })
	}
}

func await(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("timed out waiting for %s", what)
		}
	}
}
