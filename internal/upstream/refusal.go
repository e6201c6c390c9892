package upstream

import (
	"maps"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/verdict"
)

const (
	// maxRefusals bounds the refusals that are kept per endpoint.
	maxRefusals = 16
)

// RememberRefusal keeps a refusal of the lease's request until the endpoint serves its subject
// again. general is true if the refusal concerns all subjects.
func (l *Lease) RememberRefusal(r verdict.Refusal, general bool) {
	st := l.state
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.refusals == nil || len(st.refusals) >= maxRefusals {
		st.refusals = map[string]verdict.Refusal{}
	}
	st.refusals[l.refusalKey(general)] = r
}

// refusalKey returns the key of a refusal: the subject's limit, or "" for the whole account.
func (l *Lease) refusalKey(general bool) string {
	if general {
		return ""
	}
	return l.subject.limit()
}

// forgetRefusalsLocked removes the refusals that a success of the lease's request has disproved.
func (l *Lease) forgetRefusalsLocked() {
	if len(l.state.refusals) > 0 {
		delete(l.state.refusals, l.refusalKey(true))
		delete(l.state.refusals, l.refusalKey(false))
	}
}

// Refusal returns the kept refusal that explains why the endpoint accepts no request of a subject
// now.
func (e *Endpoint) Refusal(now time.Time, s Subject) (verdict.Refusal, bool) {
	st := e.state
	st.mu.Lock()
	defer st.mu.Unlock()
	for _, key := range [...]string{"", s.limit()} {
		if r, ok := st.refusals[key]; ok && (r.Until.IsZero() || now.Before(r.Until)) {
			r.Header = maps.Clone(r.Header)
			return r, true
		}
	}
	return verdict.Refusal{}, false
}
