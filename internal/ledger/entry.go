// Package ledger says what requests cost: one Entry per client request, with
// every attempt made for it. An Entry is written once, when the request has
// ended, and never changed afterwards.
package ledger

import (
	"cmp"
	"slices"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/claude"
)

// Entry is the record of one client request from its arrival to its last byte.
type Entry struct {
	ID       string    // the balancer's own name for the request
	Start    time.Time // when its body had been read
	Client   string    // name of the client key, or the remote address without keys
	Session  string    // the client's session id, "" when it sends none
	Agent    string    // the client's id of the agent within the session, "" for the main one
	Method   string
	Path     string // without query
	Model    string // asked for
	Stream   bool
	Sent     int64 // bytes of the request's body
	Attempts []Attempt

	Status          int           // sent to the client; 0 when it left before an answer
	Outcome         Outcome       // how it ended, seen from the client
	TimeToFirstByte time.Duration // from Start to the commit; 0 when nothing was committed
	Duration        time.Duration // from Start to the end
	Waited          time.Duration // of it, for a slot of the client key or for upstreams to return
	Bytes           int64         // of the answer's body
	Routed          Routed        // why it came from there; "" when no answer was committed
	Reason          string        // why it was refused or broke off, "" otherwise
	Prompt          Outline       // of the prompt, without its content
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
	Scope     string // whom its failure concerns, "none" when it did not fail
	Reason    string // why it failed, "" when it did not
	RequestID string // the upstream's request-id
	Start     time.Time
	Verdict   time.Duration // from Start to the verdict: for a good answer, to its first content
	Duration  time.Duration // from Start to the end
	Served    bool          // its answer went to the client

	Answer  claude.Message // the received part; usage of its own model, completed by estimates
	Extra   []Extra        // other model calls within it
	Warm    int64          // tokens of the prompt that its account was believed to have cached
	Warmest int64          // the most that any account was believed to have cached
	Guess   int64          // tokens of the prompt by the balancer's own estimate, 0 for none
	Cost    Cost
	// Estimated reports that a part of the usage is an estimate: the answer broke off, or its upstream does not report it all.
	Estimated bool
}

// Known reports whether an answer began: then its usage is known, or estimated.
func (a *Attempt) Known() bool { return a.Answer.Started }

// Usage is what the answer used, all of its model calls together.
func (a *Attempt) Usage() claude.Usage {
	u := a.Answer.Usage
	for i := range a.Extra {
		u = u.Plus(a.Extra[i].Usage)
	}
	return u
}

// IsBatch reports whether the attempt fetched the results of a batch.
func (a *Attempt) IsBatch() bool { return len(a.Extra) > 0 && a.Extra[0].Type == BatchResult }

// Outcome is how a request ended, seen from the client.
type Outcome string

// The outcomes of a request.
const (
	Answered   Outcome = "answered"    // a whole answer, be it an error of the client's own making
	Failed     Outcome = "failed"      // an error that the client did not cause
	Truncated  Outcome = "truncated"   // broken off after the commit; the client was told
	ClientGone Outcome = "client_gone" // the client left first
	Refused    Outcome = "refused"     // by the balancer itself, for the client key's sake
)

// Final is the attempt whose answer went to the client, else the last one; nil when no server was asked.
func (e *Entry) Final() *Attempt {
	for i := range e.Attempts {
		if e.Attempts[i].Served {
			return &e.Attempts[i]
		}
	}
	if n := len(e.Attempts); n > 0 {
		return &e.Attempts[n-1]
	}
	return nil
}

// Server is the upstream that gave the final answer, "" when none was asked.
func (e *Entry) Server() string {
	if a := e.Final(); a != nil {
		return a.Server
	}
	return ""
}

// Usage is what the answer that went to the client used, zero without one.
func (e *Entry) Usage() claude.Usage {
	if a := e.Final(); a != nil && a.Served {
		return a.Usage()
	}
	return claude.Usage{}
}

// Estimated reports whether a part of what the request used is an estimate.
func (e *Entry) Estimated() bool {
	return slices.ContainsFunc(e.Attempts, func(a Attempt) bool { return a.Estimated })
}

// Cost is what all attempts cost together. It is not Known when an answer told its usage and its price is not known.
func (e *Entry) Cost() Cost {
	total := Cost{Known: true}
	told := false
	for i := range e.Attempts {
		a := &e.Attempts[i]
		if !a.Known() {
			continue
		}
		told = true
		total.Sum += a.Cost.Sum
		total.Saved += a.Cost.Saved
		total.Wasted += a.Cost.Wasted
		total.Known = total.Known && a.Cost.Known
		total.Unpriced = cmp.Or(total.Unpriced, a.Cost.Unpriced)
	}
	total.Known = total.Known && told
	return total
}
