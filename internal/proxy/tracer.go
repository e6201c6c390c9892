package proxy

import (
	"net/http"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/ledger"
)

// Tracer traces requests. Safe for concurrent use.
type Tracer interface {
	// Begin starts the trace of a request whose body has been read. The request's header names the
	// trace that it belongs to, e has what is known so far. Begin must keep neither.
	Begin(r *http.Request, e *ledger.Entry) RequestTrace
}

// RequestTrace is the trace of one request. Attempt may be called by several goroutines at once.
type RequestTrace interface {
	// Attempt starts the span of a request that is about to be sent to a server, and adds the
	// header fields that continue the trace there. done is called once, when the attempt has ended.
	Attempt(out *http.Request, server string, start time.Time) (done func(*ledger.Attempt))
	// End is called once, after every attempt has ended. It must not keep e.
	End(e *ledger.Entry)
}

// traceOut continues the trace upstream. Without a Tracer the client's own trace headers are
// forwarded.
func (x *exchange) traceOut(a *attempt, out *http.Request) {
	if x.spans != nil {
		a.endSpan = x.spans.Attempt(out, a.lease.Name(), a.start)
	}
}
