package routing

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/upstream"
)

// Wait is the error if an endpoint will be available within the request's patience.
type Wait struct {
	Until time.Time
	// Changed is closed when an endpoint has returned or a probe has ended: then a retry before
	// Until makes sense.
	Changed <-chan struct{}
}

func (w *Wait) Error() string { return "an upstream returns at " + w.Until.Format(time.TimeOnly) }

// Unavailable is the error if no endpoint is left for a request.
type Unavailable struct {
	RetryAfter time.Duration  // time until the first endpoint is available; 0 if unknown
	Mildest    upstream.Unfit // the mildest reason of all endpoints
}

func (u *Unavailable) Error() string {
	return fmt.Sprintf("no upstream available (%s), the first returns in %s", u.Mildest, u.RetryAfter.Round(time.Second))
}

// assessed is the state of one endpoint for a request that found no available endpoint.
type assessed struct {
	*upstream.Endpoint
	view  upstream.View
	tried bool
	ready time.Time // when it is available; zero if that is unknown or never
	open  bool      // a further attempt is allowed
}

// patientRounds is the number of consecutive refusals of an overloaded service after which requests
// no longer wait for it. Then the clients decide, because many have a fallback model.
// docs/failover.md has the measurements.
const patientRounds = 2

// fallback decides when no untried endpoint is available. In this order:
//
//   - an endpoint that refused this request without cost and is available again;
//   - an untried endpoint with a failure cooldown, if more endpoints have one than the limit
//     allows: no request is refused while one server might work;
//   - to wait for the first endpoint to return, or for headroom in a rate limit, if that is within
//     the request's patience;
//   - any untried endpoint, the mildest reason first: it may be back early, and otherwise gives a
//     fresh response to pass on.
func (t *Table) fallback(q *Query, f *placement, tried *Tried, now time.Time) (*upstream.Lease, error) {
	changed := t.changed() // before the assessment, so that no return is missed in between
	again := func(e *upstream.Endpoint) bool {
		at, ok := time.Time{}, true
		if tried.Has(e.ID()) {
			at, ok = tried.again(e.ID())
		}
		return ok && !now.Before(at)
	}
	for _, tier := range t.eligibleTiers(q) {
		if lease, err := t.acquire(tier, q, f, now, false, again); lease != nil || err != nil {
			return lease, err
		}
	}
	all := t.assess(q, f, tried, now)
	earliest := earliestOf(all)
	for _, s := range t.overEjectionLimit(all) {
		lease, paced := s.AcquireForced(now, f.subject(q, s.Endpoint))
		if lease != nil {
			return lease, nil
		}
		earliest = sooner(earliest, paced)
	}
	if until, ok := worthWaiting(all, earliest, q.Patience, now); ok {
		return nil, &Wait{Until: until, Changed: changed}
	}
	if until, ok := worthQueueing(all, q.Queue, now); ok {
		return nil, &Wait{Until: until, Changed: changed}
	}
	for _, s := range lastResorts(all) {
		if lease, _ := s.AcquireForced(now, f.subject(q, s.Endpoint)); lease != nil {
			return lease, nil
		}
	}
	return nil, t.unavailable(all, now)
}

func (t *Table) changed() <-chan struct{} {
	for _, tier := range t.tiers {
		for _, e := range tier {
			return e.Changed() // all endpoints of a table share one pool
		}
	}
	return nil
}

func (t *Table) assess(q *Query, f *placement, tried *Tried, now time.Time) []assessed {
	var all []assessed
	for _, tier := range t.eligibleTiers(q) {
		for _, e := range tier {
			s := assessed{Endpoint: e, view: e.View(now, f.subject(q, e)), tried: tried.Has(e.ID()), open: true}
			var again time.Time
			if s.tried {
				again, s.open = tried.again(e.ID())
			}
			s.ready = s.view.ReadyAfter(again)
			if s.view.Unfit >= upstream.LowBalance || s.view.Unfit == upstream.Paused && s.view.Refusals >= patientRounds || !s.ready.After(now) {
				s.ready = time.Time{}
			}
			all = append(all, s)
		}
	}
	return all
}

// overEjectionLimit lists the untried endpoints with a failure cooldown beyond the allowed share,
// those closest to recovery first.
func (t *Table) overEjectionLimit(all []assessed) []assessed {
	ejected, excess := t.ejected(all)
	return slices.DeleteFunc(ejected[:excess], func(s assessed) bool {
		return s.tried || s.view.Unfit != upstream.Cooling && s.view.Unfit != upstream.Probing
	})
}

// ejected lists the endpoints with a failure cooldown, those closest to recovery first, and returns
// how many exceed the allowed share.
func (t *Table) ejected(all []assessed) (ejected []assessed, excess int) {
	working := 0
	for _, s := range all {
		if s.view.Unfit == upstream.Draining {
			continue
		}
		working++
		if s.view.Ejected {
			ejected = append(ejected, s)
		}
	}
	slices.SortStableFunc(ejected, func(a, b assessed) int { return a.view.ReadyAt.Compare(b.view.ReadyAt) })
	allowed := max(min(working*t.maxEjected/100, working-1), 0)
	return ejected, max(len(ejected)-allowed, 0)
}

func earliestOf(all []assessed) time.Time {
	var earliest time.Time
	for _, s := range all {
		if s.open {
			earliest = sooner(earliest, s.ready)
		}
	}
	return earliest
}

// worthWaiting returns until when a request with this patience waits. The end of a running probe is
// unknown, so it may come at any time.
func worthWaiting(all []assessed, earliest time.Time, patience time.Duration, now time.Time) (time.Time, bool) {
	if patience <= 0 {
		return time.Time{}, false
	}
	limit := now.Add(patience)
	if !earliest.IsZero() && !earliest.After(limit) {
		return earliest, true
	}
	probed := slices.ContainsFunc(all, func(s assessed) bool {
		return s.open && s.view.Unfit != upstream.Fit && s.view.Unfit < upstream.LowBalance && !s.view.ReadyAt.After(now)
	})
	return limit, probed
}

// worthQueueing returns until when a request waits for headroom in a rate limit.
func worthQueueing(all []assessed, queue time.Duration, now time.Time) (time.Time, bool) {
	var earliest time.Time
	for _, s := range all {
		if s.open && s.view.Unfit == upstream.QuotaLow {
			earliest = sooner(earliest, s.ready)
		}
	}
	return earliest, !earliest.IsZero() && earliest.Sub(now) <= queue
}

func lastResorts(all []assessed) []assessed {
	rest := slices.DeleteFunc(slices.Clone(all), func(s assessed) bool { return s.tried || s.view.Unfit == upstream.Draining })
	slices.SortStableFunc(rest, func(a, b assessed) int {
		return cmp.Or(cmp.Compare(a.view.Unfit, b.view.Unfit), a.view.ReadyAt.Compare(b.view.ReadyAt))
	})
	return rest
}

// soonRetry is the Retry-After for a client that found more servers in a failure cooldown than the
// limit allows: they may be tried at any time.
const soonRetry = 10 * time.Second

// OtherFit reports whether an untried endpoint would take the request now.
func (t *Table) OtherFit(q *Query, tried *Tried, now time.Time) bool {
	for _, tier := range t.eligibleTiers(q) {
		for _, e := range tier {
			if !tried.Has(e.ID()) && e.View(now, q.Subject).Unfit == upstream.Fit {
				return true
			}
		}
	}
	return false
}

// Availability reports what a request with this query would find now, without acquiring anything.
// Mildest is Fit if an endpoint is available.
func (t *Table) Availability(q *Query, tried *Tried, now time.Time) *Unavailable {
	return t.unavailable(t.assess(q, &placement{}, tried, now), now)
}

func (t *Table) unavailable(all []assessed, now time.Time) *Unavailable {
	u := &Unavailable{Mildest: upstream.Draining}
	var earliest time.Time
	if _, excess := t.ejected(all); excess > 0 {
		earliest = now.Add(soonRetry)
	}
	for _, s := range all {
		u.Mildest = min(u.Mildest, s.view.Unfit)
		if s.view.Unfit < upstream.LowBalance && s.view.ReadyAt.After(now) {
			earliest = sooner(earliest, s.view.ReadyAt)
		}
	}
	if !earliest.IsZero() {
		u.RetryAfter = earliest.Sub(now)
	}
	return u
}

// sooner returns the earlier of two times. A zero time counts as unknown.
func sooner(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
