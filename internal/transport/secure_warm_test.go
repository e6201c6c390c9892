package transport

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/config"
)

// TestWarmSecure checks that Warm opens one connection, which later requests use, and that it
// returns dial errors.
func TestWarmSecure(t *testing.T) {
	s := newSecureServer(t)
	base, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	tr := New(t.Context(), base, time.Minute, config.HTTPEngineFast).(*secureTransport)
	defer tr.CloseIdleConnections()
	tr.net.Proxy = nil
	tr.net.TLSClientConfig = s.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
	for range 2 {
		if err := tr.Warm(); err != nil {
			t.Fatal(err)
		}
	}
	if n := s.accepted.Load(); n != 1 {
		t.Errorf("%d connections", n)
	}

	ctx, cancel := context.WithCancel(t.Context())
	ending := New(ctx, &url.URL{Scheme: "https", Host: "127.0.0.1:9"}, 0, config.HTTPEngineFast).(*secureTransport)
	ending.net.Proxy = nil
	ending.net.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
		cancel()
		<-ctx.Done()
		return nil, context.Cause(ctx)
	}
	if err := ending.Warm(); !errors.Is(err, context.Canceled) {
		t.Errorf("a dial that ends with the context: %v", err)
	}
}
