package service

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/claude"
	"github.com/9bingyin/claude-code-lb/internal/config"
	"github.com/9bingyin/claude-code-lb/internal/event"
	"github.com/9bingyin/claude-code-lb/internal/fakeclaude"
	"github.com/9bingyin/claude-code-lb/internal/fakeclaude/fault"
	"github.com/9bingyin/claude-code-lb/internal/upstream"
)

// TestMain makes the process trust the certificate of test servers.
func TestMain(m *testing.M) {
	os.Exit(trusting(m.Run))
}

func trusting(run func() int) int {
	s := httptest.NewTLSServer(nil)
	defer s.Close()
	dir, err := os.MkdirTemp("", "matrix")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "authority.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600); err != nil {
		panic(err)
	}
	os.Setenv("SSL_CERT_FILE", file)
	return run()
}

// stage is a balancer in front of simulated upstreams.
type stage struct {
	t     *testing.T
	fakes []*fakeclaude.Server
	b     *Balancer
	front *httptest.Server
}

// newStage starts n upstreams, in the order of their priority, that use HTTP/1.1 or HTTP/2 to the
// balancer.
func newStage(t *testing.T, n int, http2 bool, settings map[string]any) *stage {
	t.Helper()
	s := &stage{t: t}
	var servers []map[string]any
	for i := range n {
		fake := fakeclaude.New(fakeclaude.Options{Name: fmt.Sprint("upstream-", i), Seed: 1})
		server := httptest.NewUnstartedServer(fake)
		server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
		if server.EnableHTTP2 = http2; http2 {
			server.StartTLS()
		} else {
			server.Start()
		}
		t.Cleanup(func() { fake.Close(); server.CloseClientConnections(); server.Close() })
		s.fakes = append(s.fakes, fake)
		servers = append(servers, map[string]any{"name": string(rune('a' + i)), "url": server.URL, "token": "key", "priority": i + 1})
	}
	file := map[string]any{"mode": "fallback", "servers": servers}
	for name, value := range settings {
		file[name] = value
	}
	src, err := json.Marshal(file)
	if err != nil {
		t.Fatal(err)
	}
	cfg, problems := config.Decode("config.json", src, noEnv)
	if problems.Failed() {
		t.Fatal(problems)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.b = NewBalancer(ctx, cfg, event.NewBus(slog.New(slog.DiscardHandler)), new(slog.LevelVar), Sinks{})
	s.front = httptest.NewUnstartedServer(s.b.Handler)
	s.front.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	s.front.Start()
	t.Cleanup(func() { s.front.Close(); cancel(); s.b.Pool.Wait() })
	return s
}

// awaitRecords waits until all finished requests are recorded. A client may get its response before
// the state of the servers shows the failures.
func (s *stage) awaitRecords() {
	s.t.Helper()
	holds(s.t, "no request is open", func() bool { return s.b.Handler.Open() == 0 })
}

const matrixModel = "claude-sonnet-4-5"

func matrixBody(stream bool) string {
	return fmt.Sprintf(`{"model":%q,"max_tokens":200,"stream":%v,"tools":[{"name":"bash","input_schema":{"type":"object"}}],"messages":[{"role":"user","content":"hello there"}]}`, matrixModel, stream)
}

// unimpeded returns an upstream's response to its first request without the fault, without pings.
func unimpeded(t *testing.T, f fault.Fault, stream bool) string {
	fake := fakeclaude.New(fakeclaude.Options{Name: "reference", Seed: 1})
	if f.Kind != fault.Gzip {
		fake.Script(f)
	}
	w := httptest.NewRecorder()
	r := httptest.NewRequestWithContext(t.Context(), "POST", "/v1/messages", strings.NewReader(matrixBody(stream)))
	r.Header.Set("X-Api-Key", "key")
	r.Header.Set("Anthropic-Version", "2023-06-01")
	fake.ServeHTTP(w, r)
	return withoutPings(w.Body.String())
}

func withoutPings(events string) string {
	return strings.ReplaceAll(events, "event: ping\ndata: {\"type\": \"ping\"}\n\n", "")
}

// understood returns the parts of a stream that the official SDKs read: the data of named events other than ping.
func understood(events []byte) string {
	var out strings.Builder
	var s claude.EventScanner
	s.Feed(events, func(ev claude.Event) {
		if ev.Name != "" && ev.Name != "ping" {
			fmt.Fprintf(&out, "%s %s\n", ev.Name, ev.Data)
		}
	})
	return out.String()
}

// post sends one request and returns its result.
func (s *stage) post(f fault.Fault, stream bool) (view, string) {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), "POST", s.front.URL+"/v1/messages", strings.NewReader(matrixBody(stream)))
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header.Set("Anthropic-Version", "2023-06-01")
	res, err := s.front.Client().Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	v := view{cut: err != nil}
	switch {
	case res.StatusCode != http.StatusOK:
		e, ok := claude.ParseError(body)
		if !ok {
			s.t.Errorf("status %d with a body that is no error: %s", res.StatusCode, body)
		}
		v.status, v.kind = res.StatusCode, e.Type
	case strings.Contains(string(body), "event: error\n"):
		v.truncated = true
		if e, ok := lastError(body); ok && f.Kind == fault.Error {
			v.kind = e.Type
		}
	default:
		got := withoutPings(string(body))
		v.whole = got == unimpeded(s.t, fault.Fault{}, stream) || got == unimpeded(s.t, f, stream)
		if f.Kind == fault.Dialect && stream {
			v.whole = v.whole || understood(body) == understood([]byte(unimpeded(s.t, fault.Fault{}, stream)))
		}
	}
	s.awaitRecords()
	now := time.Now()
	for i, e := range s.b.Handler.Current().Table.Endpoints() {
		v.standing = append(v.standing, e.View(now, upstream.Subject{Model: matrixModel}).Unfit)
		v.asked = append(v.asked, int(s.fakes[i].Stats().Requests))
	}
	return v, string(body)
}

func lastError(events []byte) (claude.Error, bool) {
	_, data, _ := strings.Cut(string(events), "event: error\ndata: ")
	line, _, _ := strings.Cut(data, "\n")
	return claude.ParseError([]byte(line))
}

// TestFaultMatrix compares the balancer with the model in every combination of fault, point, kind
// of response, number of upstreams and protocol.
func TestFaultMatrix(t *testing.T) {
	for _, http2 := range []bool{false, true} {
		for _, f := range faults() {
			t.Run(fmt.Sprintf("http2=%v/%s", http2, name(f)), func(t *testing.T) {
				t.Parallel()
				var cases sync.WaitGroup
				defer cases.Wait()
				for _, stream := range []bool{true, false} {
					for n := 1; n <= 3; n++ {
						cases.Go(func() { checkCase(t, f, stream, n, false, http2) })
						if n > 1 {
							cases.Go(func() { checkCase(t, f, stream, n, true, http2) })
						}
					}
				}
			})
		}
	}
}

// checkCase compares one combination with the model. Only a stall reaches a limit; if a busy
// machine made another fault do so, a longer limit decides.
func checkCase(t *testing.T, f fault.Fault, stream bool, n int, healthy, http2 bool) {
	limits := []string{"20s"}
	if unfitOf(f, stream) == upstream.Paused {
		f.Headers = map[string]string{"Retry-After": "30"} // otherwise the cooldown could end before a busy machine has looked
	}
	if f.Kind == fault.Stall {
		limits = []string{"400ms", "5s"}
	}
	var got view
	var body string
	for _, limit := range limits {
		s := newStage(t, n, http2, map[string]any{
			"max_wait": 0, "stream_keepalive": 0, "timeouts": map[string]any{"response_header": limit, "non_streaming": limit, "idle": limit},
		})
		for i, fake := range s.fakes {
			if i < n-1 || !healthy {
				fake.SetFaults(fault.Rule{Fault: f})
			}
		}
		if got, body = s.post(f, stream); allows(f, stream, n, healthy, got) {
			return
		}
	}
	t.Errorf("stream %v, %d upstreams, the last one healthy %v:\n got %+v\nwant %+v\n%.600s", stream, n, healthy, got, expect(f, stream, n, healthy), body)
}

func noEnv(string) (string, bool) { return "", false }
