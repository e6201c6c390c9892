package e2e

import (
	"net/http"
	"strings"
	"testing"
)

// TestHTTPEngine changes the engine while a stream is open: the stream ends complete, and new
// connections use the other engine.
func TestHTTPEngine(t *testing.T) {
	t.Parallel()
	for from, to := range map[string]string{"fast": "go", "go": "fast"} {
		t.Run(from+" to "+to, func(t *testing.T) {
			t.Parallel()
			f := newFake(t, "a")
			cfg := balanced("round_robin", f.entry())
			b := start(t, cfg.with("http_engine", from))
			b.waitLog("starting", about("http_engine", from))
			b.waitLog("listening", about("http_engine", from))
			b.mustShowEngine(from, to)
			f.Script(heldMidText)
			s := b.open(t)
			b.reconfigure(cfg.with("http_engine", to))
			b.waitLog("listening", about("http_engine", to))
			b.mustShowEngine(to, from)
			f.release()
			s.mustEndWhole()
			b.client.CloseIdleConnections()
			b.mustServe(true, f)
			b.mustServe(false, f)
			// Only one of the engines reports a malformed request in the API's form.
			a := b.get("/v1/models", "X-Long", strings.Repeat("x", 300<<10))
			if own := strings.Contains(string(a.body), `"type":"error"`); a.status != http.StatusRequestHeaderFieldsTooLarge || own != (to == "fast") {
				t.Errorf("an oversized header: %d %s", a.status, a.body)
			}
		})
	}
}

// mustShowEngine checks the engine in the metrics.
func (b *balancer) mustShowEngine(engine, other string) {
	b.t.Helper()
	all := b.metrics()
	if all[`claude_code_lb_http_engine_info{engine="`+engine+`"}`] != 1 {
		b.t.Errorf("the metrics do not name the engine %q", engine)
	}
	if _, ok := all[`claude_code_lb_http_engine_info{engine="`+other+`"}`]; ok {
		b.t.Errorf("the metrics name the engine %q", other)
	}
}
