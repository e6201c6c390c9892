// Package ledger says what requests cost: one Entry per client request, with
// every attempt made for it. An Entry is written once, when the request has
// ended, and never changed afterwards.
package ledger

import (
	"time"

	"claude-code-lb/internal/claude"
)

// Entry is the record of one client request from its arrival to its last byte.
type Entry struct {
	ID       string    // the balancer's own name for the request
	Start    time.Time // when its body had been read
	Client   string    // name of the client key, or the remote address without keys
	Session  string    // the client's session id, "" when it sends none
	Method   string
	Path     string // without query
	Model    string // asked for
	Stream   bool
	Attempts []Attempt

	Status          int           // sent to the client; 0 when it left before an answer
	Outcome         Outcome       // how it ended, seen from the client
	TimeToFirstByte time.Duration // from Start to the commit; 0 when nothing was committed
	Duration        time.Duration // from Start to the end
	Bytes           int64         // of the answer's body
	Message         claude.Message
	RequestID       string // the upstream's own, of the answer that was sent
	Cost            Money  // of the answer that was sent
	Priced          bool   // Cost is known
	Routed          Routed // why it came from there; "" when no answer was committed
}

// Routed is why a server was asked.
type Routed string

// The reasons.
const (
	Warm   Routed = "warm"   // its account has the conversation cached
	Placed Routed = "placed" // by mode and algorithm
	Pinned Routed = "pinned" // only its account knows what the request names
)

// Attempt is one try at one upstream.
type Attempt struct {
	Server    string
	Status    int    // of the upstream's answer; 0 without one
	Reason    string // why it failed, "" when it did not
	RequestID string // the upstream's request-id
	Start     time.Time
	Duration  time.Duration // to the verdict
}

// Outcome is how a request ended, seen from the client.
type Outcome string

// The outcomes of a request.
const (
	Answered   Outcome = "answered"    // a whole answer, be it an error of the client's own making
	Failed     Outcome = "failed"      // an error that the client did not cause
	Truncated  Outcome = "truncated"   // broken off after the commit; the client was told
	ClientGone Outcome = "client_gone" // the client left first
)

// Server is the upstream that gave the final answer, "" when none was asked.
func (e *Entry) Server() string {
	if len(e.Attempts) == 0 {
		return ""
	}
	return e.Attempts[len(e.Attempts)-1].Server
}
