package upstream

import (
	"net/http"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/claude"
	"github.com/9bingyin/claude-code-lb/internal/transport"
	"github.com/9bingyin/claude-code-lb/internal/verdict"
)

const (
	// minForcedInterval is the shortest time between two forced attempts at an endpoint whose own
	// breaker is open.
	minForcedInterval = 250 * time.Millisecond
	// maxForcedInterval is the same if the response is almost certain, for example that of an
	// account without credit.
	maxForcedInterval = time.Second
)

// Lease is one request's claim on an endpoint. It belongs to one goroutine. Settle is called at
// most once, and Release exactly once, last.
type Lease struct {
	*Endpoint
	subject       Subject
	account       *account // at the time of the attempt
	started       time.Time
	settled       bool
	brokeOff      bool // failed after it was settled as a success
	reservation   reservation
	breakerBefore *breaker // the endpoint's breaker before this lease's failure

	endpointPermit, credentialPermit, modelPermit, accountPermit permit

	// For paths other than that of messages:
	path              *pathState
	pathPermit        permit
	pathBreakerBefore *breaker // the path's breaker before this lease's failure
}

// Acquire takes an in-flight slot and the breakers' permits in one step. It fails if the endpoint
// is not fit for the subject.
func (e *Endpoint) Acquire(now time.Time, s Subject) (*Lease, bool) {
	return e.AcquireInto(nil, now, s)
}

// AcquireInto is Acquire with memory for the lease, which may be nil. The memory must not contain a
// lease in use.
func (e *Endpoint) AcquireInto(mem *Lease, now time.Time, s Subject) (*Lease, bool) {
	lease, _ := e.acquire(mem, now, s, false)
	return lease, lease != nil
}

// AcquireForced takes a slot on an endpoint that is not fit, when no other endpoint is left. The
// rate of such attempts is limited: if none is granted now, again is the time of the next.
func (e *Endpoint) AcquireForced(now time.Time, s Subject) (lease *Lease, again time.Time) {
	return e.acquire(nil, now, s, true)
}

func (e *Endpoint) acquire(mem *Lease, now time.Time, s Subject, force bool) (*Lease, time.Time) {
	st := e.state
	st.mu.Lock()
	defer st.mu.Unlock()
	a := st.account.Load()
	a.mu.Lock()
	defer a.mu.Unlock()
	if v := e.viewLocked(a, now, s); v.Unfit != Fit {
		last := &st.lastForced
		if s.Path != claude.PathMessages {
			last = &st.pathLocked(s.Path).lastForced
		}
		next := last.Add(v.forcedInterval())
		if !force || v.Unfit == Draining || v.Unfit != QuotaLow && now.Before(next) {
			return nil, next
		}
		if v.Unfit != QuotaLow { // a prediction may be wrong, and a refusal by the upstream costs nothing
			*last = now
		}
	}
	st.inFlight.Add(1)
	if mem == nil {
		mem = new(Lease)
	}
	*mem = Lease{Endpoint: e, subject: s, account: a, started: now}
	if s.Path != claude.PathMessages {
		mem.admitPathLocked(now)
		return mem, time.Time{}
	}
	mem.endpointPermit, mem.credentialPermit = st.breaker.acquireForced(now), st.credential.acquireForced(now)
	mem.modelPermit, mem.accountPermit = st.models[s.model()].acquireForced(now), a.breaker.acquireForced(now)
	mem.reserveLocked(now)
	return mem, time.Time{}
}

func (v View) forcedInterval() time.Duration {
	if v.Unfit == Cooling || v.Unfit == Probing {
		return minForcedInterval
	}
	return maxForcedInterval
}

// Release ends the claim. If the lease was not settled, the permits are returned without an
// outcome.
func (l *Lease) Release() {
	l.state.inFlight.Add(-1)
	l.lock()
	l.releaseReservationLocked(0, time.Time{})
	settled := l.settled
	if !settled {
		l.settled = true
		l.releasePermitsLocked()
	}
	l.unlock()
	if !settled {
		l.notifier.notify()
	}
}

func (l *Lease) lock() {
	l.state.mu.Lock()
	l.account.mu.Lock()
}

func (l *Lease) unlock() {
	l.account.mu.Unlock()
	l.state.mu.Unlock()
}

// releasePermitsLocked returns all permits without an outcome.
func (l *Lease) releasePermitsLocked() {
	if l.path != nil {
		l.path.breaker.release(l.pathPermit)
		return
	}
	l.state.breaker.release(l.endpointPermit)
	l.state.credential.release(l.credentialPermit)
	l.account.breaker.release(l.accountPermit)
	if b := l.state.models[l.subject.model()]; b != nil {
		b.release(l.modelPermit)
	}
}

// UpdateFromHeader reads the account of the endpoint and its remaining limits from the header of a
// response. An account that the configuration names is not changed.
func (l *Lease) UpdateFromHeader(status int, h http.Header, now time.Time) {
	limits := claude.ParseRateLimits(h)
	if l.subject.Has(verdict.Fast) {
		useFastLimits(&limits, h)
	}
	l.updateAccount(h)
	l.account.mu.Lock()
	defer l.account.mu.Unlock()
	l.updateLimitsLocked(&limits, status >= http.StatusBadRequest, now)
}

// useFastLimits replaces the token buckets by those of fast mode, if the response reports them. It
// is not inlined, because its locals would enlarge the stack of every open stream, and few requests
// ask for fast mode.
//
//go:noinline
func useFastLimits(limits *claude.RateLimits, h http.Header) {
	if fast, ok := claude.ParseFastLimits(h); ok {
		fast.Unified = limits.Unified
		*limits = fast
	}
}

// CorrectInput corrects the reserved input by the uncached tokens that the response reports.
func (l *Lease) CorrectInput(uncached int64, now time.Time) {
	l.account.mu.Lock()
	defer l.account.mu.Unlock()
	l.correctLocked(uncached, now)
}

// RecordOutput debits the output tokens and ends the request's reservation.
func (l *Lease) RecordOutput(output int64, now time.Time) {
	l.account.mu.Lock()
	defer l.account.mu.Unlock()
	l.account.load.add(float64(output), now)
	l.releaseReservationLocked(output, now)
}

// updateAccount assigns the endpoint to the account that a response names. It trusts only
// Anthropic's own hosts: a relay may pass on the organization of a pool that all its customers
// share, or invent one.
func (l *Lease) updateAccount(h http.Header) {
	if !l.origin.anthropic {
		return
	}
	if workspace := workspaceOf(h); workspace != "" && l.HasToken() {
		l.state.workspace.Store(l.accounts.byWorkspace(l.origin.key, workspace, l.id))
	}
	organization := organizationOf(h)
	if l.spec.Account != "" || organization == "" || !l.HasToken() {
		return
	}
	own := l.state.account.Load()
	shared := l.accounts.byOrganization(l.origin.key, organization, own)
	if shared == own || !l.state.account.CompareAndSwap(own, shared) {
		return
	}
	shared.merge(own)
	shared.mu.Lock()
	defer shared.mu.Unlock()
	l.account, l.accountPermit = shared, permit{epoch: shared.breaker.epoch}
	if l.reservation.budget == nil {
		return
	}
	b := shared.budgetLocked(l.subject, l.spec.RateLimit, l.started)
	b.reserve(l.reservation.demand) // the old account is no longer used
	l.reservation.budget, l.reservation.debitedBefore = b, b.debited()
}

// RoundTrip sends r to the endpoint. r.URL has the path and query of the client's request; they are
// appended to the endpoint's base URL. If the endpoint has a credential, it replaces any credential
// in r.
func (l *Lease) RoundTrip(r *http.Request) (*http.Response, error) {
	r.URL = transport.Join(l.spec.URL, r.URL)
	r.Host = ""
	l.auth.Put(r.Header)
	return l.transport.RoundTrip(r)
}
