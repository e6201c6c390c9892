package upstream

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/event"
	"github.com/9bingyin/claude-code-lb/internal/telemetry"
)

// fakeWarmer takes a second to connect.
type fakeWarmer struct {
	open, most *atomic.Int64
	err        error
}

func (d fakeWarmer) Warm() error {
	n := d.open.Add(1)
	d.most.Store(max(d.most.Load(), n))
	time.Sleep(time.Second)
	d.open.Add(-1)
	return d.err
}

// TestWarm checks that Warm connects to new servers concurrently, within a bound, and only logs
// failures.
func TestWarm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer // slog writes complete lines
		p := NewPool(t.Context(), event.NewBus(slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))))
		var now, most atomic.Int64
		for range 8 {
			p.cold = append(p.cold, coldServer{"good", fakeWarmer{open: &now, most: &most}})
		}
		p.cold = append(p.cold, coldServer{"dead", fakeWarmer{&now, &most, errors.New("refused")}})
		p.Warm()
		p.Wait()
		if n := most.Load(); n != maxWarming {
			t.Errorf("%d at a time", n)
		}
		if n := strings.Count(log.String(), telemetry.Warmed); n != 8 {
			t.Errorf("%d successes logged:\n%s", n, &log)
		}
		if n := strings.Count(log.String(), telemetry.WarmFailed); n != 1 || !strings.Contains(log.String(), "server=dead") {
			t.Errorf("%d failures logged:\n%s", n, &log)
		}
		if p.cold != nil {
			t.Errorf("%d servers to warm up again", len(p.cold))
		}
	})
}

// TestServersToWarm checks that Reconcile selects new https servers that accept requests.
func TestServersToWarm(t *testing.T) {
	p := testPool(t)
	drained := server(t, "drained", "https://drained.example", "unused")
	drained.Weight = 0
	cfg := configOf(server(t, "plain", "http://127.0.0.1:9", "p"), drained, server(t, "a", "https://a.example", "a"), server(t, "b", "https://b.example", "b"))
	for _, want := range []int{2, 0} { // in the second generation, no server is new
		_, commit := p.Reconcile(cfg)
		commit()
		if len(p.cold) != want {
			t.Errorf("%d servers to warm up, want %d: %v", len(p.cold), want, p.cold)
		}
	}
}
