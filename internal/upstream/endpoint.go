package upstream

import (
	"encoding/hex"
	"errors"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/claude"
	"github.com/9bingyin/claude-code-lb/internal/config"
	"github.com/9bingyin/claude-code-lb/internal/event"
	"github.com/9bingyin/claude-code-lb/internal/transport"
	"github.com/9bingyin/claude-code-lb/internal/verdict"
)

// Endpoint is a server of one generation of the configuration, joined with the state of its
// identity. Safe for concurrent use.
type Endpoint struct {
	spec      config.Server
	policy    breakerPolicy
	slowStart time.Duration
	id        ID
	state     *endpointState
	transport transport.Transport
	auth      transport.Credential
	accounts  *accounts
	origin    *origin
	notifier  *notifier
	log       *event.Bus
	mark      string   // loop mark; "" for Anthropic's own hosts
	marks     []string // mark as a header value; shared by all requests
}

// endpointState is the state that survives reloads. Mutexes are locked in this order: endpoint,
// account, origin.
type endpointState struct {
	inFlight  atomic.Int64
	account   atomic.Pointer[account]
	workspace atomic.Pointer[workspace] // nil until a response names the workspace
	latency   latency

	mu             sync.Mutex
	breaker        breaker               // of the endpoint itself
	credential     breaker               // of its key
	models         map[string]*breaker   // of models that it refuses; closed breakers are removed
	paths          map[string]*pathState // by Subject.Path
	pauses         cooldowns             // while the upstream is overloaded, by class of models
	balance        balance
	recentFailures recentFailures
	refusals       map[string]verdict.Refusal // why it accepts no requests, by Subject.limit; "" for all subjects
	lastSuccess    time.Time                  // time of the latest success
	lastForced     time.Time                  // when the latest forced attempt was granted
	drained        bool                       // by the operator, until Undrain
	history        history
}

// ID is an endpoint's identity: a hash of base URL, kind of credential, and credential.
type ID [16]byte

// MarshalText returns the identity in hexadecimal digits.
func (id ID) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, id[:]), nil }

// UnmarshalText decodes the result of MarshalText.
func (id *ID) UnmarshalText(text []byte) error {
	raw, err := hex.DecodeString(string(text))
	if err == nil && len(raw) != len(id) {
		err = errors.New("not the identity of an endpoint")
	}
	copy(id[:], raw)
	return err
}

// Name returns the server's name in the configuration.
func (e *Endpoint) Name() string { return e.spec.Name }

// ID returns the server's identity.
func (e *Endpoint) ID() ID { return e.id }

// Weight returns the server's weight in the configuration.
func (e *Endpoint) Weight() int { return e.spec.Weight }

// Price returns the price of a token relative to the list price.
func (e *Endpoint) Price() float64 { return e.spec.Price() }

// HasToken reports whether the server has its own credential.
func (e *Endpoint) HasToken() bool { return !e.spec.Token.Empty() }

// CacheScope identifies what the endpoint shares with others, as known so far: the prompt cache,
// and the resources with ids. It stands for the workspace if responses name one, otherwise for the
// account (prompt-caching docs). It changes when a response names either for the first time.
func (e *Endpoint) CacheScope() uint64 {
	if c := e.state.workspace.Load(); c != nil && e.spec.Account == "" {
		return c.cacheScope
	}
	return e.state.account.Load().cacheScope
}

// Changed returns a channel that is closed when an endpoint of the pool has recovered or a probe
// has ended. A caller that is going to wait calls Changed before it looks at the endpoints.
func (e *Endpoint) Changed() <-chan struct{} { return e.notifier.next() }

// ChangedOrWoken is Changed for a request that waits for another request: Wake also closes the
// channel.
func (e *Endpoint) ChangedOrWoken() <-chan struct{} { return e.notifier.nextOrWake() }

// Wake wakes the requests that wait for another request.
func (e *Endpoint) Wake() { e.notifier.wake() }

// Unfit is the reason why an endpoint accepts no new requests. Reasons are ordered by severity.
type Unfit uint8

// The reasons of Unfit.
const (
	Fit           Unfit = iota
	QuotaLow            // the remaining rate limit is probably too small for this request
	Paused              // the upstream is overloaded
	RateLimited         // until the limit ends
	Cooling             // the endpoint's own breaker is open
	Probing             // half-open, and the probe is in flight
	ModelOut            // it refuses the model
	CredentialOut       // it refuses the key
	AccountOut          // the account has no credit, has reached a spending limit, or is disabled
	LowBalance          // the last balance reading is at or below the threshold
	Draining            // weight 0, or drained by the operator
)

var unfitNames = [...]string{"fit", "short", "paused", "rate_limited", "cooling", "probing", "model_out", "credential_out", "account_out", "low_balance", "draining"}

// String returns the name of the reason in logs and traces.
func (u Unfit) String() string { return unfitNames[u] }

// View is what is known of an endpoint at one time.
type View struct {
	Unfit    Unfit         // the most severe reason
	ReadyAt  time.Time     // when all reasons end; meaningless for Probing, LowBalance and Draining
	Reason   string        // of the last failure that still counts
	Cause    verdict.Cause // the same as a code for clients, if a breaker is the reason
	InFlight int64         // leases that are not released
	Refusals int           // consecutive refusals for lack of capacity, if Paused
	Ejected  bool          // its own circuit breaker is not closed
	Avoid    bool          // accepts no messages now: other paths may use it, but any other endpoint is preferred
	Share    float64       // fraction of its normal share of requests; below 1 during slow start
	Load     float64       // tokens that its account received recently
	Headroom float64       // remaining fraction of the account's tightest limit, 0 to 1

	Latency time.Duration // to the first token of recent responses, as if everything was cached; 0: unknown
}

// ReadyAfter returns the later of ReadyAt and t.
func (v View) ReadyAfter(t time.Time) time.Time { return later(v.ReadyAt, t) }

func (v *View) addReason(u Unfit, ready time.Time, reason string) {
	if u > v.Unfit {
		v.Unfit, v.Reason = u, reason
	}
	if ready.After(v.ReadyAt) {
		v.ReadyAt = ready
	}
}

// addBreaker adds a reason if a breaker does not admit an attempt.
func (v *View) addBreaker(b *breaker, open Unfit, now time.Time) {
	if b == nil || b.canAdmit(now) {
		return
	}
	u := open
	if !b.isOpen(now) {
		u = max(Probing, open)
	}
	if u > v.Unfit {
		v.Cause = b.cause
	}
	v.addReason(u, b.openUntil, b.reason)
}

func (v *View) addCooldown(c cooldown, u Unfit, now time.Time) {
	if now.Before(c.until) {
		v.addReason(u, c.until, c.reason)
		if u == Paused {
			v.Refusals = max(v.Refusals, c.refusals)
		}
	}
}

// View returns the endpoint's availability for a subject.
func (e *Endpoint) View(now time.Time, s Subject) View {
	e.state.mu.Lock()
	defer e.state.mu.Unlock()
	a := e.state.account.Load()
	a.mu.Lock()
	defer a.mu.Unlock()
	return e.viewLocked(a, now, s)
}

// viewLocked is View for a caller that holds the mutexes of the endpoint and its account.
func (e *Endpoint) viewLocked(a *account, now time.Time, s Subject) View {
	if s.Path != claude.PathMessages {
		return e.pathViewLocked(a, now, s)
	}
	v := e.commonViewLocked(now)
	v.addBreaker(e.state.models[s.model()], ModelOut, now)
	v.addBreaker(&a.breaker, AccountOut, now)
	class := s.class()
	v.addCooldown(e.state.pauses[class], Paused, now)
	v.addCooldown(e.origin.cooldownOf(class), Paused, now)
	v.addCooldown(a.rateLimits[s.limit()], RateLimited, now)
	b := a.budgetLocked(s, e.spec.RateLimit, now)
	if ready := b.readyAt(s.Demand, now); ready.After(now) {
		v.addReason(QuotaLow, ready, "rate limit nearly used up")
	}
	v.Latency = e.state.latency.recentMean()
	v.Load, v.Headroom = a.load.value(now), b.headroom(now)
	return v
}

// ViewAny returns the endpoint's availability regardless of the subject: a cooldown of any class of
// models counts.
func (e *Endpoint) ViewAny(now time.Time) View {
	st := e.state
	st.mu.Lock()
	defer st.mu.Unlock()
	v := e.commonViewLocked(now)
	v.addCooldown(st.pauses.longest(), Paused, now)
	v.addCooldown(e.origin.cooldownOf(""), Paused, now)
	a := st.account.Load()
	a.mu.Lock()
	defer a.mu.Unlock()
	v.addBreaker(&a.breaker, AccountOut, now)
	v.addCooldown(a.rateLimits.longest(), RateLimited, now)
	return v
}

// commonViewLocked returns the part of the view that is equal for all subjects.
func (e *Endpoint) commonViewLocked(now time.Time) View {
	st := e.state
	v := View{InFlight: st.inFlight.Load(), Ejected: !st.breaker.isClosed(), Share: e.slowStartShareLocked(now)}
	v.addBreaker(&st.breaker, Cooling, now)
	v.addBreaker(&st.credential, CredentialOut, now)
	if st.balance.low {
		v.addReason(LowBalance, time.Time{}, "balance low")
	}
	e.addDrainingLocked(&v)
	return v
}

// addDrainingLocked adds the reason that the endpoint is drained.
func (e *Endpoint) addDrainingLocked(v *View) {
	if e.spec.Weight == 0 {
		v.addReason(Draining, time.Time{}, "weight 0")
	}
	if e.state.drained {
		v.addReason(Draining, time.Time{}, "drained by the operator")
	}
}

// slowStartShareLocked returns the share of requests during slow start. After its breaker has
// closed, an endpoint may still be weak, and its connections are cold.
func (e *Endpoint) slowStartShareLocked(now time.Time) float64 {
	const minShare = 0.1
	closedAt := e.state.breaker.closedAt
	if closedAt.IsZero() || e.slowStart <= 0 {
		return 1
	}
	return min(max(float64(now.Sub(closedAt))/float64(e.slowStart), minShare), 1)
}

// Mark sets the loop header of a request to the server: the marks that the request came with, and
// the server's own.
func (e *Endpoint) Mark(h http.Header, received []string) {
	switch {
	case e.mark == "":
		delete(h, transport.LoopHeader)
	case len(received) == 0:
		h[transport.LoopHeader] = e.marks
	default:
		h[transport.LoopHeader] = []string{strings.Join(append(received[:len(received):len(received)], e.mark), ", ")}
	}
}
