package e2e

import (
	"fmt"
	"sync"
	"testing"

	"github.com/9bingyin/claude-code-lb/internal/claude"
	"github.com/9bingyin/claude-code-lb/internal/fakeclaude"
	"github.com/9bingyin/claude-code-lb/internal/fakeclaude/fault"
)

// TestCrowd runs many clients while two of three servers fail in all ways before a response: no
// client may notice.
func TestCrowd(t *testing.T) {
	t.Parallel()
	type f = fault.Fault
	fakes := newFakes(t, "shaky", "flaky", "steady")
	for _, shaky := range fakes[:2] {
		var rules []fault.Rule
		for _, injected := range []f{
			status(500), status(529, "Retry-After-Ms", "20"), status(429, "Retry-After-Ms", "50"), status(401),
			{Kind: fault.Reset}, {Kind: fault.Close, At: fault.AtHeaders}, {Kind: fault.Empty},
			{Kind: fault.HTML}, {Kind: fault.Error, Headers: map[string]string{"Retry-After-Ms": "20"}}, {Kind: fault.End, At: fault.AtMessageStart},
		} {
			rules = append(rules, fault.Rule{Fault: injected, Probability: 0.08})
		}
		shaky.SetFaults(rules...)
	}
	b := start(t, balanced("weighted_round_robin", fakes[0].entry().with("weight", 3), fakes[1].entry().with("weight", 2), fakes[2].entry()).with("cooldown", "20ms").with("slow_start", 0))

	const clients, each = 16, 40
	flaws := make(chan string, clients*each)
	var crowd sync.WaitGroup
	for client := range clients {
		crowd.Go(func() {
			for i := range each {
				stream := (client+i)%2 == 0
				if flaw := b.ask(stream).flaw(stream); flaw != "" {
					flaws <- flaw
				}
			}
		})
	}
	crowd.Wait()
	close(flaws)
	for flaw := range flaws {
		t.Error(flaw)
	}
	for _, f := range fakes {
		if f.count() == 0 {
			t.Errorf("%s got no request", f.name)
		}
	}
	eventually(t, "attempts have failed: else the test shows nothing", func() bool { return b.log.count("attempt failed") >= 10 })
}

// TestFailoverBesideMessages covers the other responses that are checked before they are sent.
func TestFailoverBesideMessages(t *testing.T) {
	t.Parallel()
	for _, injected := range []fault.Fault{status(503), {Kind: fault.HTML}, {Kind: fault.Reset}, {Kind: fault.Close, At: fault.AtMidText}} {
		for _, request := range [][3]string{
			{"POST", "/v1/messages/count_tokens", message(false)},
			{"GET", "/v1/models?limit=1000", ""},
		} {
			t.Run(fmt.Sprint(injected.Kind, " ", request[1]), func(t *testing.T) {
				t.Parallel()
				first, second := newFake(t, "first"), newFake(t, "second")
				first.fails(injected)
				b := start(t, fallback(first.entry(), second.entry()))
				if a := b.do(request[0], request[1], request[2]); a.err != nil || a.status != 200 || !second.served(a) {
					t.Errorf("status %d, %v: %s", a.status, a.err, a.body)
				}
			})
		}
	}
}

// TestPingsAreNoAnswer checks that an upstream that sends only pings is too slow.
func TestPingsAreNoAnswer(t *testing.T) {
	t.Parallel()
	first, second := newFake(t, "first", func(o *fakeclaude.Options) { o.PingInterval = fakeclaude.Duration(20_000_000) }), newFake(t, "second")
	first.Script(fault.Fault{Kind: fault.Slow, At: fault.AtMessageStart, Delay: held - 1})
	b := start(t, fallback(first.entry(), second.entry()).with("timeouts", impatient))
	b.mustServe(true, second)
	if reason := b.waitLog("attempt failed", nil).text("reason"); reason != "no first content within 300ms" {
		t.Errorf("failed for %q", reason)
	}
}

// TestAllServersDrained has no server that takes new requests: only the operator can change that.
func TestAllServersDrained(t *testing.T) {
	t.Parallel()
	f := newFake(t, "a")
	b := start(t, balanced("round_robin", f.entry().with("weight", 0)))
	a := b.ask(true)
	a.failure(t, 503, claude.ErrAPI)
	if a.header.Get("Retry-After") != "60" || f.count() != 0 {
		t.Errorf("retry-after %q, %d requests arrived", a.header.Get("Retry-After"), f.count())
	}
}
