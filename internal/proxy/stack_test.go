//go:build !race

package proxy

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/config"
	"github.com/9bingyin/claude-code-lb/internal/event"
	"github.com/9bingyin/claude-code-lb/internal/routing"
	"github.com/9bingyin/claude-code-lb/internal/upstream"
)

// serverStack is about what the server's own frames need above Serve, in bytes.
const serverStack = 1 << 10

// belowServer calls serve with as much of the stack in use as below the HTTP server.
//
//go:noinline
func belowServer(serve func()) byte {
	var frames [serverStack]byte
	serve()
	return frames[len(frames)-1]
}

// TestOpenStreamHasASmallStack measures the stacks of open streams. A stack doubles when it is
// full, and keeps that size until the stream ends. So one large frame on the way to the relay costs
// 8 KB for each open stream.
func TestOpenStreamHasASmallStack(t *testing.T) {
	if testing.CoverMode() != "" {
		t.Skip("instrumented code has larger frames")
	}
	const streams, most = 200, 12 << 10
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	conns := make(chan net.Conn, streams)
	go func() { // one goroutine for all connections, so that only the balancer's stacks count
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			in := bufio.NewReader(conn)
			if r, err := http.ReadRequest(in); err == nil {
				_, _ = io.Copy(io.Discard, r.Body)
			}
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"+startEvent+blockEvent)
			conns <- conn
		}
	}()
	ctx, cancel := context.WithCancel(t.Context())
	log := slog.New(slog.DiscardHandler)
	pool := upstream.NewPool(ctx, event.NewBus(log))
	cfg := &config.Config{Mode: config.ModeFallback, Cooldown: time.Minute, MaxEjectedPercent: 50, Timeouts: config.Timeouts{Connect: time.Second}}
	for _, name := range []string{"a", "b"} { // a choice among several needs the most stack
		cfg.Servers = append(cfg.Servers, config.Server{Name: name, URL: &url.URL{Scheme: "http", Host: listener.Addr().String()}, Weight: 1, Token: config.NewSecret("token-" + name), AuthHeader: config.AuthHeaderAuto})
	}
	eps, commit := pool.Reconcile(cfg)
	commit()
	table := routing.NewTable(cfg, eps, routing.NewIndex(1<<20, 1), routing.Random)
	p := New(log, 1)
	settings := Settings{FirstContent: 5 * time.Second, NonStreaming: 5 * time.Second, Idle: time.Minute, MaxAttempts: 4, RetryFloor: 10}
	before := stacks()
	heap := heapInUse()
	var open sync.WaitGroup
	for range streams {
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, "/v1/messages", nil)
		if err != nil {
			t.Fatal(err)
		}
		open.Go(func() {
			defer func() { _ = recover() }() // a stream that breaks off panics
			belowServer(func() {
				p.Serve(&drain{header: http.Header{}}, Request{ID: "req_lb_test", HTTP: r, Body: NewBody([]byte(streamBody), nil), Start: time.Now(), Table: table, Settings: &settings})
			})
		})
	}
	for range streams {
		defer (<-conns).Close()
	}
	for deadline := time.Now().Add(10 * time.Second); relaying(p) < streams && time.Now().Before(deadline); {
		time.Sleep(10 * time.Millisecond)
	}
	each := (int64(stacks()) - int64(before)) / streams
	t.Logf("%d bytes of stack, %d of heap for each stream", each, (int64(heapInUse())-int64(heap))/streams)
	if each > most {
		t.Errorf("%d bytes of stack for each open stream, at most %d", each, most)
	}
	cancel()
	open.Wait()
	_ = listener.Close()
	pool.Wait()
}

// relaying counts the requests whose clients have received bytes.
func relaying(p *Proxy) (n int) {
	for _, each := range p.Live() {
		if each.Bytes > 0 {
			n++
		}
	}
	return n
}

func stacks() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.StackInuse
}

func heapInUse() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
