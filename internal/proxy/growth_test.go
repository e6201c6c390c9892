package proxy

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/claude"
	"github.com/9bingyin/claude-code-lb/internal/verdict"
)

// events is the body of a response that returns one event per read, left times, and then
// message_stop.
type events struct {
	event, rest string
	left        int
}

func (e *events) Read(p []byte) (int, error) {
	switch {
	case e.rest != "":
	case e.left > 0:
		e.rest = e.event
		e.left--
	case e.left == 0:
		e.rest = stopEvent
		e.left--
	default:
		return 0, io.EOF
	}
	n := copy(p, e.rest)
	e.rest = e.rest[n:]
	return n, nil
}

// drain is a client that accepts everything.
type drain struct {
	header  http.Header
	bytes   int
	flushes int
}

func (d *drain) Header() http.Header                { return d.header }
func (d *drain) WriteHeader(int)                    {}
func (d *drain) Write(p []byte) (int, error)        { d.bytes += len(p); return len(p), nil }
func (d *drain) FlushError() error                  { d.flushes++; return nil }
func (d *drain) SetWriteDeadline(_ time.Time) error { return nil }

// relayed relays count events and returns the client that received them.
func relayed(t testing.TB, p *Proxy, event string, count int) *drain {
	t.Helper()
	d := &drain{header: http.Header{}}
	_, cancel := context.WithCancelCause(t.Context())
	x := &exchange{p: p, client: clientWriter{w: d}, req: Request{Settings: &Settings{}, HTTP: &http.Request{ProtoMajor: 1}}, ctx: t.Context(), kind: kindStream}
	x.keepalive.client = &x.client
	a := &attempt{
		relayState: relayState{remembered: true}, body: &events{event: event, left: count}, buffered: []byte(startEvent + blockEvent), timeouts: timeouts{cancel: cancel},
		idle: verdict.TimeoutError{Waiting: "next byte", After: time.Minute},
	}
	a.events.KeepData = claude.NeedsData
	a.eventEnd = a.events.Feed(a.buffered, a.message.Observe)
	if err := x.relayEvents(a); err != nil {
		t.Fatal(err)
	}
	return d
}

// deltaOf returns an event with that many bytes of text.
func deltaOf(bytes int) string {
	return strings.Replace(textEvent, "hi", strings.Repeat("x", bytes), 1)
}

// BenchmarkRelay relays events, each from one read to one write and one flush.
func BenchmarkRelay(b *testing.B) {
	p := New(slog.New(slog.DiscardHandler), 1)
	for _, size := range []int{20, 500, 20_000} {
		b.Run(fmt.Sprintf("text=%d", size), func(b *testing.B) {
			event := deltaOf(size)
			b.SetBytes(int64(len(event)))
			b.ReportAllocs()
			relayed(b, p, event, b.N)
		})
	}
}

// TestRelayedEventAllocatesNothing covers events below the small buffer, above it, and above the
// large one.
func TestRelayedEventAllocatesNothing(t *testing.T) {
	const most, events = 0, 1000
	p := New(slog.New(slog.DiscardHandler), 1)
	for _, size := range []int{20, 500, 20_000, 100_000} {
		event := deltaOf(size)
		measure := func(count int) float64 {
			return testing.AllocsPerRun(10, func() {
				d := relayed(t, p, event, count)
				if want := len(startEvent+blockEvent+stopEvent) + count*len(event); d.bytes != want || d.flushes < count {
					t.Fatalf("%d bytes in %d flushes, want %d bytes", d.bytes, d.flushes, want)
				}
			})
		}
		// The allocations at the beginning and end of a stream are the same for both.
		if n := measure(events) - measure(0); n > most*events+10 {
			t.Errorf("%v allocations for %d events of %d bytes of text", n, events, size)
		}
	}
}
