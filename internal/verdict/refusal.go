package verdict

import (
	"bytes"
	"net/http"
	"slices"
	"strings"
	"time"
)

const (
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
