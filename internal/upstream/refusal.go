package upstream

import (
	"bytes"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
)

const (
	// maxRemembered bounds the refusals that are kept per endpoint.
	maxRemembered = 16
	// maxRefusalBody bounds the body of each, in bytes.
	maxRefusalBody = 4 << 10
)

// Refusal is an error response which reports that an account is used up for a while. It is kept
// during the cooldown, so that later requests get the upstream's own words without asking it again.
// Of the refused request it contains only the id, which BodyFor replaces.
type Refusal struct {
	Status int
	Header http.Header // headers about limits and retries, and the content type
	Body   []byte
	Until  time.Time // when the limit ends according to the response; zero if unknown

	requestID string
}

// NewRefusal makes a refusal of an error response. requestID is the id of the refused request, "" if
// unknown. It returns false for a response that is too long to keep.
func NewRefusal(status int, h http.Header, body []byte, requestID string, until time.Time) (Refusal, bool) {
	if len(body) > maxRefusalBody {
		return Refusal{}, false
	}
	r := Refusal{Status: status, Header: http.Header{}, Body: slices.Clone(body), Until: until, requestID: requestID}
	for name, values := range h {
		switch {
		case name == "Content-Type", name == "X-Should-Retry", strings.HasPrefix(name, "Anthropic-Ratelimit-"), strings.HasPrefix(name, "Anthropic-Fast-"):
			r.Header[name] = slices.Clone(values)
		}
	}
	return r, true
}

// BodyFor returns the body with the id of another request in place of the refused one's.
func (r Refusal) BodyFor(requestID string) []byte {
	const shortest = 8 // of an id that cannot be part of anything else
	if len(r.requestID) < shortest {
		return r.Body
	}
	return bytes.ReplaceAll(r.Body, []byte(r.requestID), []byte(requestID))
}

// Remember keeps a refusal of the lease's request until the endpoint serves its subject again.
// common says that it concerns every subject.
func (l *Lease) Remember(r Refusal, common bool) {
	d := l.learned
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.refusals == nil || len(d.refusals) >= maxRemembered {
		d.refusals = map[string]Refusal{}
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

// forgetRefusals is called when the endpoint has served the lease's request. The caller holds the
// mutex.
func (l *Lease) forgetRefusals() {
	if len(l.learned.refusals) > 0 {
		delete(l.learned.refusals, l.refusalKey(true))
		delete(l.learned.refusals, l.refusalKey(false))
	}
}

// Refusal returns the kept refusal because of which the endpoint takes no request of a subject now.
func (e *Endpoint) Refusal(now time.Time, s Subject) (Refusal, bool) {
	d := e.learned
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, key := range [...]string{"", s.limit()} {
		if r, ok := d.refusals[key]; ok && (r.Until.IsZero() || now.Before(r.Until)) {
			r.Header = maps.Clone(r.Header)
			return r, true
		}
	}
	return Refusal{}, false
}
