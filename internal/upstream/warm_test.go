package upstream

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/9bingyin/claude-code-lb/internal/telemetry"
)

// TestWarm: every new https server that takes requests is connected to, a few at a time, and nothing is made of a failure.
func TestWarm(t *testing.T) {
	s := newSecureServer(t)
	var log bytes.Buffer // slog writes one line at a time
	p := NewPool(t.Context(), slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	drained := server(t, "drained", s.URL, "unused")
	drained.Weight = 0
	cfg := configured(server(t, "plain", "http://127.0.0.1:9", "p"), drained)
	for _, name := range []string{"a", "b", "c", "d", "e", "f", "g", "h"} {
		cfg.Servers = append(cfg.Servers, server(t, name, s.URL, name))
	}
	cfg.Servers = append(cfg.Servers, server(t, "dead", "https://127.0.0.1:9", "x"))
	eps, commit := p.Reconcile(cfg)
	commit()
	var now, most atomic.Int64
	for _, cold := range p.cold {
		dial := cold.transport.net.DialContext
		cold.transport.net.Proxy = nil
		cold.transport.net.TLSClientConfig = s.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
		cold.transport.net.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
			n := now.Add(1)
			defer now.Add(-1)
			for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
			}
			return dial(ctx, network, address)
		}
		defer cold.transport.CloseIdleConnections()
	}
	p.Warm()
	p.Wait()
	if n := s.conns.Load(); n != 8 {
		t.Errorf("%d connections to 8 servers", n)
	}
	if n := most.Load(); n > warmAtOnce {
		t.Errorf("%d at a time", n)
	}
	if n := strings.Count(log.String(), telemetry.Warmed); n != 8 {
		t.Errorf("%d successes logged:\n%s", n, &log)
	}
	if n := strings.Count(log.String(), telemetry.WarmFailed); n != 1 || !strings.Contains(log.String(), "server=dead") {
		t.Errorf("%d failures logged:\n%s", n, &log)
	}
	for i, e := range eps {
		if v := e.View(t0, Subject{}); v.Unfit != Fit && cfg.Servers[i].Weight > 0 {
			t.Errorf("%s: %v", cfg.Servers[i].Name, v.Unfit)
		}
	}

	_, commit = p.Reconcile(cfg)
	commit()
	p.Warm()
	p.Wait()
	if n := s.conns.Load(); n != 8 {
		t.Errorf("%d connections after a reload that changed nothing", n)
	}
}

// TestWarmingEndsWithThePool: a server that does not answer holds nobody up.
func TestWarmingEndsWithThePool(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	p := NewPool(ctx, slog.New(slog.DiscardHandler))
	cfg := configured(server(t, "a", "https://127.0.0.1:9", "a"))
	cfg.Timeouts.Connect = 0
	_, commit := p.Reconcile(cfg)
	commit()
	p.cold[0].transport.net.Proxy = nil
	p.cold[0].transport.net.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
		cancel()
		<-ctx.Done()
		return nil, context.Cause(ctx)
	}
	p.Warm()
	p.Wait()
}
