package e2e

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"testing"

	"github.com/Shopify/toxiproxy/v2/stream"
	"github.com/Shopify/toxiproxy/v2/toxics"
)

// poisoned is a site behind a bad line: what it answers goes through the toxic that next makes for each connection.
func poisoned(t *testing.T, s *site, next func() toxics.Toxic) object {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var lines sync.WaitGroup
	lines.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			toxic := next()
			lines.Go(func() { badLine(client, s.address, toxic) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		s.down()
		lines.Wait()
	})
	return s.entry().with("url", "http://"+l.Addr().String())
}

// badLine connects a client with a server until one of them or the toxic ends it.
func badLine(client net.Conn, server string, toxic toxics.Toxic) {
	defer client.Close()
	upstream, err := net.Dial("tcp", server)
	if err != nil {
		return
	}
	defer upstream.Close()
	if _, resets := toxic.(*toxics.ResetToxic); resets {
		client.(*net.TCPConn).SetLinger(0)
	}
	sent, received := make(chan *stream.StreamChunk), make(chan *stream.StreamChunk)
	stub := toxics.NewToxicStub(sent, received)
	if stateful, ok := toxic.(toxics.StatefulToxic); ok {
		stub.State = stateful.NewState()
	}
	var ways sync.WaitGroup
	ways.Go(func() {
		io.Copy(upstream, client)
		upstream.Close()
	})
	ways.Go(func() {
		in := stream.NewChanWriter(sent)
		io.Copy(in, upstream)
		in.Close()
	})
	ways.Go(func() { stub.Run(&toxics.ToxicWrapper{Toxic: toxic, Toxicity: 1}) })
	io.Copy(client, stream.NewChanReader(received))
	client.Close()
	upstream.Close()
	for range received { // a toxic that is still at it
	}
	for range sent {
	}
	ways.Wait()
}

// undeterred is a configuration that goes on asking a first server that fails.
func undeterred(first, second object) object {
	return fallback(first, second).
		with("breaker", object{"consecutive": 1000, "percent": 100, "minimum": 1000}).with("retry_budget_percent", 100)
}

func TestToxicLines(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		toxic  toxics.Toxic
		passes bool // answers come through
	}{
		{"latency", &toxics.LatencyToxic{Latency: 50, Jitter: 40}, true},
		{"too much latency", &toxics.LatencyToxic{Latency: 600}, false},
		{"bandwidth", &toxics.BandwidthToxic{Rate: 100}, true},
		{"slow close", &toxics.SlowCloseToxic{Delay: 200}, true},
		{"reset", &toxics.ResetToxic{}, false},
		{"reset after a while", &toxics.ResetToxic{Timeout: 100}, false},
		{"nothing for a while, then the end", &toxics.TimeoutToxic{Timeout: 100}, false},
		{"nothing", &toxics.TimeoutToxic{}, false},
		{"slices", &toxics.SlicerToxic{AverageSize: 24, SizeVariation: 12, Delay: 10}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			first, second := newSite(t, "first"), newSite(t, "second")
			cfg := undeterred(poisoned(t, first, func() toxics.Toxic { return test.toxic }), second.entry())
			server, spared := first, second
			if !test.passes {
				server, spared, cfg = second, nil, cfg.with("timeouts", impatient)
			}
			b := start(t, cfg)
			for i := range 6 {
				a := b.mustServe(i%2 == 0, server.fake)
				mustBeWhole(t, a, server)
			}
			if spared != nil && spared.count() > 0 {
				t.Errorf("%d requests reached the second server", spared.count())
			}
		})
	}
}

// mustBeWhole compares an answer with what the server sent.
func mustBeWhole(t *testing.T, a answer, server *site) {
	t.Helper()
	if sent, _ := server.take(a.header.Get("Request-Id")); !bytes.Equal(a.body, sent) {
		t.Errorf("%s sent\n%s\nand this arrived:\n%s", server.name, sent, a.body)
	}
}

// TestCutLines ends the first server's line after ever more bytes: what was begun is told to be broken, and
// everything else is served by the second one.
func TestCutLines(t *testing.T) {
	t.Parallel()
	for _, streams := range []bool{true, false} {
		t.Run(fmt.Sprintf("stream=%t", streams), func(t *testing.T) {
			t.Parallel()
			const step = 97
			limits := make(chan int64, 1)
			first, second := newSite(t, "first"), newSite(t, "second")
			b := start(t, undeterred(poisoned(t, first, func() toxics.Toxic { return &toxics.LimitDataToxic{Bytes: <-limits} }), second.entry()))
			hidden, broken := 0, 0
			for limit := int64(1); ; limit += step {
				limits <- limit
				a := b.ask(streams)
				if first.served(a) && a.flaw(streams) == "" {
					mustBeWhole(t, a, first)
					break
				}
				if second.served(a) {
					mustBeWhole(t, a, second)
					hidden++
					continue
				}
				broken++
				a.mustBreak(t)
				mustBeBeginning(t, a, first)
			}
			if hidden == 0 || (broken > 0) != streams {
				t.Errorf("%d cuts hidden and %d told", hidden, broken)
			}
		})
	}
}

// mustBeBeginning compares a stream that was broken off after its content had begun with what the server sent.
func mustBeBeginning(t *testing.T, a answer, server *site) {
	t.Helper()
	if !slices.Contains(eventNames(a.body), "content_block_start") {
		t.Errorf("broken off before the first content: %s", a.body)
	}
	if sent, _ := server.take(a.header.Get("Request-Id")); !bytes.HasPrefix(sent, withoutError(a.body)) {
		t.Errorf("%s sent\n%s\nand this arrived:\n%s", server.name, sent, a.body)
	}
}
