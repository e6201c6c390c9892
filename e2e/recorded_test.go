package e2e

import (
	"crypto/rand"
	"fmt"
	"net/http"

	"github.com/9bingyin/claude-code-lb/internal/fakeclaude"
)

// awaitRecords waits until all finished requests are recorded in the metrics, the state of servers
// and keys, the decisions and the log. A client gets its response before that, long before it on a
// loaded machine, so tests call this before they read records or check that there are none. The
// ledger is written even later: see reported. No request may be open, and the admin listener must
// accept requests without a key.
func (b *balancer) awaitRecords() {
	b.t.Helper()
	eventually(b.t, "no request is open", func() bool {
		_, whole := b.admin(http.MethodGet, "/admin/api/status", "")
		return fmt.Sprint(whole["open_requests"]) == "0"
	})
	mark := "mark-" + rand.Text() // lines of the log keep their order
	if status, said := b.admin(http.MethodPost, "/admin/api/sessions/"+mark+"/flush", ""); status != http.StatusOK {
		b.t.Fatalf("mark the log: %d %v", status, said)
	}
	b.waitLog("changed by an operator", func(l line) bool { return l.text("target") == mark })
}

// finalStats returns the figures of a simulated upstream after it has ended all responses.
func (f *fake) finalStats(b *balancer) fakeclaude.Stats {
	b.t.Helper()
	eventually(b.t, "the upstream has ended all answers", func() bool { return f.Stats().InFlight == 0 })
	return f.Stats()
}
