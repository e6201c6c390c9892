package edge

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"

	"github.com/9bingyin/claude-code-lb/internal/config"
	"github.com/9bingyin/claude-code-lb/internal/event"
	"github.com/9bingyin/claude-code-lb/internal/proxy"
	"github.com/9bingyin/claude-code-lb/internal/quota"
	"github.com/9bingyin/claude-code-lb/internal/routing"
	"github.com/9bingyin/claude-code-lb/internal/upstream"
)

const streamedReply = `event: message_start
data: {"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","model":"m","content":[],"usage":{"input_tokens":1,"output_tokens":1}}}

event: content_block_start
data: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}

event: message_delta
data: {"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":2}}

event: message_stop
data: {"type":"message_stop"}

`

const plainReply = `{"id":"msg_1","type":"message","role":"assistant","model":"m","content":[{"type":"text","text":"x"}],"stop_reason":"end_turn","usage":{"input_tokens":1,"output_tokens":1}}`

// sent is a request as an upstream received it.
type sent struct {
	body     []byte
	encoding string
}

// encodedFront returns a handler for clients with two keys: "models", which has a list of models,
// and "free". Its upstream streams if *stream is true.
func encodedFront(t *testing.T, stream *bool, got *sent) *Handler {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		*got = sent{body, strings.Join(r.Header["Content-Encoding"], "|")}
		kind, reply := "application/json", plainReply
		switch {
		case strings.HasSuffix(r.URL.Path, "count_tokens"):
			reply = `{"input_tokens":3}`
		case *stream:
			kind, reply = "text/event-stream", streamedReply
		}
		w.Header().Set("Content-Type", kind)
		io.WriteString(w, reply)
	}))
	t.Cleanup(s.Close)
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	cfg := &config.Config{Mode: config.ModeFallback, Cooldown: time.Minute, MaxEjectedPercent: 50, Timeouts: config.Timeouts{Connect: time.Second},
		Servers: []config.Server{{Name: "a", URL: u, Weight: 1, Token: config.NewSecret("token")}},
		AuthKeys: []config.ClientKey{
			{Name: "models", Key: config.NewSecret("models"), Models: []string{"claude-haiku-*"}},
			{Name: "budget", Key: config.NewSecret("budget"), Budget: config.Budget{Day: 100}},
			{Name: "free", Key: config.NewSecret("free")},
		}}
	ctx, cancel := context.WithCancel(t.Context())
	log := slog.New(slog.DiscardHandler)
	pool := upstream.NewPool(ctx, event.NewBus(log))
	t.Cleanup(func() { cancel(); pool.Wait() })
	eps, commit := pool.Reconcile(cfg)
	commit()
	book := quota.NewBook(event.NewBus(log), nil)
	return NewHandler(proxy.New(log, 1), log, &Snapshot{
		Guard: NewGuard(true, book.Compile(ctx, cfg, time.Now())), Book: book, Table: routing.NewTable(cfg, eps, routing.NewIndex(1<<20, 1), routing.Random),
		Limits: Limits{MaxBody: 1 << 20, InFlight: 16 << 20}, Forward: &proxy.Settings{MaxAttempts: 1, RetryFloor: 10},
	})
}

// engines returns clients for servers of all HTTP engines in front of a handler.
func engines(t *testing.T, h http.Handler) map[string]func(*http.Request) (*http.Response, error) {
	t.Helper()
	issuer := httptest.NewTLSServer(http.NotFoundHandler())
	issuer.Close()
	all := map[string]func(*http.Request) (*http.Response, error){}
	for _, name := range []string{"http1", "http2", "net/http"} {
		s := NewServer(h, slog.New(slog.DiscardHandler))
		client := &http.Client{Transport: &http.Transport{}}
		scheme := "http"
		if name == "net/http" {
			s.SetEngine(config.HTTPEngineGo)
		}
		if name == "http2" {
			s.SetCertificate(&issuer.TLS.Certificates[0])
			scheme = "https"
			client.Transport = &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: issuer.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs}}
		}
		if err := s.Listen("127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			client.CloseIdleConnections()
			_ = s.Drain(t.Context())
		})
		all[name] = func(r *http.Request) (*http.Response, error) {
			r.URL.Scheme, r.URL.Host = scheme, s.Addr().String()
			return client.Do(r)
		}
	}
	return all
}

func compress(t *testing.T, coding, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	var z io.WriteCloser
	switch coding {
	case "gzip":
		z = gzip.NewWriter(&b)
	case "deflate":
		z = zlib.NewWriter(&b)
	case "br":
		z = brotli.NewWriter(&b)
	case "zstd":
		z, _ = zstd.NewWriter(&b)
	}
	io.WriteString(z, text)
	z.Close()
	return b.Bytes()
}

// TestCompressedRequests sends requests with a Content-Encoding through both engines. The balancer
// reads their content, and forwards them unchanged.
func TestCompressedRequests(t *testing.T) {
	var stream bool
	var got sent
	h := encodedFront(t, &stream, &got)
	message := func(model string, stream bool) string {
		return fmt.Sprintf(`{"model":%q,"max_tokens":9,"stream":%t,"messages":[{"role":"user","content":"hello"}]}`, model, stream)
	}
	const haiku, opus = "claude-haiku-4-5", "claude-opus-4-5"
	bomb := compress(t, "gzip", strings.Repeat(" ", 64<<20)+message(haiku, true))
	batch := fmt.Sprintf(`{"requests":[{"custom_id":"1","params":%s}]}`, message(opus, false))
	type test struct {
		name, key, path string
		encoding        []string
		body            []byte
		streams         bool // the response of the upstream is a stream
		status          int
		words           string
	}
	var tests []test
	for _, coding := range []string{"gzip", "deflate", "br", "zstd"} {
		for _, streams := range []bool{true, false} {
			tests = append(tests,
				test{coding, "models", messages, []string{coding}, compress(t, coding, message(haiku, streams)), streams, 200, ""},
				test{coding + " other model", "models", messages, []string{coding}, compress(t, coding, message(opus, streams)), streams, 403, "may not ask the model " + opus},
			)
		}
	}
	twice := compress(t, "zstd", string(compress(t, "gzip", message(haiku, true))))
	tests = append(tests,
		test{"two codings", "models", messages, []string{"gzip, ZSTD"}, twice, true, 200, ""},
		test{"two lines", "models", messages, []string{"gzip", "zstd"}, twice, true, 200, ""},
		test{"x-gzip, identity", "models", messages, []string{"identity, X-GZIP"}, compress(t, "gzip", message(haiku, true)), true, 200, ""},
		test{"identity", "models", messages, []string{"identity"}, []byte(message(haiku, true)), true, 200, ""},
		test{"count_tokens", "models", messages + "/count_tokens", []string{"gzip"}, compress(t, "gzip", message(opus, false)), false, 403, opus},
		test{"batch", "models", messages + "/batches", []string{"gzip"}, compress(t, "gzip", batch), false, 403, opus},
		test{"bomb", "models", messages, []string{"gzip"}, bomb, true, 400, "grows beyond"},
		test{"bomb, budget", "budget", messages, []string{"gzip"}, bomb, true, 400, "grows beyond"},
		test{"bomb without limits", "free", messages, []string{"gzip"}, bomb, true, 200, ""},
		test{"unknown", "models", messages, []string{"lzma"}, []byte("abc"), true, 415, "cannot read the Content-Encoding"},
		test{"unknown without limits, stream", "free", messages, []string{"lzma"}, []byte("abc"), true, 200, ""},
		test{"unknown without limits, plain", "free", messages, []string{"lzma"}, []byte("abc"), false, 200, ""},
		test{"corrupt", "budget", messages, []string{"gzip"}, []byte("abc"), true, 400, "cannot be decoded"},
		test{"cut off", "budget", messages, []string{"br"}, compress(t, "br", message(haiku, true))[:20], true, 400, "cannot be decoded"},
		test{"not encoded at all", "models", messages, []string{"deflate"}, []byte(message(haiku, true)), true, 400, "plain JSON"},
		test{"not encoded, without limits", "free", messages, []string{"deflate"}, []byte(message(haiku, true)), true, 200, ""},
		test{"too many", "models", messages, []string{"gzip, gzip, gzip, gzip"}, []byte("abc"), true, 415, "content-encodings"},
	)
	for engine, do := range engines(t, h) {
		for _, c := range tests {
			stream, got = c.streams, sent{}
			r, err := http.NewRequest(http.MethodPost, "http://x"+c.path, bytes.NewReader(c.body))
			if err != nil {
				t.Fatal(err)
			}
			r.Header["Content-Encoding"] = c.encoding
			r.Header.Set("X-Api-Key", c.key)
			res, err := do(r)
			if err != nil {
				t.Errorf("%s, %s: %v", engine, c.name, err)
				continue
			}
			text, err := io.ReadAll(res.Body)
			res.Body.Close()
			if err != nil || res.StatusCode != c.status || !strings.Contains(string(text), c.words) {
				t.Errorf("%s, %s, streams %t: %d %s %v", engine, c.name, c.streams, res.StatusCode, text, err)
			}
			if c.status != http.StatusOK {
				var e struct {
					Type  string
					Error struct{ Type, Message string }
				}
				if json.Unmarshal(text, &e) != nil || e.Type != "error" || e.Error.Message == "" || got.body != nil {
					t.Errorf("%s, %s: %s, reached the upstream: %t", engine, c.name, text, got.body != nil)
				}
				continue
			}
			if !bytes.Equal(got.body, c.body) || got.encoding != strings.Join(c.encoding, "|") {
				t.Errorf("%s, %s: the upstream received %d bytes of %d, encoding %q", engine, c.name, len(got.body), len(c.body), got.encoding)
			}
		}
	}
	for end := time.Now().Add(10 * time.Second); h.InFlight() != 0 && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	if n := h.InFlight(); n != 0 {
		t.Errorf("%d bytes are still counted", n)
	}
}

const messages = "/v1/messages"
