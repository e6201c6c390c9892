package proxy

import (
	"context"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/ledger"
	"github.com/9bingyin/claude-code-lb/internal/upstream"
)

// TestEveryLeaseIsReleased cancels requests at random moments: no slot stays in use, no half-open
// permit is lost, and no endpoint is charged.
func TestEveryLeaseIsReleased(t *testing.T) {
	pieces := []string{startEvent, pingEvent, blockEvent, textEvent, textEvent, deltaEvent, stopEvent}
	slowly := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for _, p := range pieces {
			timer := time.NewTimer(2 * time.Millisecond)
			select {
			case <-r.Context().Done():
				timer.Stop()
				return
			case <-timer.C:
			}
			io.WriteString(w, p)
			w.(http.Flusher).Flush()
		}
	}
	const requests = 150
	r := newRig(t, sequence(overloaded("Retry-After-Ms", "20"), slowly), slowly)
	r.recorded = make(chan struct{}, requests)
	r.settings.MaxWait = time.Second
	var clients sync.WaitGroup
	for range requests {
		clients.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), rand.N(25*time.Millisecond))
			defer cancel()
			req, err := http.NewRequestWithContext(ctx, "POST", r.front.URL+"/v1/messages", strings.NewReader(streamBody))
			if err != nil {
				t.Error(err)
				return
			}
			res, err := http.DefaultClient.Do(req)
			if err != nil {
				return
			}
			defer res.Body.Close()
			_, _ = io.Copy(io.Discard, res.Body)
		})
	}
	clients.Wait()
	r.front.Close() // waits for all handlers
	for _, e := range r.table.Endpoints() {
		if v := e.View(time.Now().Add(time.Minute), upstream.Subject{Model: "claude-test"}); v.InFlight != 0 || v.Unfit != upstream.Fit {
			t.Errorf("%s: %+v", e.Name(), v)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	gone := 0
	for _, e := range r.entries {
		switch e.Outcome {
		case ledger.ClientGone:
			gone++
		case ledger.Answered:
		default:
			t.Errorf("a request ended as %s: %+v", e.Outcome, e.Attempts)
		}
	}
	if gone == 0 {
		t.Error("no client left before the end: the test proves nothing")
	}
}
