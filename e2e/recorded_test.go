package e2e

import (
	"crypto/rand"
	"fmt"
	"net/http"

	"claude-code-lb/internal/fakeclaude"
)

// awaitRecords waits until everything about the requests that were answered so far is recorded: in
// the metrics, the state of servers and keys, the decisions and the log. A client has its answer
// before that, by long on a loaded machine, so tests call this before they read what is recorded,
// and before they insist that something is not. What goes to the ledger is written later still: see
// reported. No request may be open, and the admin listener must take requests without a key.
func (b *balancer) awaitRecords() {
	b.t.Helper()
	eventually(b.t, "no request is open", func() bool {
		_, whole := b.admin(http.MethodGet, "/admin/api/status", "")
		return fmt.Sprint(whole["open_requests"]) == "0"
	})
	mark := "mark-" + rand.Text() // lines of the log come in their order, if late
	if status, said := b.admin(http.MethodPost, "/admin/api/sessions/"+mark+"/flush", ""); status != http.StatusOK {
		b.t.Fatalf("mark the log: %d %v", status, said)
	}
	b.waitLog("changed by an operator", func(l line) bool { return l.text("target") == mark })
}

// finalStats are the figures of a simulated upstream once it has ended all answers.
func (f *fake) finalStats(b *balancer) fakeclaude.Stats {
	b.t.Helper()
	eventually(b.t, "the upstream has ended all answers", func() bool { return f.Stats().InFlight == 0 })
	return f.Stats()
}
