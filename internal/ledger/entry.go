// Package ledger records the cost of requests: one Entry per client request, with every attempt. An
// Entry is written once, when the request has ended, and never changes afterwards.
package ledger

import (
	"cmp"
	"slices"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/claude"
)

// Entry is the record of one client request from its arrival to its last byte.
type Entry struct {
	ID       string    // the balancer's id of the request
	Start    time.Time // when the body had been read
	Client   string    // name of the client key, or the remote address without keys
	Session  string    // the client's session id, "" if it sends none
	Agent    string    // the client's id of the agent within the session, "" for the main agent
	Method   string
	Path     string // without query
	Model    string // in the request
	Stream   bool
	Sent     int64 // bytes of the request's body
	Attempts []Attempt

	Status          int           // sent to the client; 0 if the client left before a response
	Outcome         Outcome       // the client's view of the end
	TimeToFirstByte time.Duration // from Start to the commit; 0 without a commit
	Duration        time.Duration // from Start to the end
	Waited          time.Duration // part of it spent waiting for a slot of the client key or for upstreams to return
	Bytes           int64         // of the response body
	Routed          Routed        // why this endpoint responded; "" without a commit
	Reason          string        // why the request was refused or broke off, "" otherwise
	Prompt          Outline       // shape of the prompt, without its content
	Steps           []Step        // how the request got its response, if it did not go the usual way
}

// Routed is the reason why a server was chosen.
type Routed string

// The values of Routed.
const (
	Warm   Routed = "warm"   // its account has the conversation cached
	Placed Routed = "placed" // by mode and algorithm
	Pinned Routed = "pinned" // only its account has a resource that the request names
)

// Attempt is one attempt at one upstream.
type Attempt struct {
	Server        string
	Status        int    // of the upstream's response; 0 without one
	Scope         string // what the failure concerns, "none" after a success
	Reason        string // of the failure, "" after a success
	RequestID     string // the upstream's request-id
	Start         time.Time
	TimeToOutcome time.Duration // from Start to the outcome; for a good response, to its first content
	Duration      time.Duration // from Start to the end
	Served        bool          // its response went to the client

	Answer            claude.Message // the received part; usage of the response's model, completed by estimates
	Extra             []Extra        // other model calls within the response
	ExpectedCached    int64          // tokens of the prompt that its account was expected to have cached
	MaxExpectedCached int64          // the most that any account was expected to have cached
	EstimatedInput    int64          // the balancer's estimate of the prompt's tokens, 0 without one
	Cost              Cost
	// Estimated reports that a part of the usage is an estimate: the response broke off, or its
	// upstream does not report all of it.
	Estimated bool
}

// Known reports whether a response began: then its usage is known, or estimated.
func (a *Attempt) Known() bool { return a.Answer.Started }

// Usage returns the usage of the response, all of its model calls together.
func (a *Attempt) Usage() claude.Usage {
	u := a.Answer.Usage
	for i := range a.Extra {
		u = u.Plus(a.Extra[i].Usage)
	}
	return u
}

// IsBatch reports whether the attempt fetched the results of a batch.
func (a *Attempt) IsBatch() bool { return len(a.Extra) > 0 && a.Extra[0].Type == BatchResult }

// Outcome is how a request ended for the client.
type Outcome string

// The outcomes of a request.
const (
	Answered   Outcome = "answered"    // a whole response, including an error that the client caused
	Failed     Outcome = "failed"      // an error that the client did not cause
	Truncated  Outcome = "truncated"   // ended after the commit; the client got an error event
	ClientGone Outcome = "client_gone" // the client left first
	Refused    Outcome = "refused"     // by the balancer itself, because of the client key's limits
)

// Final returns the attempt whose response went to the client, else the last one; nil without an
// attempt.
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

// Server returns the upstream of the final attempt, "" without one.
func (e *Entry) Server() string {
	if a := e.Final(); a != nil {
		return a.Server
	}
	return ""
}

// Usage returns the usage of the response that went to the client, zero without one.
func (e *Entry) Usage() claude.Usage {
	if a := e.Final(); a != nil && a.Served {
		return a.Usage()
	}
	return claude.Usage{}
}

// Estimated reports whether a part of the request's usage is an estimate.
func (e *Entry) Estimated() bool {
	return slices.ContainsFunc(e.Attempts, func(a Attempt) bool { return a.Estimated })
}

// Cost returns the cost of all attempts. It is not Known if a response reported usage without a
// known price.
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
