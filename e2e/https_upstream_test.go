package e2e

import (
	"encoding/pem"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/9bingyin/claude-code-lb/internal/fakeclaude/fault"
)

// secureFake is a simulated upstream over HTTPS that counts its connections.
type secureFake struct {
	*fake
	env   string // makes the balancer trust it
	conns atomic.Int64
}

func newSecureFake(t *testing.T, http2 *http.HTTP2Config) *secureFake {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("SKIPPED outside of Linux: the environment cannot name an authority to trust")
	}
	f := &secureFake{fake: newFake(t, "a")}
	s := httptest.NewUnstartedServer(f.fake)
	s.EnableHTTP2, s.Config.HTTP2 = http2 != nil, http2
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			f.conns.Add(1)
		}
	}
	s.StartTLS()
	t.Cleanup(func() {
		f.release()
		s.CloseClientConnections()
		s.Close()
	})
	f.url = s.URL
	authority := filepath.Join(t.TempDir(), "authority.pem")
	if err := os.WriteFile(authority, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	f.env = "SSL_CERT_FILE=" + authority
	return f
}

// TestHTTPSUpstream checks that a connection is opened before the first request, and that all
// requests use it.
func TestHTTPSUpstream(t *testing.T) {
	t.Parallel()
	f := func(http2 *http.HTTP2Config, most int64) {
		t.Helper()
		up := newSecureFake(t, http2)
		b := start(t, balanced("round_robin", up.entry()), up.env)
		eventually(t, "the upstream is connected to", func() bool { return up.conns.Load() == 1 })
		if n := up.count(); n != 0 {
			t.Errorf("%d requests before the first one", n)
		}
		for range 20 {
			b.mustServe(true, up.fake)
			b.mustServe(false, up.fake)
		}
		if n := up.conns.Load(); n > most {
			t.Errorf("40 requests in turn took %d connections", n)
		}
	}
	f(&http.HTTP2Config{}, 1)
	f(nil, 2) // the connection on which the upstream chooses HTTP/1.1 serves one request
}

// TestStreamsBeyondTheUpstreamsLimit checks that streams do not wait for each other.
func TestStreamsBeyondTheUpstreamsLimit(t *testing.T) {
	t.Parallel()
	const streams, each = 120, 10
	up := newSecureFake(t, &http.HTTP2Config{MaxConcurrentStreams: each})
	up.Script(slices.Repeat([]fault.Fault{heldMidText}, streams)...)
	b := start(t, balanced("round_robin", up.entry()), up.env)
	open := make(chan *openStream, streams)
	var all sync.WaitGroup
	for range streams {
		all.Go(func() { open <- b.open(t) })
	}
	all.Wait()
	if n := up.conns.Load(); n > 3*streams/each {
		t.Errorf("%d connections for %d streams, %d on each", n, streams, each)
	}
	up.release()
	for range streams {
		(<-open).mustEndWhole()
	}
}

// TestWarmedAfterReload checks that a new server gets a connection before its first request.
func TestWarmedAfterReload(t *testing.T) {
	t.Parallel()
	old, added := newFake(t, "old"), newSecureFake(t, &http.HTTP2Config{})
	b := start(t, fallback(old.entry()), added.env)
	b.reconfigure(fallback(old.entry(), added.entry().with("name", "added")))
	eventually(t, "the new server is connected to", func() bool { return added.conns.Load() == 1 })
	b.mustServe(true, old)
	if n := added.count(); n != 0 {
		t.Errorf("%d requests to the new server", n)
	}
}
