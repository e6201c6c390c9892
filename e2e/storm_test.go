package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anthropics/anthropic-sdk-go"

	"github.com/9bingyin/claude-code-lb/internal/fakeclaude"
)

const (
	sessions      = 200
	stormCooldown = 300 * time.Millisecond
	stormWait     = time.Second // max_wait
	// stormPatience is the limit for a stream's first content: longer than all waits before it.
	stormPatience = 3 * time.Second

	// One server is healthy for reign, and then the next one too for overlap, which is longer than
	// a request takes: a request that found the next one failing finds the current one still
	// healthy.
	reign, overlap = time.Second, 2 * stormPatience
)

// TestStorm runs 200 sessions of the official SDK, without retries, in front of three servers. Two
// of them fail 30 % of their requests in every known way, and the healthy one changes all the time.
// No client may notice. Then all servers are down, which every client gets reported, and up again.
//
// STORM=60s extends the storm from 8 seconds.
func TestStorm(t *testing.T) {
	s := newStorm(t)
	s.blow(stormLength(t))
	s.mustHaveHidden()
	for _, outage := range []struct {
		name  string
		begin func(*site)
		end   func(*site)
	}{
		{"status 500", func(f *site) { f.fails(status(500)) }, func(f *site) { f.fails() }},
		{"closed doors", (*site).down, (*site).up},
	} {
		t.Run(outage.name, func(t *testing.T) {
			for _, f := range s.sites {
				f.fails()
				outage.begin(f)
			}
			s.mustReport(t)
			for _, f := range s.sites {
				outage.end(f)
			}
			s.mustRecover(t)
		})
	}
}

func stormLength(t *testing.T) time.Duration {
	t.Helper()
	text, ok := os.LookupEnv("STORM")
	if !ok {
		return 8 * time.Second
	}
	length, err := time.ParseDuration(text)
	if err != nil {
		t.Fatalf("STORM: %v", err)
	}
	return length
}

// storm is a balancer with its upstreams and many clients.
type storm struct {
	*balancer
	sites []*site
	sdk   anthropic.Client
	last  atomic.Int64 // id of the last request

	mu    sync.Mutex
	calls []call
}

func newStorm(t *testing.T) *storm {
	t.Helper()
	s := &storm{}
	var entries []object
	for i, name := range []string{"east", "north", "west"} {
		f := newSite(t, name, func(o *fakeclaude.Options) {
			o.Seed = uint64(i)
			o.FirstToken, o.TokenInterval = fakeclaude.Duration(200*time.Millisecond), fakeclaude.Duration(25*time.Millisecond)
			o.MinOutput, o.MaxOutput = 8, 14
		})
		s.sites, entries = append(s.sites, f), append(entries, f.entry())
	}
	s.balancer = start(t, balanced("round_robin", entries...).
		with("timeouts", object{"response_header": stormPatience.String(), "idle": stormPatience.String()}).
		with("cooldown", stormCooldown.String()).with("max_wait", stormWait.String()).with("slow_start", 0).
		with("breaker", object{"consecutive": 8, "percent": 100})) // otherwise failing servers would get hardly any requests
	s.sdk = sdkClient(s.balancer, "any")
	return s
}

// blow runs the clients while the servers fail and recover in turn.
func (s *storm) blow(length time.Duration) {
	s.sites[1].SetFaults(illness(1)...)
	s.sites[2].SetFaults(illness(2)...)
	ctx, calm := context.WithTimeout(s.t.Context(), length)
	defer calm()
	var asking sync.WaitGroup
	asking.Go(func() { s.crowd(func() bool { return ctx.Err() == nil }) })
	for well := 0; sleep(ctx, reign); {
		next := (well + 1) % len(s.sites)
		s.sites[next].fails()
		if !sleep(ctx, overlap) {
			break
		}
		s.sites[well].SetFaults(illness(well)...)
		well = next
	}
	asking.Wait()
}

// sleep waits, and returns false if ctx ends first.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

// crowd runs all sessions until more returns false.
func (s *storm) crowd(more func() bool) {
	var asking sync.WaitGroup
	for n := range sessions {
		asking.Go(func() {
			for i := n; more(); i++ {
				c := s.call(i%2 == 0)
				s.mu.Lock()
				s.calls = append(s.calls, c)
				s.mu.Unlock()
			}
		})
	}
	asking.Wait()
}

// finished returns the calls that have ended.
func (s *storm) finished() []call {
	s.mu.Lock()
	defer s.mu.Unlock()
	calls := s.calls
	s.calls = nil
	return calls
}

// arrivals returns all requests that have reached a server, by the id in their text, in order of
// arrival.
func (s *storm) arrivals() map[int64][]fakeclaude.RecordedRequest {
	s.t.Helper()
	found := map[int64][]fakeclaude.RecordedRequest{}
	for _, f := range s.sites {
		if err := f.WaitIdle(s.t.Context()); err != nil {
			s.t.Fatal(err)
		}
		for _, seen := range f.Requests() {
			var body anthropic.MessageNewParams
			if err := json.Unmarshal(seen.Body, &body); err != nil {
				s.t.Fatal(err)
			}
			var id int64
			if _, err := fmt.Sscanf(body.Messages[0].Content[0].OfText.Text, "request %d", &id); err != nil {
				s.t.Fatal(err)
			}
			found[id] = append(found[id], seen)
		}
	}
	for _, each := range found {
		slices.SortFunc(each, func(a, b fakeclaude.RecordedRequest) int { return a.Time.Compare(b.Time) })
	}
	return found
}

// mustHaveHidden checks every request of the storm.
func (s *storm) mustHaveHidden() {
	s.t.Helper()
	arrivals, calls := s.arrivals(), s.finished()
	report := &problems{t: s.t}
	retried, truncated, attempts := 0, 0, 0
	for _, c := range calls {
		seen := arrivals[c.id]
		attempts += len(seen)
		retried += min(len(seen)-1, 1)
		switch {
		case !c.content:
			report.add("request %d failed after %s: %v\n%s", c.id, c.took, c.err, history(seen))
			continue
		case c.wrong != "":
			report.add("request %d: %s", c.id, c.wrong)
		case seen[len(seen)-1].ID != c.requestID:
			report.add("request %d was sent again after its content had come from %s:\n%s", c.id, c.requestID, history(seen))
		}
		whole := seen[len(seen)-1].Outcome == fakeclaude.OutcomeComplete
		if whole != (c.err == nil) {
			report.add("request %d ended with %v:\n%s", c.id, c.err, history(seen))
		}
		if !whole {
			truncated++
		}
	}
	s.t.Logf("%d requests, %d of them tried again, %d attempts, %d truncated with an error event", len(calls), retried, attempts, truncated)
	if retried < len(calls)/100 || truncated == 0 {
		s.t.Errorf("%d requests of %d met a fault before their content and %d after it: the test shows nothing", retried, len(calls), truncated)
	}
}

func history(seen []fakeclaude.RecordedRequest) string {
	var b bytes.Buffer
	for _, e := range seen {
		fmt.Fprintf(&b, "  %s %s status %d, fault %q, %s after %s and %d events\n", e.Time.Format("05.000"), e.Host, e.Status, e.Fault, e.Outcome, e.Took, e.Events)
	}
	return b.String()
}

// mustReport sends requests while no server works: every client gets an error in the API's form
// soon.
func (s *storm) mustReport(t *testing.T) {
	t.Helper()
	const bound = 2*stormWait + 4*time.Second
	var left atomic.Int64
	left.Store(sessions)
	s.crowd(func() bool { return left.Add(-1) >= 0 })
	report := &problems{t: t}
	for _, c := range s.finished() {
		failure, ok := errors.AsType[*anthropic.Error](c.err)
		switch {
		case !ok:
			report.add("request %d: %T: %v", c.id, c.err, c.err)
		case failure.StatusCode < 500 || failure.Type() == "" || failure.RequestID == "":
			report.add("request %d: status %d, type %q, request id %q", c.id, failure.StatusCode, failure.Type(), failure.RequestID)
		case c.took > bound:
			report.add("request %d was told only after %s", c.id, c.took)
		}
	}
}

// mustRecover sends requests as soon as the servers are back: a cooldown later no request fails.
func (s *storm) mustRecover(t *testing.T) {
	t.Helper()
	back := time.Now()
	s.crowd(func() bool { return time.Since(back) < 4*stormCooldown })
	report := &problems{t: t}
	failed := 0
	for _, c := range s.finished() {
		after := c.began.Sub(back)
		if c.err != nil {
			failed++
		}
		switch {
		case c.wrong != "":
			report.add("request %d: %s", c.id, c.wrong)
		case c.err != nil && after > stormCooldown:
			report.add("request %d failed that began %s after the servers were back: %v", c.id, after, c.err)
		}
	}
	t.Logf("%d requests failed after the servers' return", failed)
}

// problems reports the first few of many.
type problems struct {
	t *testing.T
	n int
}

func (p *problems) add(format string, args ...any) {
	p.t.Helper()
	if p.n++; p.n <= 10 {
		p.t.Errorf(format, args...)
	}
}
