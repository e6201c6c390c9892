package service

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/config"
	"github.com/9bingyin/claude-code-lb/internal/event"
	"github.com/9bingyin/claude-code-lb/internal/fakeclaude"
	"github.com/9bingyin/claude-code-lb/internal/fakeclaude/fault"
	"github.com/9bingyin/claude-code-lb/internal/ledger"
	"github.com/9bingyin/claude-code-lb/internal/proxy"
)

const soakSessions = 24

// soak is a balancer in front of upstreams that fail in every way, all in this process.
type soak struct {
	*Balancer
	t      *testing.T
	front  *httptest.Server
	client *http.Client
	close  func()
}

func newSoak(t *testing.T) *soak {
	t.Helper()
	faults := soakFaults(t)
	var closers []func()
	var servers []map[string]any
	for i, name := range []string{"a", "b", "c"} {
		f := fakeclaude.New(fakeclaude.Options{Name: name, Seed: uint64(i), KeepRequests: -1})
		f.SetFaults(faults...)
		s := httptest.NewServer(f)
		closers = append(closers, f.Close, s.Close)
		servers = append(servers, map[string]any{"name": name, "url": s.URL, "token": "sk-" + name})
	}
	src, err := json.Marshal(map[string]any{
		"servers": servers, "cooldown": "10ms", "max_wait": "100ms", "slow_start": 0, "breaker": map[string]any{"consecutive": 5},
		"timeouts": map[string]any{"response_header": "60ms", "idle": "60ms"}, "stream_keepalive": "20ms", "hedge": true,
	})
	if err != nil {
		t.Fatal(err)
	}
	cfg, problems := config.Decode("soak", src, func(string) (string, bool) { return "", false })
	if problems.Failed() {
		t.Fatal(problems)
	}
	ctx, cancel := context.WithCancel(t.Context())
	b := NewBalancer(ctx, cfg, event.NewBus(slog.New(slog.DiscardHandler)), new(slog.LevelVar), Sinks{Recorders: []proxy.Recorder{ledger.NewStats(time.Now())}})
	s := &soak{Balancer: b, t: t, front: httptest.NewServer(b.Handler), client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: soakSessions}}}
	s.close = sync.OnceFunc(func() {
		s.client.CloseIdleConnections()
		s.front.Close()
		cancel()
		b.Pool.Wait()
		for _, c := range closers {
			c()
		}
	})
	t.Cleanup(s.close)
	return s
}

// soakFaults returns faults for half of the requests, before their content and after it.
func soakFaults(t *testing.T) []fault.Rule {
	t.Helper()
	var rules []fault.Rule
	for _, text := range []string{
		"status=500", "status=503", "status=429,retry-after=0", "reset", "close", "reset=headers", "empty", "html",
		"error=api_error,at=message_start", "end=message_start", "stall", "stall=message_start", "slow=30ms",
		"reset=mid_text", "close=first_block", "end=mid_text", "end", "error=api_error,at=mid_text", "stall=mid_text", "gzip",
	} {
		rule, err := fault.ParseRule(text + ",p=0.035")
		if err != nil {
			t.Fatal(err)
		}
		if rule.Fault.Kind == fault.Stall {
			streams := true
			rule.Stream = &streams // a plain response may take minutes
		}
		rules = append(rules, rule)
	}
	return append(rules, soakDialects()...)
}

// soakDialects are failures with the texts of relays and of pages in front of them.
func soakDialects() []fault.Rule {
	var rules []fault.Rule
	for body, status := range map[string]int{
		`{}`: 200, `{"code":500,"msg":"internal error"}`: 200, `{"detail":"Not Found"}`: 404,
		`{"error":{"message":"Error from provider: Upstream request failed","type":"invalid_request_error"}}`: 400,
		`{"error":{"message":"No available channel for model x","type":"new_api_error"}}`:                     503,
		`{"error":{"message":"do request failed","type":"new_api_error","code":"do_request_failed"}}`:         500,
	} {
		injected := fault.Fault{Kind: fault.Status, Status: status, Body: body}
		rules = append(rules, fault.Rule{Fault: injected, Probability: 0.02})
	}
	return rules
}

// round sends a number of requests; every eighth client leaves early. It returns how many responses
// were complete.
func (s *soak) round(each int) (whole int) {
	var mu sync.Mutex
	var asking sync.WaitGroup
	for n := range soakSessions {
		asking.Go(func() {
			for i := range each {
				if s.ask((n+i)%2 == 0, (n+i)%8 == 0) {
					mu.Lock()
					whole++
					mu.Unlock()
				}
			}
		})
	}
	asking.Wait()
	return whole
}

func (s *soak) ask(stream, leave bool) (whole bool) {
	ctx, cancel := context.WithCancel(s.t.Context())
	defer cancel()
	body := fmt.Sprintf(`{"model":"claude-sonnet-4-5","max_tokens":200,"stream":%t,"messages":[{"role":"user","content":"hello"}]}`, stream)
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.front.URL+"/v1/messages", strings.NewReader(body))
	if err != nil {
		s.t.Error(err)
		return false
	}
	r.Header.Set("Anthropic-Version", "2023-06-01")
	res, err := s.client.Do(r)
	if err != nil {
		return false
	}
	defer res.Body.Close()
	if leave {
		return false
	}
	_, err = io.Copy(io.Discard, res.Body)
	return err == nil && res.StatusCode == http.StatusOK
}

// TestSoak checks that the balancer keeps nothing of requests that have ended, in any way.
func TestSoak(t *testing.T) {
	before := runtime.NumGoroutine()
	s := newSoak(t)
	s.round(10) // buffers, connections, statistics
	warm := heap()
	const each = 40
	whole := s.round(each)
	if asked := soakSessions * each; whole < asked/4 || whole > asked*9/10 {
		t.Errorf("%d of %d answers were whole: the test shows nothing", whole, asked)
	}
	const bound = 2 << 20
	if now := heap(); now > warm+bound {
		t.Errorf("the heap has grown from %d to %d bytes", warm, now)
	} else {
		t.Logf("%d answers whole, heap %d and then %d bytes", whole, warm, now)
	}
	s.eventually("no request is open", func() bool { return s.Handler.Open() == 0 })
	for _, e := range s.Handler.Current().Table.Endpoints() {
		if n := e.ViewAny(time.Now()).InFlight; n != 0 {
			t.Errorf("%d requests are in flight at %s", n, e.Name())
		}
	}
	s.close()
	s.eventually("no goroutine is left", func() bool { return runtime.NumGoroutine() <= before })
}

func (s *soak) eventually(what string, holds func() bool) {
	s.t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	poll := time.NewTicker(5 * time.Millisecond)
	defer poll.Stop()
	for !holds() {
		if time.Now().After(deadline) {
			stacks := make([]byte, 1<<20)
			s.t.Fatalf("not within 10s: %s\n%s", what, stacks[:runtime.Stack(stacks, true)])
		}
		<-poll.C
	}
}

// heap returns the bytes in use.
func heap() uint64 {
	runtime.GC()
	runtime.GC() // frees what finalizers and pools released
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
