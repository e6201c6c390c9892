package upstream

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"claude-code-lb/internal/claude"
)

// Scope says whom the verdict on an attempt concerns.
type Scope uint8

// The scopes of an Outcome.
const (
	ScopeNone      Scope = iota // it worked
	ScopeRequest                // the client's own request is at fault: the answer is its answer
	ScopeClient                 // the client left, or the balancer stops: nobody's fault
	ScopeAccount                // the credential or its account: 401, 402, 403
	ScopeRateLimit              // the account's rate limit: 429
	ScopeCapacity               // the service is overloaded: 529
	ScopeEndpoint               // connection, time-out, 5xx, an answer that is none
)

var scopeNames = [...]string{"none", "request", "client", "account", "rate_limit", "capacity", "endpoint"}

// String names the scope as logs show it.
func (s Scope) String() string { return scopeNames[s] }

// Outcome is the verdict on one attempt.
type Outcome struct {
	Scope      Scope
	Reason     string        // in a few words, for logs; "" when it worked
	RetryAfter time.Duration // what the upstream asked for; 0 when it did not
}

// Failover says whether another endpoint may do better with the same request.
func (o Outcome) Failover() bool { return o.Scope >= ScopeAccount }

// ErrClientGone is the cause of a request's end when its client has left.
var ErrClientGone = errors.New("client left")

// ErrStopping is the cause of a request's end when the balancer stops before it is done.
var ErrStopping = errors.New("claude-code-lb is stopping")

// ErrUnusable marks an answer that arrived but is none: empty, HTML instead of
// JSON, a stream that ended before it began, an encoding nobody asked for.
var ErrUnusable = errors.New("unusable answer")

// TimeoutError is a wait of the balancer's own that ran out.
type TimeoutError struct {
	Waiting string        // what for: "response header", "next byte"
	After   time.Duration // how long
}

func (e *TimeoutError) Error() string { return fmt.Sprintf("no %s within %s", e.Waiting, e.After) }

// Timeout and Temporary make it a net.Error.
func (e *TimeoutError) Timeout() bool { return true }

// Temporary reports true.
func (e *TimeoutError) Temporary() bool { return true }

// Evidence is everything known of an attempt at the moment of the verdict.
type Evidence struct {
	Status int           // 0 when no head arrived
	Header http.Header   // of the answer, nil without one
	Error  *claude.Error // of an error body or of an error event inside a 200
	Err    error         // of the transport or of reading the answer
	Now    time.Time
}

// Judge turns evidence into a verdict. It is pure.
func Judge(ev Evidence) Outcome {
	if ev.Err != nil {
		return judgeErr(ev.Err)
	}
	status := ev.Status
	if status < 400 && ev.Error != nil {
		status = claude.StatusForType(ev.Error.Type)
	}
	o := Outcome{Scope: scopeOfStatus(status)}
	if !o.Failover() {
		return o
	}
	o.Reason = fmt.Sprintf("status %d", status)
	if ev.Status < 400 {
		o.Reason = "error event"
	}
	if ev.Error != nil && ev.Error.Type != "" {
		o.Reason += " " + word(string(ev.Error.Type))
	}
	if wait, ok := claude.RetryAfter(ev.Header, ev.Now); ok {
		o.RetryAfter = wait
	}
	return o
}

// word keeps what a wire name may hold, so that nothing an upstream sends reaches a log as it is.
func word(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '_' || r >= 'a' && r <= 'z' {
			return r
		}
		return -1
	}, s[:min(len(s), 40)])
}

func judgeErr(err error) Outcome {
	if errors.Is(err, ErrStopping) {
		return Outcome{Scope: ScopeClient, Reason: ErrStopping.Error()}
	}
	if errors.Is(err, ErrClientGone) || errors.Is(err, context.Canceled) {
		return Outcome{Scope: ScopeClient, Reason: "client left"}
	}
	if timeout, ok := errors.AsType[*TimeoutError](err); ok {
		return Outcome{Scope: ScopeEndpoint, Reason: timeout.Error()}
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
		return Outcome{Scope: ScopeEndpoint, Reason: "connect: " + op.Err.Error()}
	}
	return Outcome{Scope: ScopeEndpoint, Reason: err.Error()}
}

func scopeOfStatus(status int) Scope {
	switch {
	case status < 400:
		return ScopeNone
	case status == http.StatusUnauthorized, status == http.StatusPaymentRequired, status == http.StatusForbidden:
		return ScopeAccount
	case status == http.StatusTooManyRequests:
		return ScopeRateLimit
	case status == 529:
		return ScopeCapacity
	case status >= 500, status == http.StatusRequestTimeout:
		return ScopeEndpoint
	default:
		return ScopeRequest
	}
}
