//go:build unix

package e2e

import (
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestProcessThatStandsStill checks that suspending the process for longer than timeouts.idle,
// while its upstreams continue, cuts no streams, over HTTP/1.1 and HTTP/2.
func TestProcessThatStandsStill(t *testing.T) {
	t.Parallel()
	up := newFake(t, "a")
	proceed := make(chan struct{})
	paused := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for i, event := range strings.SplitAfter(wholeStream, "\n\n") {
			_, _ = io.WriteString(w, event)
			_ = http.NewResponseController(w).Flush()
			if i == 2 {
				<-proceed
			}
		}
	})
	plain := httptest.NewServer(paused)
	t.Cleanup(plain.Close)
	secure := httptest.NewUnstartedServer(paused)
	secure.EnableHTTP2 = true
	secure.StartTLS()
	t.Cleanup(secure.Close)
	authority := filepath.Join(t.TempDir(), "authority.pem")
	if err := os.WriteFile(authority, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	var balancers []*balancer
	var streams []*openStream
	for _, url := range []string{plain.URL, secure.URL} {
		if url == secure.URL && runtime.GOOS != "linux" { // systems whose environment cannot set a trusted authority
			continue
		}
		b := start(t, object{"servers": []object{up.entry().with("url", url)}, "timeouts": object{"idle": "2s"}}, "SSL_CERT_FILE="+authority)
		balancers, streams = append(balancers, b), append(streams, b.open(t))
		b.signal(syscall.SIGSTOP)
	}
	close(proceed)
	time.Sleep(3 * time.Second) // silence, by the processes' clocks
	for _, b := range balancers {
		b.signal(syscall.SIGCONT)
	}
	for _, s := range streams {
		s.mustEndWhole()
	}
}
