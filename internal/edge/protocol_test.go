package edge

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/config"
	"github.com/9bingyin/claude-code-lb/internal/telemetry"
)

// logged is a log that a test can read while the server writes it.
type logged struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logged) count(message string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), message)
}

// httpEngines returns both HTTP implementations.
func httpEngines() []config.HTTPEngine {
	return []config.HTTPEngine{config.HTTPEngineFast, config.HTTPEngineGo}
}

// listening starts a server with or without a certificate.
func listening(t *testing.T, engine config.HTTPEngine, secure bool) (address string, log *logged) {
	t.Helper()
	log = &logged{}
	s := NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }), slog.New(slog.NewJSONHandler(log, nil)))
	s.SetEngine(engine)
	if secure {
		other := httptest.NewTLSServer(nil)
		s.SetCertificate(&other.TLS.Certificates[0])
		other.Close()
	}
	if err := s.Listen("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		_ = s.Drain(ctx)
	})
	return s.Addr().String(), log
}

// TestTLSOnThePlainPort checks that TLS is refused at once, even after only one byte, and logged.
func TestTLSOnThePlainPort(t *testing.T) {
	for _, engine := range httpEngines() {
		t.Run(string(engine), func(t *testing.T) { testTLSOnThePlainPort(t, engine) })
	}
}

func testTLSOnThePlainPort(t *testing.T, engine config.HTTPEngine) {
	address, log := listening(t, engine, false)
	began := time.Now()
	res, err := http.Get("https://" + address)
	if err == nil {
		res.Body.Close()
	}
	if err == nil || !strings.Contains(err.Error(), "HTTP response to HTTPS client") {
		t.Error(err)
	}
	for _, first := range []string{"\x16", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"} {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(c, first)
		got, err := io.ReadAll(c)
		if err != nil || !strings.HasPrefix(string(got), "HTTP/1.1 400 ") || !strings.Contains(string(got), "use http:// here") {
			t.Errorf("%q: %q, %v", first, got, err)
		}
		c.Close()
	}
	if took := time.Since(began); took > headerTimeout/2 {
		t.Errorf("it took %v", took)
	}
	if n := log.count(telemetry.TLSOnPlain); n != 1 {
		t.Errorf("%d lines in the log", n)
	}
}

// TestPlainHTTPOnTheTLSPort checks the error for every method.
func TestPlainHTTPOnTheTLSPort(t *testing.T) {
	for _, engine := range httpEngines() {
		t.Run(string(engine), func(t *testing.T) { testPlainHTTPOnTheTLSPort(t, engine) })
	}
}

func testPlainHTTPOnTheTLSPort(t *testing.T, engine config.HTTPEngine) {
	address, log := listening(t, engine, true)
	for _, method := range []string{"GET", "POST", "DELETE", "OPTIONS"} {
		r, err := http.NewRequest(method, "http://"+address+"/v1/messages", strings.NewReader(strings.Repeat("x", 100<<10)))
		if err != nil {
			t.Fatal(err)
		}
		res, err := http.DefaultTransport.RoundTrip(r)
		if err != nil {
			t.Errorf("%s: %v", method, err)
			continue
		}
		body, _ := io.ReadAll(res.Body)
		res.Body.Close()
		if res.StatusCode != http.StatusBadRequest || !strings.Contains(string(body), "HTTP request to an HTTPS server") || !strings.Contains(string(body), `"type":"error"`) {
			t.Errorf("%s: %d %s", method, res.StatusCode, body)
		}
	}
	if n := log.count(telemetry.PlainOnTLS); n != 1 {
		t.Errorf("%d lines in the log", n)
	}
	c, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}
