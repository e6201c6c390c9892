package ledger

import "time"

// Step is one step on the way to a response. Requests that went the usual way, to the account that
// has the conversation cached, have no steps.
type Step struct {
	Kind   StepKind
	At     time.Duration // since Entry.Start
	Took   time.Duration // of an attempt or a wait
	Server string        // "" for a wait and a choice
	State  string        // of a skipped server, such as rate_limited
	Ready  time.Duration // when the skipped server is available, since Entry.Start; 0 if unknown
	Reason string        // why the server was skipped, or the attempt failed
	// Candidates are the servers that a choice considered, in the order of the tiers.
	Candidates []Candidate
}

// StepKind is the kind of a Step.
type StepKind string

// The kinds of steps.
const (
	StepSkipped StepKind = "skipped" // a server was not available
	StepChoice  StepKind = "choice"  // a conversation without a home was placed
	StepAttempt StepKind = "attempt" // an attempt ended
	StepWait    StepKind = "wait"    // the request waited for a server to return
)

// Candidate is a server that a choice considered.
type Candidate struct {
	Server string
	Result string  // chosen, or why not: unfit, outscored, lower_tier and so on
	State  string  // of an unfit server
	Cached int64   // tokens of the prompt that its account had cached
	Score  float64 // of the policy, higher is better; 0 if the policy has no score
}
