package fakeclaude

import (
	"net/http"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/fakeclaude/fault"
)

// Outcome is how the response to a request ended.
type Outcome string

// The outcomes.
const (
	OutcomeInFlight  Outcome = "in_flight"
	OutcomeComplete  Outcome = "complete"  // all of the response was sent
	OutcomeReplaced  Outcome = "replaced"  // a fault replaced the response
	OutcomeCut       Outcome = "cut"       // a fault ended it
	OutcomeCancelled Outcome = "cancelled" // the client left
)

// RecordedRequest is one request as it was received, with the result of its response.
type RecordedRequest struct {
	ID         string      `json:"id"` // request-id of the response
	Time       time.Time   `json:"time"`
	Method     string      `json:"method"`
	RequestURI string      `json:"request_uri"` // path and query as sent
	Host       string      `json:"host"`
	Header     http.Header `json:"header"`
	Body       []byte      `json:"body"` // as sent; base64 in JSON
	Model      string      `json:"model,omitempty"`
	Stream     bool        `json:"stream,omitempty"`
	Fault      fault.Kind  `json:"fault,omitempty"`
	Status     int         `json:"status"`
	Outcome    Outcome     `json:"outcome"`
	Events     int         `json:"events"` // of a stream, without pings that fill a silence
	Usage      Usage       `json:"usage"`
	Took       Duration    `json:"took"`
}

// Stats are counts since the start of the server or its last reset.
type Stats struct {
	Requests    int64                `json:"requests"`
	InFlight    int64                `json:"in_flight"`
	ByStatus    map[int]int64        `json:"by_status"`
	ByFault     map[fault.Kind]int64 `json:"by_fault"`
	Cancelled   int64                `json:"cancelled"` // the client left
	Cut         int64                `json:"cut"`       // by a fault
	RateLimited int64                `json:"rate_limited"`
	Tokens      TokenStats           `json:"tokens"`
}

// TokenStats are counts of tokens by their price.
type TokenStats struct {
	Input           int64 `json:"input"` // neither read from the cache nor written to it
	CacheRead       int64 `json:"cache_read"`
	CacheCreation5m int64 `json:"cache_creation_5m"`
	CacheCreation1h int64 `json:"cache_creation_1h"`
	Output          int64 `json:"output"`
}
