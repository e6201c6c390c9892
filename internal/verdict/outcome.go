package verdict

import (
	"errors"
	"fmt"
	"time"
)

// Scope says whom the verdict on an attempt concerns.
type Scope uint8

// The scopes of an Outcome.
const (
	ScopeNone       Scope = iota // it worked
	ScopeRequest                 // the client's own request is at fault: the answer is its answer
	ScopeClient                  // the client left, or the balancer stops: nobody's fault
	ScopeBalancer                // the balancer could not ask: it has no file descriptors left
	ScopeCredential              // this key: 401, 403
	ScopeAccount                 // the organization behind the key: 402, its credit, its spend limit
	ScopeModel                   // this model at this endpoint
	ScopeRateLimit               // the account's rate limit for a class of models: 429
	ScopeCapacity                // the service is overloaded: 529
	ScopeEndpoint                // connection, time-out, 5xx, an answer that is none
)

var scopeNames = [...]string{"none", "request", "client", "balancer", "credential", "account", "model", "rate_limit", "capacity", "endpoint"}

// String names the scope as logs and the configuration show it.
func (s Scope) String() string { return scopeNames[s] }

// Cause is the kind of a failure that a client's error message names.
type Cause uint8

// The causes of an Outcome.
const (
	CauseOther    Cause = iota
	CauseRefused        // nothing accepts connections there
	CauseName           // the name of the host is not known
	CauseTLS            // the handshake failed
	CauseTimeout        // a time limit of the balancer was exceeded
	CausePage           // a web page instead of an API response
	CauseNoRoute        // the server does not have /v1/messages
	CauseNoModel        // the server does not have the model
	CauseNoCredit       // the account has no credit or quota left
	CauseUsedUp         // the account's plan or spending limit is used up: the refusal is worth showing
)

// Outcome is the verdict on one attempt.
type Outcome struct {
	Scope  Scope
	Reason string // in a few words, for logs; "" when it worked, or when the request is at fault beyond doubt
	// RetryAfter is how long the upstream asked to wait, or how long a rule
	// wants the one concerned to rest; 0 when neither is known.
	RetryAfter time.Duration
	// FromRule says that RetryAfter is what a rule of the operator wants: it is not bounded.
	FromRule bool
	// Unbilled says that the upstream refused before it did any work, so that asking once more costs nothing.
	// It is false with ScopeRequest: the answer would be the same.
	Unbilled bool
	// Connection goes with ScopeEndpoint: the connection failed, or broke before any response. Then the
	// verdict applies to every path, otherwise only to the path of the request.
	Connection bool
	// Cause is named in the client's error message if it is the same at every upstream.
	Cause Cause
	// Final means that the client handles this refusal itself, so it gets the refusal at once.
	Final bool
	// Ambiguous goes with ScopeRequest: the refusal may be this upstream's own
	// peculiarity. Another one is asked, nobody is charged, and two of a kind settle it.
	Ambiguous bool
}

// Failover says whether another endpoint may do better with the same request.
func (o Outcome) Failover() bool { return !o.Final && (o.Scope >= ScopeBalancer || o.Ambiguous) }

// asked is RetryAfter as far as it is followed: what an upstream asks for is bounded.
func (o Outcome) Bounded(most time.Duration) time.Duration {
	if o.FromRule {
		return o.RetryAfter
	}
	return min(o.RetryAfter, most)
}

// Cooldown is how long the one concerned rests because of RetryAfter until somebody asks it again; 0 when RetryAfter is.
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

// ErrOutrun is the cause of an attempt's end when a hedged one was faster.
var ErrOutrun = errors.New("another upstream was faster")

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

const (
	// maxRetryAfter bounds what an upstream may ask for: beyond it one probe an hour does no harm.
	MaxRetryAfter = time.Hour
	// maxAskedPause bounds what an overloaded service may ask for.
	MaxAskedPause = time.Minute
)
