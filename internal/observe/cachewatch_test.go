package observe

import (
	"bytes"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/claude"
	"github.com/9bingyin/claude-code-lb/internal/event"
	"github.com/9bingyin/claude-code-lb/internal/ledger"
	"github.com/9bingyin/claude-code-lb/internal/telemetry"
)

// traffic is traffic on a simulated clock.
type traffic struct {
	*CacheWatch
	log bytes.Buffer
	now time.Time
	// session of the requests, "" for none
	session string
}

func newTraffic() *traffic {
	d := &traffic{now: time.Unix(1.8e9, 0)}
	d.CacheWatch = NewCacheWatch(event.NewBus(slog.New(slog.NewTextHandler(&d.log, nil))))
	return d
}

// serve records responses of a server at a fixed interval. rate returns the cached part of each
// prompt.
func (d *traffic) serve(server string, requests int, every time.Duration, rate func() float64) {
	for range requests {
		d.now = d.now.Add(every)
		const prompt = 100_000
		read := int64(rate() * prompt)
		d.Record(ledger.Entry{Start: d.now, Session: d.session, Attempts: []ledger.Attempt{{
			Server: server, Served: true, Answer: claude.Message{Started: true, Usage: claude.Usage{CacheReadTokens: read, InputTokens: prompt - read}},
		}}})
	}
}

// logCount counts the log lines with a message about a server.
func (d *traffic) logCount(message, server string) int {
	n := 0
	for line := range strings.Lines(d.log.String()) {
		if strings.Contains(line, message) && strings.Contains(line, "server="+server) {
			n++
		}
	}
	return n
}

func always(rate float64) func() float64 { return func() float64 { return rate } }

func TestCacheCollapse(t *testing.T) {
	d := newTraffic()
	d.serve("a", 400, 10*time.Second, always(0.9))
	if d.log.Len() > 0 {
		t.Fatalf("no change: %s", &d.log)
	}
	d.serve("a", 100, 10*time.Second, always(0))
	if d.logCount(telemetry.CacheCollapsed, "a") != 1 || !strings.Contains(d.log.String(), "usual_hit_rate=90%") {
		t.Errorf("after the collapse: %s", &d.log)
	}
	d.serve("a", 30, 10*time.Second, always(0.6)) // between the two bounds
	if d.logCount(telemetry.CacheRecovered, "a") != 0 {
		t.Errorf("between the bounds: %s", &d.log)
	}
	d.serve("a", 200, 10*time.Second, always(0.9))
	if d.logCount(telemetry.CacheRecovered, "a") != 1 || d.logCount(telemetry.CacheCollapsed, "a") != 1 {
		t.Errorf("after the recovery: %s", &d.log)
	}
}

// TestCacheCollapseElsewhere checks one server of two: the rate of both together may be normal.
func TestCacheCollapseElsewhere(t *testing.T) {
	d := newTraffic()
	both := func(rounds int, a, b float64) {
		for range rounds {
			d.serve("a", 1, 5*time.Second, always(a))
			d.serve("b", 2, 5*time.Second, always(b))
		}
	}
	both(300, 0.8, 0.8)
	both(60, 0.1, 0.8)
	if d.logCount(telemetry.CacheCollapsed, "a") != 1 || d.logCount(telemetry.CacheCollapsed, "b") != 0 || d.logCount(telemetry.CacheCollapsed, `"all`) != 0 {
		t.Errorf("%s", &d.log)
	}
}

// TestCacheSilence checks traffic without a meaningful rate.
func TestCacheSilence(t *testing.T) {
	f := func(name string, traffic func(*traffic)) {
		t.Helper()
		d := newTraffic()
		traffic(d)
		if d.log.Len() > 0 {
			t.Errorf("%s: %s", name, &d.log)
		}
	}
	random := rand.New(rand.NewPCG(1, 2))
	f("a few requests an hour", func(d *traffic) {
		d.serve("a", 1000, 5*time.Minute, always(0.9))
		d.serve("a", 100, 5*time.Minute, always(0))
	})
	f("a new balancer", func(d *traffic) {
		d.serve("a", 100, 5*time.Second, always(0.9))
		d.serve("a", 90, 5*time.Second, always(0))
	})
	f("new conversations after a night without traffic", func(d *traffic) {
		d.serve("a", 1000, 10*time.Second, always(0.9))
		d.now = d.now.Add(10 * time.Hour)
		for i := range 50 {
			d.session = fmt.Sprint(i)
			d.serve("a", 1, 10*time.Second, always(0))
		}
		d.serve("a", 300, 10*time.Second, always(0.9))
		d.now = d.now.Add(10 * time.Minute)
		for i := range 50 {
			d.session = fmt.Sprint(i)
			d.serve("a", 1, 10*time.Second, always(0))
		}
	})
	f("clients that hardly use the cache", func(d *traffic) {
		d.serve("a", 1000, 5*time.Second, always(0.2))
		d.serve("a", 500, 5*time.Second, always(0))
	})
	f("random fluctuation", func(d *traffic) {
		d.serve("a", 20_000, 5*time.Second, func() float64 {
			if random.Float64() < 0.25 {
				return 0
			}
			return 0.6 + 0.4*random.Float64()
		})
	})
	f("small prompts and failures", func(d *traffic) {
		d.serve("a", 1000, 5*time.Second, always(0.9))
		for range 500 {
			d.now = d.now.Add(5 * time.Second)
			d.Record(ledger.Entry{Start: d.now, Attempts: []ledger.Attempt{{Server: "a", Served: true, Answer: claude.Message{Started: true, Usage: claude.Usage{InputTokens: 500}}}}})
			d.Record(ledger.Entry{Start: d.now, Attempts: []ledger.Attempt{{Server: "a", Answer: claude.Message{Started: true, Usage: claude.Usage{InputTokens: 50000}}}}})
			d.Record(ledger.Entry{Start: d.now})
		}
	})
}

// TestCacheNewNormal checks that a lasting collapse becomes the usual rate, without another
// message.
func TestCacheNewNormal(t *testing.T) {
	d := newTraffic()
	d.serve("a", 1000, 5*time.Second, always(0.9))
	d.serve("a", 20_000, 5*time.Second, always(0.4))
	if d.logCount(telemetry.CacheCollapsed, "a") != 1 || d.logCount(telemetry.CacheRecovered, "a") != 1 {
		t.Errorf("%s", &d.log)
	}
}

// TestCacheConversations checks that memory is bounded.
func TestCacheConversations(t *testing.T) {
	d := newTraffic()
	for i := range maxConversations + 5 {
		d.session = fmt.Sprint(i)
		d.serve("a", 1, 0, always(0))
	}
	if len(d.lastResponse) > maxConversations {
		t.Errorf("%d conversations", len(d.lastResponse))
	}
}
