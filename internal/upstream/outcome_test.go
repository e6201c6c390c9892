package upstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"syscall"
	"testing"
	"time"

	"claude-code-lb/internal/claude"
)

func TestJudge(t *testing.T) {
	f := func(ev Evidence, want Outcome) {
		t.Helper()
		ev.Now = t0
		if got := Judge(ev); got != want {
			t.Errorf("Judge(%+v) = %+v, want %+v", ev, got, want)
		}
	}
	status := func(code int, want Scope, reason string) {
		t.Helper()
		f(Evidence{Status: code}, Outcome{Scope: want, Reason: reason})
	}
	status(200, ScopeNone, "")
	status(302, ScopeNone, "")
	status(400, ScopeRequest, "")
	status(404, ScopeRequest, "")
	status(413, ScopeRequest, "")
	status(422, ScopeRequest, "")
	status(401, ScopeAccount, "status 401")
	status(402, ScopeAccount, "status 402")
	status(403, ScopeAccount, "status 403")
	status(408, ScopeEndpoint, "status 408")
	status(429, ScopeRateLimit, "status 429")
	status(500, ScopeEndpoint, "status 500")
	status(503, ScopeEndpoint, "status 503")
	status(529, ScopeCapacity, "status 529")

	f(Evidence{Status: 429, Header: http.Header{"Retry-After": {"7"}}, Error: &claude.Error{Type: claude.ErrRateLimit}},
		Outcome{Scope: ScopeRateLimit, Reason: "status 429 rate_limit_error", RetryAfter: 7 * time.Second})
	f(Evidence{Status: 200, Error: &claude.Error{Type: claude.ErrOverloaded}}, Outcome{Scope: ScopeCapacity, Reason: "error event overloaded_error"})
	f(Evidence{Status: 200, Error: &claude.Error{Type: claude.ErrInvalidRequest}}, Outcome{Scope: ScopeRequest})
	f(Evidence{Status: 500, Error: &claude.Error{Type: "sk-ant-api03\x1b[31m"}}, Outcome{Scope: ScopeEndpoint, Reason: "status 500 skantapim"})

	f(Evidence{Err: ErrClientGone}, Outcome{Scope: ScopeClient, Reason: "client left"})
	f(Evidence{Err: fmt.Errorf("send: %w", context.Canceled)}, Outcome{Scope: ScopeClient, Reason: "client left"})
	f(Evidence{Err: ErrStopping}, Outcome{Scope: ScopeClient, Reason: "claude-code-lb is stopping"})
	f(Evidence{Err: &TimeoutError{Waiting: "next byte", After: time.Second}}, Outcome{Scope: ScopeEndpoint, Reason: "no next byte within 1s"})
	f(Evidence{Err: &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}}, Outcome{Scope: ScopeEndpoint, Reason: "connect: connection refused"})
	f(Evidence{Status: 200, Err: io.ErrUnexpectedEOF}, Outcome{Scope: ScopeEndpoint, Reason: "unexpected EOF"})
	f(Evidence{Status: 200, Err: fmt.Errorf("%w: empty", ErrUnusable)}, Outcome{Scope: ScopeEndpoint, Reason: "unusable answer: empty"})
}

func TestTimeoutErrorIsOne(t *testing.T) {
	var err error = fmt.Errorf("read: %w", &TimeoutError{Waiting: "next byte"})
	if timeout, ok := errors.AsType[net.Error](err); !ok || !timeout.Timeout() {
		t.Error("a TimeoutError does not report Timeout")
	}
}
