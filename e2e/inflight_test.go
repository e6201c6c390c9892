package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/9bingyin/claude-code-lb/internal/claude"
)

// TestBodiesAreBoundedTogether fills the memory for bodies: the next one waits, and is refused if
// none is released.
func TestBodiesAreBoundedTogether(t *testing.T) {
	t.Parallel()
	f := newFake(t, "a")
	cfg := balanced("round_robin", f.entry()).with("max_body_mb", 1).with("max_inflight_bytes", 1<<20)
	b := start(t, cfg.with("max_wait", "300ms"))
	large := fmt.Sprintf(`{"model":%q,"max_tokens":9,"stream":true,"messages":[{"role":"user","content":%q}]}`, model, strings.Repeat("x", 700_000))
	f.fails(heldBeforeHead)
	first := make(chan answer, 1)
	go func() { first <- b.do(http.MethodPost, "/v1/messages", large) }()
	eventually(t, "the first one is under way", func() bool { return f.Stats().InFlight == 1 })
	a := b.do(http.MethodPost, "/v1/messages", large)
	if e := a.failure(t, http.StatusTooManyRequests, claude.ErrRateLimit); !strings.Contains(e.Message, "max_inflight_bytes") || a.header.Get("Retry-After") == "" {
		t.Errorf("%v %+v", a.header, e)
	}
	f.fails()
	b.mustServe(true, f) // a small one fits
	f.release()
	if a := <-first; a.status != http.StatusOK {
		t.Errorf("%d %s", a.status, a.body)
	}
	// Memory is released, and the waiting requests get it.
	b.reconfigure(cfg.with("max_wait", "1m"))
	var wg sync.WaitGroup
	for range 6 {
		wg.Go(func() {
			if a := b.do(http.MethodPost, "/v1/messages", large); a.status != http.StatusOK {
				t.Errorf("%d %s", a.status, a.body)
			}
		})
	}
	wg.Wait()
}
