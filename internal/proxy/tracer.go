package proxy

import (
	"net/http"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/ledger"
)

// Tracer follows requests on their way. Safe for concurrent use. A Proxy without one does nothing for it.
type Tracer interface {
	// Begin is told of a request whose body has been read. Its headers say which trace it belongs to, and e
	// what is known so far; neither must be kept.
	Begin(r *http.Request, e *ledger.Entry) RequestTrace
}

// RequestTrace is one request that is followed. Attempt may be called by several goroutines at once.
type RequestTrace interface {
	// Attempt is told of a request that is about to go to a server, and lets the trace go on there by its headers.
	// When the attempt has ended, done is called once, after out has been sent.
	Attempt(out *http.Request, server string, start time.Time) (done func(*ledger.Attempt))
	// End is called once, after every attempt has ended. It must not keep e.
	End(e *ledger.Entry)
}

// traceOut lets the trace go on upstream. Without one the client's own headers pass as they came.
func (x *exchange) traceOut(a *attempt, out *http.Request) {
	if x.spans != nil {
		a.endSpan = x.spans.Attempt(out, a.lease.Name(), a.start)
	}
}
