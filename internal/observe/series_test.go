package observe

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/ledger"
)

// TestConcurrentRecord ends requests with equal and with different labels at the same moment.
func TestConcurrentRecord(t *testing.T) {
	m := NewMetrics("1")
	const at, each = 8, 50
	var wg sync.WaitGroup
	for range at {
		wg.Go(func() {
			for n := range each {
				m.Record(failoverEntry(fmt.Sprint("key-", n%5), "claude-opus-4-5"))
			}
		})
	}
	wg.Wait()
	for n := range 5 {
		labels := fmt.Sprintf("client=key-%d,kind=output,model=claude-opus-4-5,server=b", n)
		if got := value(t, m, "claude_code_lb_tokens_total", labels); got != 101*at*each/5 {
			t.Errorf("%s: %v", labels, got)
		}
	}
	if got := value(t, m, "claude_code_lb_attempt_duration_seconds", "server=b"); got != 3*at*each {
		t.Errorf("%v seconds", got)
	}
}

// TestNoEmptySeries records entries with few values.
func TestNoEmptySeries(t *testing.T) {
	m := NewMetrics("1")
	m.Record(ledger.Entry{
		Path: "/v1/messages", Status: 502, Outcome: ledger.Failed, Duration: time.Second, Attempts: []ledger.Attempt{{Server: "a", Scope: "endpoint"}},
	})
	all := gather(t, m)
	for _, name := range []string{"request_first_byte_seconds", "request_wait_seconds", "routed_requests_total", "time_to_first_token_seconds", "inter_token_seconds", "tokens_total", "cost_dollars_total"} {
		if f := all["claude_code_lb_"+name]; f != nil {
			t.Errorf("%s: %v", name, f.GetMetric())
		}
	}
	for _, name := range []string{"requests_total", "request_duration_seconds", "attempts_total", "attempt_duration_seconds"} {
		if n := len(all["claude_code_lb_"+name].GetMetric()); n != 1 {
			t.Errorf("%s: %d series", name, n)
		}
	}
}
