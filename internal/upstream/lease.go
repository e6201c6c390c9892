package upstream

import (
	"net/http"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/claude"
	"github.com/9bingyin/claude-code-lb/internal/transport"
	"github.com/9bingyin/claude-code-lb/internal/verdict"
)

const (
	// pace is the shortest pause between two attempts at an endpoint that rests for failures of its own.
	pace = 250 * time.Millisecond
	// slowPace is the same where the answer is as good as known, such as that of an account without credit.
	slowPace = time.Second
)

// Lease is one request's hold on an endpoint. One goroutine owns it. Settle
// may be called once or never, Release exactly once, last.
type Lease struct {
	*Endpoint
	subject Subject
	account *account // at the time of the attempt
	started time.Time
	settled bool
	broken  bool // it failed after it had been settled as good
	debit   debit
	prior   *breaker // the endpoint's own, before this lease's failure was charged to it

	endpoint, credential, model, out permit

	// Of a lease for another path than that of messages:
	side       *side
	sidePermit permit
	sidePrior  *breaker // the side's, before this lease's failure was charged to it
}

// Acquire takes an in-flight slot and, where they are due, the half-open
// permits, in one step. It fails when the endpoint is not fit for the subject.
func (e *Endpoint) Acquire(now time.Time, s Subject) (*Lease, bool) {
	return e.AcquireInto(nil, now, s)
}

// AcquireInto is Acquire that makes the lease in memory of the caller's, unless that is nil. It must not hold another lease.
func (e *Endpoint) AcquireInto(room *Lease, now time.Time, s Subject) (*Lease, bool) {
	lease, _ := e.acquire(room, now, s, false)
	return lease, lease != nil
}

// AcquireForced takes a slot on an endpoint that rests, when no other is left.
// It is granted at a measured pace: where it is not, again says when to ask anew.
func (e *Endpoint) AcquireForced(now time.Time, s Subject) (lease *Lease, again time.Time) {
	return e.acquire(nil, now, s, true)
}

func (e *Endpoint) acquire(room *Lease, now time.Time, s Subject, anyway bool) (*Lease, time.Time) {
	l := e.state
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.account.Load()
	a.mu.Lock()
	defer a.mu.Unlock()
	if v := e.fitness(a, now, s); v.Unfit != Fit {
		paced := &l.paced
		if s.Path != claude.PathMessages {
			paced = &l.side(s.Path).paced
		}
		next := paced.Add(v.pace())
		if !anyway || v.Unfit == Draining || v.Unfit != QuotaLow && now.Before(next) {
			return nil, next
		}
		if v.Unfit != QuotaLow { // a prediction may be wrong, and the upstream says so at no cost
			*paced = now
		}
	}
	l.inFlight.Add(1)
	if room == nil {
		room = new(Lease)
	}
	*room = Lease{Endpoint: e, subject: s, account: a, started: now}
	if s.Path != claude.PathMessages {
		room.admitSide(now)
		return room, time.Time{}
	}
	room.endpoint, room.credential = l.breaker.admit(now), l.credential.admit(now)
	room.model, room.out = l.models[s.model()].admit(now), a.out.admit(now)
	room.charge(now)
	return room, time.Time{}
}

func (v View) pace() time.Duration {
	if v.Unfit == Cooling || v.Unfit == Probing {
		return pace
	}
	return slowPace
}

// Release gives the slot back, and with it the permits on which no effect was given.
func (l *Lease) Release() {
	l.state.inFlight.Add(-1)
	l.lock()
	l.releaseLocked(0, time.Time{})
	settled := l.settled
	if !settled {
		l.settled = true
		l.giveBack()
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

// giveBack returns all permits without a verdict. The caller holds the locks.
func (l *Lease) giveBack() {
	if l.side != nil {
		l.side.breaker.release(l.sidePermit)
		return
	}
	l.state.breaker.release(l.endpoint)
	l.state.credential.release(l.credential)
	l.account.out.release(l.out)
	if b := l.state.models[l.subject.model()]; b != nil {
		b.release(l.model)
	}
}

// UpdateFromHeader takes from the head of an answer which account the endpoint belongs
// to, unless the configuration names it, and what is left of its limits.
func (l *Lease) UpdateFromHeader(status int, h http.Header, now time.Time) {
	limits := claude.ParseRateLimits(h)
	if l.subject.Has(verdict.Fast) {
		useFastLimits(&limits, h)
	}
	l.identify(h)
	l.account.mu.Lock()
	defer l.account.mu.Unlock()
	l.updateLimitsLocked(&limits, status >= http.StatusBadRequest, now)
}

// useFastLimits replaces the token buckets by those of fast mode, if the response reports them. It is not inlined: its
// locals would enlarge the stack of every open stream, and few requests ask for fast mode.
//
//go:noinline
func useFastLimits(limits *claude.RateLimits, h http.Header) {
	if fast, ok := claude.ParseFastLimits(h); ok {
		fast.Unified = limits.Unified
		*limits = fast
	}
}

// CorrectInput corrects what the request was expected to take from the limits, as soon as the answer tells.
func (l *Lease) CorrectInput(uncached int64, now time.Time) {
	l.account.mu.Lock()
	defer l.account.mu.Unlock()
	l.correctLocked(uncached, now)
}

// RecordOutput ends the request's claim on the limits with the output tokens that it took.
func (l *Lease) RecordOutput(output int64, now time.Time) {
	l.account.mu.Lock()
	defer l.account.mu.Unlock()
	l.account.load.add(float64(output), now)
	l.releaseLocked(output, now)
}

// identify returns the account that a response names. It trusts Anthropic's own hosts only: a relay may
// pass on the organization of a pool that all its customers share, or invent one.
func (l *Lease) identify(h http.Header) {
	if !l.origin.anthropic {
		return
	}
	if workspace := workspaceOf(h); workspace != "" && l.HasToken() {
		l.state.cache.Store(l.accounts.cacheOf(l.origin.key, workspace, l.id))
	}
	organization := organizationOf(h)
	if l.spec.Account != "" || organization == "" || !l.HasToken() {
		return
	}
	own := l.state.account.Load()
	shared := l.accounts.of(l.origin.key, organization, own)
	if shared == own || !l.state.account.CompareAndSwap(own, shared) {
		return
	}
	shared.adopt(own)
	shared.mu.Lock()
	defer shared.mu.Unlock()
	l.account, l.out = shared, permit{epoch: shared.out.epoch}
	if l.debit.budget == nil {
		return
	}
	b := shared.budget(l.subject, l.spec.RateLimit, l.started)
	b.reserve(l.debit.demand) // the old account is nobody's any more
	l.debit.budget, l.debit.before = b, b.taken()
}

// RoundTrip sends r to the lease's endpoint. r.URL holds the path and query
// that the client asked for; they are appended to the endpoint's base URL. An
// endpoint with a credential replaces whatever credential r carries.
func (l *Lease) RoundTrip(r *http.Request) (*http.Response, error) {
	r.URL = transport.Join(l.spec.URL, r.URL)
	r.Host = ""
	l.auth.Put(r.Header)
	return l.transport.RoundTrip(r)
}
