package upstream

import "time"

// Drain takes the endpoint's identity out of service: it gets no new work, and what is under way finishes. That outlives a
// reload, but not the process. It reports false when it was so before.
func (e *Endpoint) Drain() bool { return e.setDrained(true) }

// Undrain takes Drain back. It reports false when there was nothing to take back.
func (e *Endpoint) Undrain() bool {
	changed := e.setDrained(false)
	if changed {
		e.notifier.notify()
	}
	return changed
}

func (e *Endpoint) setDrained(drained bool) (changed bool) {
	l := e.state
	l.mu.Lock()
	defer l.mu.Unlock()
	changed = l.drained != drained
	l.drained = drained
	return changed
}

// Reset forgets all that speaks against the endpoint: the breakers of itself, its key, its models and its account are closed,
// the rests of both and of the service end, and what was thought to be left of limits is learned anew. A low balance
// stays, for it was read, and so does Drain. Verdicts on attempts that are under way no longer count.
func (e *Endpoint) Reset(now time.Time) {
	l := e.state
	l.mu.Lock()
	a := l.account.Load()
	a.mu.Lock()
	l.breaker.reset(now)
	l.credential.reset(now)
	for _, b := range l.models {
		b.reset(now)
	}
	l.pauses = nil
	a.out.reset(now)
	a.limits, a.budgets = nil, nil
	e.origin.forget()
	a.mu.Unlock()
	l.mu.Unlock()
	e.notifier.notify()
}

// reset closes the breaker. One that was closed only forgets its failures, for it needs no slow start.
func (b *breaker) reset(now time.Time) {
	closedAt := b.closedAt
	if !b.isClosed() {
		closedAt = now
	}
	*b = breaker{epoch: b.epoch + 1, closedAt: closedAt}
}

// forget ends the rests of the whole service.
func (s *origin) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.refused)
	s.pauses = nil
}
