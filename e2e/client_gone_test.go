package e2e

import (
	"testing"
	"time"

	"claude-code-lb/internal/fakeclaude"
)

// TestClientLeaves runs before the parallel tests: the second counts.
func TestClientLeaves(t *testing.T) {
	for _, test := range []struct {
		name string
		held fakeclaude.Fault
		ask  func(t *testing.T, b *balancer) (leave func())
	}{
		{"in the middle of a stream", heldMidText, func(t *testing.T, b *balancer) func() {
			return b.open(t).leave
		}},
		{"before the head", heldBeforeHead, func(t *testing.T, b *balancer) func() {
			return b.askInBackground(t)
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			first, second := newFake(t, "first"), newFake(t, "second")
			first.Script(test.held)
			b := start(t, fallback(first.entry(), second.entry()))
			leave := test.ask(t, b)
			eventually(t, "the request arrives", func() bool { return first.count() == 1 })
			leave()
			within(t, time.Second, "the upstream request is cancelled", func() bool {
				return first.Requests()[0].Outcome == fakeclaude.OutcomeCancelled
			})
			b.waitLog("request", about("outcome", "client_gone"))
			if n := b.available(); n != 2 || b.log.count("server out") > 0 {
				t.Errorf("%d servers available after a client left, want 2", n)
			}
			if second.count() != 0 {
				t.Error("the request of a client that had left went on to the second server")
			}
			b.mustServe(true, first)
		})
	}
}
