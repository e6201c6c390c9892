package verdict

import (
	"bytes"
	"net/http"
	"slices"
	"strings"
	"time"
)

const (
	// maxRefusalBody bounds the kept body of one refusal, in bytes.
	maxRefusalBody = 4 << 10
)

// Refusal is an error response which reports that an account is used up for a while. The balancer
// keeps it during the cooldown, so that later requests get the upstream's words without another
// attempt. Of the refused request it contains only the id, which BodyFor replaces.
type Refusal struct {
	Status int
	Header http.Header // headers about limits and retries, and the content type
	Body   []byte
	Until  time.Time // when the limit ends according to the response; zero if unknown

	requestID string
}

// NewRefusal returns the refusal for an error response. requestID is the id of the refused request,
// "" if unknown. It returns false for a response that is too long to keep.
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

// BodyFor returns the body with another request's id in place of the refused request's id.
func (r Refusal) BodyFor(requestID string) []byte {
	const shortest = 8 // shorter ids could be part of other text
	if len(r.requestID) < shortest {
		return r.Body
	}
	return bytes.ReplaceAll(r.Body, []byte(r.requestID), []byte(requestID))
}
