package upstream

import "time"

// Drain takes the endpoint's identity out of service: it gets no new requests, and those in flight
// finish. Draining survives reloads, but not the process. Drain reports false if the endpoint was
// already drained.
func (e *Endpoint) Drain() bool { return e.setDrained(true) }

// Undrain reverts Drain. It reports false if the endpoint was not drained.
func (e *Endpoint) Undrain() bool {
	changed := e.setDrained(false)
	if changed {
		e.notifier.notify()
	}
	return changed
}

func (e *Endpoint) setDrained(drained bool) (changed bool) {
	st := e.state
	st.mu.Lock()
	defer st.mu.Unlock()
	changed = st.drained != drained
	st.drained = drained
	return changed
}

// Reset clears the failures of the endpoint: it closes the breakers of the endpoint, its key, its
// models and its account, ends the cooldowns of the endpoint, its account and its origin, and
// clears the known rate limits. A low balance and Drain remain. Outcomes of attempts in flight no
// longer count.
func (e *Endpoint) Reset(now time.Time) {
	st := e.state
	st.mu.Lock()
	a := st.account.Load()
	a.mu.Lock()
	st.breaker.reset(now)
	st.credential.reset(now)
	for _, b := range st.models {
		b.reset(now)
	}
	st.pauses = nil
	a.breaker.reset(now)
	a.rateLimits, a.budgets = nil, nil
	e.origin.reset()
	a.mu.Unlock()
	st.mu.Unlock()
	e.notifier.notify()
}

// reset closes the breaker. If it was closed already, reset only clears its failures, because no
// slow start is needed.
func (b *breaker) reset(now time.Time) {
	closedAt := b.closedAt
	if !b.isClosed() {
		closedAt = now
	}
	*b = breaker{epoch: b.epoch + 1, closedAt: closedAt}
}

// reset ends the cooldowns of the whole origin.
func (o *origin) reset() {
	o.mu.Lock()
	defer o.mu.Unlock()
	clear(o.overloadedAt)
	o.pauses = nil
}
