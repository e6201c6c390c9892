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

// Endpoint is a server of one generation of the configuration, together with
// what has been learned about its identity. Safe for concurrent use.
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
	mark      string   // to detect loops; "" for Anthropic's own hosts
	marks     []string // mark, as a header has it; shared by all requests
}

// endpointState outlives generations. The order of locks is: learned, account, origin.
type endpointState struct {
	inFlight atomic.Int64
	account  atomic.Pointer[account]
	cache    atomic.Pointer[cache] // nil while no answer has named the workspace
	latency  latency

	mu             sync.Mutex
	breaker        breaker             // of the endpoint itself
	credential     breaker             // of its key
	models         map[string]*breaker // of models that it refuses; closed ones are left out
	sides          map[string]*side    // by Subject.Path
	pauses         cooldowns           // while the service is overloaded, by class of models
	balance        balance
	recentFailures recentFailures
	refusals       map[string]verdict.Refusal // why it takes no work, by Subject.limit, "" for any subject
	succeeded      time.Time                  // the latest success
	paced          time.Time                  // when the latest extra attempt was granted
	drained        bool                       // by the operator, until he takes it back
	history        history
}

// ID names an endpoint's identity: base URL, kind of credential, credential. It reveals none of them.
type ID [16]byte

// MarshalText writes the identity in hexadecimal digits.
func (id ID) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, id[:]), nil }

// UnmarshalText reads what MarshalText has written.
func (id *ID) UnmarshalText(text []byte) error {
	raw, err := hex.DecodeString(string(text))
	if err == nil && len(raw) != len(id) {
		err = errors.New("not the identity of an endpoint")
	}
	copy(id[:], raw)
	return err
}

// Name is the server's name in the configuration.
func (e *Endpoint) Name() string { return e.spec.Name }

// ID is the server's identity.
func (e *Endpoint) ID() ID { return e.id }

// Weight is the server's weight in the configuration.
func (e *Endpoint) Weight() int { return e.spec.Weight }

// Price is what a token costs there, 1 being the list price.
func (e *Endpoint) Price() float64 { return e.spec.Price() }

// HasToken says whether the server has a credential of its own.
func (e *Endpoint) HasToken() bool { return !e.spec.Token.Empty() }

// CacheScope names what the endpoint shares with others of its account, as far as is known: the
// prompt cache, and what is kept under ids. It is the workspace where answers name
// one, else the account (prompt-caching docs). It changes when either is learned.
func (e *Endpoint) CacheScope() uint64 {
	if c := e.state.cache.Load(); c != nil && e.spec.Account == "" {
		return c.domain
	}
	return e.state.account.Load().cacheScope
}

// Changed returns a channel that is closed when an endpoint of the same pool has returned or a
// probe has told. A caller that is going to wait takes it before it looks at the endpoints.
func (e *Endpoint) Changed() <-chan struct{} { return e.notifier.next() }

// ChangedOrWoken is Changed for a request that is held back for another one's sake: the channel is closed by Wake too.
func (e *Endpoint) ChangedOrWoken() <-chan struct{} { return e.notifier.nextOrWake() }

// Wake wakes those who are held back: something else than the endpoints' standing has changed.
func (e *Endpoint) Wake() { e.notifier.wake() }

// Unfit says why an endpoint takes no new work, mildest first.
type Unfit uint8

// The reasons of Unfit.
const (
	Fit           Unfit = iota
	QuotaLow            // what is left of a rate limit is predicted to be too little for this request
	Paused              // the service is overloaded: a short pause
	RateLimited         // until the limit is over
	Cooling             // resting after failures of its own
	Probing             // half-open, and its one probe is under way
	ModelOut            // it refuses this model
	CredentialOut       // it refuses its key
	AccountOut          // its account has no credit, a spending limit, or is disabled
	LowBalance          // the last balance reading is at or below the threshold
	Draining            // weight 0, or drained by the operator: takes no new work
)

var unfitNames = [...]string{"fit", "short", "paused", "rate_limited", "cooling", "probing", "model_out", "credential_out", "account_out", "low_balance", "draining"}

// String names the reason as logs and traces show it.
func (u Unfit) String() string { return unfitNames[u] }

// View is what is known of an endpoint at one moment.
type View struct {
	Unfit    Unfit         // the gravest reason
	ReadyAt  time.Time     // when none of the reasons holds any more; of no meaning for Probing and from LowBalance on
	Reason   string        // of the last failure while it is not forgiven
	Cause    verdict.Cause // the same for clients, where a breaker is the reason
	InFlight int64         // leases not yet released
	Refusals int           // in a row, of Paused: how often the service was overloaded when it was asked
	Ejected  bool          // its own circuit breaker is not closed
	Avoid    bool          // it accepts no messages now: other paths may use it, but any other endpoint is preferred
	Share    float64       // of the work it would normally get: below 1 during slow start
	Load     float64       // tokens that its account was given lately
	Headroom float64       // the part that is left of the account's tightest limit, 0 to 1

	Latency time.Duration // to the first token of recent answers, as if all was cached; 0 when none is known
}

// ReadyAfter returns the later of ReadyAt and t.
func (v View) ReadyAfter(t time.Time) time.Time { return later(v.ReadyAt, t) }

func (v *View) because(u Unfit, ready time.Time, reason string) {
	if u > v.Unfit {
		v.Unfit, v.Reason = u, reason
	}
	if ready.After(v.ReadyAt) {
		v.ReadyAt = ready
	}
}

// broken notes a breaker that does not admit an attempt.
func (v *View) broken(b *breaker, resting Unfit, now time.Time) {
	if b == nil || b.admits(now) {
		return
	}
	u := resting
	if !b.isOpen(now) {
		u = max(Probing, resting)
	}
	if u > v.Unfit {
		v.Cause = b.cause
	}
	v.because(u, b.openUntil, b.reason)
}

func (v *View) waiting(r cooldown, u Unfit, now time.Time) {
	if now.Before(r.until) {
		v.because(u, r.until, r.reason)
		if u == Paused {
			v.Refusals = max(v.Refusals, r.refusals)
		}
	}
}

// View reports the endpoint's fitness for a subject at a moment.
func (e *Endpoint) View(now time.Time, s Subject) View {
	e.state.mu.Lock()
	defer e.state.mu.Unlock()
	a := e.state.account.Load()
	a.mu.Lock()
	defer a.mu.Unlock()
	return e.fitness(a, now, s)
}

// fitness is View for a caller that holds the mutexes of the endpoint and its account.
func (e *Endpoint) fitness(a *account, now time.Time, s Subject) View {
	if s.Path != claude.PathMessages {
		return e.sideFitness(a, now, s)
	}
	v := e.standing(now)
	v.broken(e.state.models[s.model()], ModelOut, now)
	v.broken(&a.out, AccountOut, now)
	class := s.class()
	v.waiting(e.state.pauses[class], Paused, now)
	v.waiting(e.origin.pause(class), Paused, now)
	v.waiting(a.limits[s.limit()], RateLimited, now)
	b := a.budget(s, e.spec.RateLimit, now)
	if ready := b.ready(s.Demand, now); ready.After(now) {
		v.because(QuotaLow, ready, "rate limit nearly used up")
	}
	v.Latency = e.state.latency.usual()
	v.Load, v.Headroom = a.load.now(now), b.headroom(now)
	return v
}

// ViewAny reports the endpoint's fitness whatever the subject: a pause or limit of any class counts.
func (e *Endpoint) ViewAny(now time.Time) View {
	l := e.state
	l.mu.Lock()
	defer l.mu.Unlock()
	v := e.standing(now)
	v.waiting(l.pauses.longest(), Paused, now)
	v.waiting(e.origin.pause(""), Paused, now)
	a := l.account.Load()
	a.mu.Lock()
	defer a.mu.Unlock()
	v.broken(&a.out, AccountOut, now)
	v.waiting(a.limits.longest(), RateLimited, now)
	return v
}

// standing is what holds for every subject. The caller holds the mutex.
func (e *Endpoint) standing(now time.Time) View {
	l := e.state
	v := View{InFlight: l.inFlight.Load(), Ejected: !l.breaker.isClosed(), Share: e.share(now)}
	v.broken(&l.breaker, Cooling, now)
	v.broken(&l.credential, CredentialOut, now)
	if l.balance.low {
		v.because(LowBalance, time.Time{}, "balance low")
	}
	e.draining(&v)
	return v
}

// draining marks the endpoint as taking no new work. The caller holds the mutex.
func (e *Endpoint) draining(v *View) {
	if e.spec.Weight == 0 {
		v.because(Draining, time.Time{}, "weight 0")
	}
	if e.state.drained {
		v.because(Draining, time.Time{}, "drained by the operator")
	}
}

// share ramps an endpoint up after its breaker has closed: it may still be weak, and its connections are cold.
func (e *Endpoint) share(now time.Time) float64 {
	const least = 0.1
	back := e.state.breaker.closedAt
	if back.IsZero() || e.slowStart <= 0 {
		return 1
	}
	return min(max(float64(now.Sub(back))/float64(e.slowStart), least), 1)
}

// Mark sets the header of a request to the server: the marks that it came with, and the server's own.
func (e *Endpoint) Mark(h http.Header, came []string) {
	switch {
	case e.mark == "":
		delete(h, transport.LoopHeader)
	case len(came) == 0:
		h[transport.LoopHeader] = e.marks
	default:
		h[transport.LoopHeader] = []string{strings.Join(append(came[:len(came):len(came)], e.mark), ", ")}
	}
}
