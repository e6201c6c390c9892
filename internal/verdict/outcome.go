package verdict

import (
	"errors"
	"fmt"
	"time"
)

// Scope is what the outcome of an attempt concerns.
type Scope uint8

// The scopes of an Outcome.
const (
	ScopeNone       Scope = iota // success
	ScopeRequest                 // the client's request is at fault: the response goes to the client
	ScopeClient                  // the client left, or the balancer stops: no upstream is at fault
	ScopeBalancer                // the balancer could not send: it has no file descriptors left
	ScopeCredential              // the key: 401, 403
	ScopeAccount                 // the organization that owns the key: 402, its credit, its spend limit
	ScopeModel                   // this model at this endpoint
	ScopeRateLimit               // the account's rate limit for a class of models: 429
	ScopeCapacity                // the service is overloaded: 529
	ScopeEndpoint                // connection, time-out, 5xx, an unusable response
)

var scopeNames = [...]string{"none", "request", "client", "balancer", "credential", "account", "model", "rate_limit", "capacity", "endpoint"}

// String returns the scope's name in logs and in the configuration.
func (s Scope) String() string { return scopeNames[s] }

// Cause is the kind of a failure that a client's error message names.
type Cause uint8

// The causes of an Outcome.
const (
	CauseOther    Cause = iota
	CauseRefused        // no process accepts connections at the address
	CauseName           // the host name is unknown
	CauseTLS            // the handshake failed
	CauseTimeout        // a time limit of the balancer was exceeded
	CausePage           // a web page instead of an API response
	CauseNoRoute        // the server does not have /v1/messages
	CauseNoModel        // the server does not have the model
	CauseNoCredit       // the account has no credit or quota left
	CauseUsedUp         // the account's plan or spending limit is used up: the client should see the refusal
)

// Outcome is the classified result of one attempt.
type Outcome struct {
	Scope  Scope
	Reason string // short, for logs; "" after a success, or if the request is unambiguously at fault
	// RetryAfter is the wait that the upstream asked for, or the cooldown that a rule sets; 0 if
	// neither is known.
	RetryAfter time.Duration
	// FromRule reports that an operator's rule set RetryAfter, which is then not bounded.
	FromRule bool
	// Unbilled reports that the upstream refused before it did any work, so that another attempt
	// costs nothing. It is false with ScopeRequest, because the response would be the same.
	Unbilled bool
	// Connection goes with ScopeEndpoint: the connection failed, or broke before any response. Then
	// the outcome applies to every path, otherwise only to the path of the request.
	Connection bool
	// Cause is named in the client's error message if it is the same at every upstream.
	Cause Cause
	// Final means that the client handles this refusal itself, so it gets the refusal at once.
	Final bool
	// Ambiguous goes with ScopeRequest: the refusal may be specific to this upstream. Another one
	// is tried, no endpoint gets a cooldown, and two equal refusals are final.
	Ambiguous bool
}

// Failover reports whether another endpoint may succeed with the same request.
func (o Outcome) Failover() bool { return !o.Final && (o.Scope >= ScopeBalancer || o.Ambiguous) }

// Bounded returns RetryAfter, limited to most unless a rule set it.
func (o Outcome) Bounded(most time.Duration) time.Duration {
	if o.FromRule {
		return o.RetryAfter
	}
	return min(o.RetryAfter, most)
}

// Cooldown returns the cooldown that RetryAfter causes, 0 if RetryAfter is 0.
func (o Outcome) Cooldown() time.Duration {
	if o.Scope == ScopeCapacity {
		return o.Bounded(MaxAskedPause)
	}
	return o.Bounded(MaxRetryAfter)
}

// ErrClientGone is the cause of a request's end when its client has left.
var ErrClientGone = errors.New("client left")

// ErrStopping is the cause of a request's end when the balancer stops before it is done.
var ErrStopping = errors.New("claude-code-lb is stopping")

// ErrOutrun is the cause of an attempt's end if the other attempt of a hedge was faster.
var ErrOutrun = errors.New("another upstream was faster")

// ErrUnusable marks a response that is not one of the API: empty, HTML instead of JSON, a stream
// that ended before it began, an encoding that was not requested.
var ErrUnusable = errors.New("unusable response")

// TimeoutError reports that a time limit of the balancer was exceeded.
type TimeoutError struct {
	Waiting string        // what the balancer waited for: "response header", "next byte"
	After   time.Duration // the limit
}

func (e *TimeoutError) Error() string { return fmt.Sprintf("no %s within %s", e.Waiting, e.After) }

// Timeout implements net.Error.
func (e *TimeoutError) Timeout() bool { return true }

// Temporary implements net.Error.
func (e *TimeoutError) Temporary() bool { return true }

const (
	// MaxRetryAfter bounds the wait that an upstream may ask for. One probe per hour does no harm.
	MaxRetryAfter = time.Hour
	// MaxAskedPause bounds the wait that an overloaded service may ask for.
	MaxAskedPause = time.Minute
)
