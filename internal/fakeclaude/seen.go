package fakeclaude

import (
	"net/http"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/fakeclaude/fault"
)

// Outcome is how the answer to a request ended.
type Outcome string

// The outcomes.
const (
	OutcomeInFlight  Outcome = "in_flight"
	OutcomeComplete  Outcome = "complete"  // all of the answer was sent
	OutcomeReplaced  Outcome = "replaced"  // a fault sent something else instead
	OutcomeCut       Outcome = "cut"       // a fault ended it
	OutcomeCancelled Outcome = "cancelled" // the client left
)

// RecordedRequest is one request as it arrived and how it ended.
type RecordedRequest struct {
	ID         string      `json:"id"` // request-id of the answer
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
	Events     int         `json:"events"` // of a stream, fillers not counted
	Usage      Usage       `json:"usage"`
	Took       Duration    `json:"took"`
}

// Stats counts what a server has done since it started or was reset.
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

// TokenStats are tokens by the price they have.
type TokenStats struct {
	Input           int64 `json:"input"` // neither read from the cache nor written to it
	CacheRead       int64 `json:"cache_read"`
	CacheCreation5m int64 `json:"cache_creation_5m"`
	CacheCreation1h int64 `json:"cache_creation_1h"`
	Output          int64 `json:"output"`
}
