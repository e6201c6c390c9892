package upstream

import (
	"maps"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/verdict"
)

const (
	// maxRemembered bounds the refusals that are kept per endpoint.
	maxRemembered = 16
)

// RememberRefusal keeps a refusal of the lease's request until the endpoint serves its subject again.
// common says that it concerns every subject.
func (l *Lease) RememberRefusal(r verdict.Refusal, common bool) {
	d := l.state
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.refusals == nil || len(d.refusals) >= maxRemembered {
		d.refusals = map[string]verdict.Refusal{}
	}
	d.refusals[l.refusalKey(common)] = r
}

// refusalKey is the limit that a refusal is about, or "" for the whole account.
func (l *Lease) refusalKey(common bool) string {
	if common {
		return ""
	}
	return l.subject.limit()
}

// forgetRefusalsLocked is called when the endpoint has served the lease's request. The caller holds the
// mutex.
func (l *Lease) forgetRefusalsLocked() {
	if len(l.state.refusals) > 0 {
		delete(l.state.refusals, l.refusalKey(true))
		delete(l.state.refusals, l.refusalKey(false))
	}
}

// Refusal returns the kept refusal because of which the endpoint takes no request of a subject now.
func (e *Endpoint) Refusal(now time.Time, s Subject) (verdict.Refusal, bool) {
	d := e.state
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, key := range [...]string{"", s.limit()} {
		if r, ok := d.refusals[key]; ok && (r.Until.IsZero() || now.Before(r.Until)) {
			r.Header = maps.Clone(r.Header)
			return r, true
		}
	}
	return verdict.Refusal{}, false
}
