package upstream

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"claude-code-lb/internal/config"
	"claude-code-lb/internal/telemetry"
)

// Endpoint is a server of one generation of the configuration, together with
// what has been learned about its identity. Safe for concurrent use.
type Endpoint struct {
	spec      config.Server
	cooldown  time.Duration // base
	id        ID
	learned   *learned
	transport *http.Transport
	log       *slog.Logger
}

// learned outlives generations.
type learned struct {
	inFlight atomic.Int64

	mu      sync.Mutex
	breaker breaker
	balance balance
}

// Unfit says why an endpoint takes no new work. The order is that of last
// resorts: the lower the value, the sooner it is tried when nothing else is left.
type Unfit uint8

// The reasons of Unfit.
const (
	Fit        Unfit = iota
	Cooling          // resting after a failure
	Probing          // half-open, and its one probe is under way
	LowBalance       // the last balance reading is at or below the threshold
	Draining         // weight 0: never takes new work
)

// View is what is known of an endpoint at one moment.
type View struct {
	Unfit    Unfit
	ReadyAt  time.Time // when a cooling endpoint may be probed
	Reason   string    // of the last failure while it is not forgiven
	InFlight int64     // leases not yet released
}

// ID names an endpoint's identity: base URL, kind of credential, credential. It reveals none of them.
type ID [16]byte

// Name is the server's name in the configuration.
func (e *Endpoint) Name() string { return e.spec.Name }

// ID is the server's identity.
func (e *Endpoint) ID() ID { return e.id }

// Weight is the server's weight in the configuration.
func (e *Endpoint) Weight() int { return e.spec.Weight }

// HasToken says whether the server has a credential of its own.
func (e *Endpoint) HasToken() bool { return !e.spec.Token.Empty() }

// View reports the endpoint's fitness at a moment.
func (e *Endpoint) View(now time.Time) View {
	l := e.learned
	l.mu.Lock()
	defer l.mu.Unlock()
	v := View{ReadyAt: l.breaker.openUntil, Reason: l.breaker.reason, InFlight: l.inFlight.Load()}
	switch {
	case e.spec.Weight == 0:
		v.Unfit = Draining
	case l.balance.low:
		v.Unfit = LowBalance
	case l.breaker.closed():
		v.Unfit = Fit
	case now.Before(l.breaker.openUntil):
		v.Unfit = Cooling
	case l.breaker.probing:
		v.Unfit = Probing
	}
	return v
}

// Acquire takes an in-flight slot and, where one is due, the half-open permit,
// in one step. It fails when the endpoint is not fit.
func (e *Endpoint) Acquire(now time.Time) (*Lease, bool) {
	l := e.learned
	l.mu.Lock()
	defer l.mu.Unlock()
	if e.spec.Weight == 0 || l.balance.low {
		return nil, false
	}
	p, ok := l.breaker.acquire(now)
	if !ok {
		return nil, false
	}
	return e.lease(p), true
}

// AcquireAnyway takes a slot on an endpoint that rests: the last resort when no other is left.
func (e *Endpoint) AcquireAnyway(now time.Time) *Lease {
	l := e.learned
	l.mu.Lock()
	defer l.mu.Unlock()
	return e.lease(l.breaker.acquireAnyway(now))
}

func (e *Endpoint) lease(p permit) *Lease {
	e.learned.inFlight.Add(1)
	return &Lease{Endpoint: e, permit: p}
}

// Lease is one request's hold on an endpoint. One goroutine owns it. Settle
// may be called once or never, Release exactly once, last.
type Lease struct {
	*Endpoint
	permit  permit
	settled bool
}

// Settle teaches the endpoint the verdict on the attempt.
func (l *Lease) Settle(ctx context.Context, o Outcome, now time.Time) {
	if l.settled {
		return
	}
	l.settled = true
	b := &l.learned.breaker
	var back bool
	var out time.Duration
	var failures int
	l.learned.mu.Lock()
	switch o.Scope {
	case ScopeNone:
		back = b.succeed(l.permit)
	case ScopeRequest, ScopeClient:
		b.giveBack(l.permit)
	default:
		out = b.fail(l.permit, o, l.cooldown, now, rand.Float64())
		failures = b.failures
	}
	l.learned.mu.Unlock()

	if back {
		l.log.InfoContext(ctx, telemetry.ServerBack, telemetry.Server, l.Name())
	}
	if out > 0 {
		l.log.WarnContext(ctx, telemetry.ServerOut, telemetry.Server, l.Name(), telemetry.Reason, o.Reason,
			telemetry.Scope, o.Scope.String(), telemetry.Cooldown, out.Round(time.Millisecond), telemetry.Failures, failures)
	}
}

// Break charges a failure that came after the attempt had been settled as
// good: an answer that broke off. It says nothing where the endpoint is resting
// already.
func (l *Lease) Break(ctx context.Context, o Outcome, now time.Time) {
	l.learned.mu.Lock()
	closed := l.learned.breaker.closed()
	l.permit = permit{epoch: l.learned.breaker.epoch}
	l.learned.mu.Unlock()
	if closed {
		l.settled = false
		l.Settle(ctx, o, now)
	}
}

// Release gives the slot back, and with it a permit on which no verdict was given.
func (l *Lease) Release() {
	l.learned.inFlight.Add(-1)
	if l.settled {
		return
	}
	l.settled = true
	l.learned.mu.Lock()
	l.learned.breaker.giveBack(l.permit)
	l.learned.mu.Unlock()
}
