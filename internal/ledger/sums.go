package ledger

import (
	"iter"
	"net/http"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/claude"
)

// Sums are sums over requests. They contain every token and every nano-dollar of every attempt
// exactly once.
type Sums struct {
	Requests int64
	Errors   int64 // requests whose client saw a failure, of any cause
	Refused  int64 // errors that were refusals because of the client key's limits
	Attempts int64
	Failures int64 // attempts whose response did not go to the client

	Input, Output, CacheRead, CacheWrite5m, CacheWrite1h int64 // tokens
	Searches                                             int64 // web searches by the server's tool

	Cost, Saved, Wasted Money
	Unpriced            int64 // attempts with a part without a known price, which Cost lacks
	Estimated           int64 // attempts with an estimated part of usage

	FirstBytes    int64         // requests with a response
	FirstByteTime time.Duration // sum over them
	Time          time.Duration // sum over all requests

	// Figures about an upstream's honesty.
	OtherModel      int64 // responses of another model than the requested one
	Warm            int64 // responses to prompts that the account was expected to have cached for the most part
	Cold            int64 // those that read nothing from the cache
	Estimable       int64 // responses to prompts that are long enough for an estimate
	FarFromEstimate int64 // those that report far more or far fewer tokens than the estimate
}

// Add adds other sums. It names every field, because it runs several times per request, and a loop
// over Fields takes four times as long.
func (s *Sums) Add(o Sums) {
	s.Requests += o.Requests
	s.Errors += o.Errors
	s.Refused += o.Refused
	s.Attempts += o.Attempts
	s.Failures += o.Failures
	s.Input += o.Input
	s.Output += o.Output
	s.CacheRead += o.CacheRead
	s.CacheWrite5m += o.CacheWrite5m
	s.CacheWrite1h += o.CacheWrite1h
	s.Searches += o.Searches
	s.Cost += o.Cost
	s.Saved += o.Saved
	s.Wasted += o.Wasted
	s.Unpriced += o.Unpriced
	s.Estimated += o.Estimated
	s.FirstBytes += o.FirstBytes
	s.FirstByteTime += o.FirstByteTime
	s.Time += o.Time
	s.OtherModel += o.OtherModel
	s.Warm += o.Warm
	s.Cold += o.Cold
	s.Estimable += o.Estimable
	s.FarFromEstimate += o.FarFromEstimate
}

// Field is one figure of Sums with its column name.
type Field struct {
	Name  string
	Value *int64
}

// Figures is the number of figures in Sums.
const Figures = 24

// Fields lists all figures in a fixed order. The pointers lead into s.
func (s *Sums) Fields() [Figures]Field {
	return [Figures]Field{
		{"requests", &s.Requests}, {"errors", &s.Errors}, {"refused", &s.Refused}, {"attempts", &s.Attempts}, {"failures", &s.Failures},
		{"input", &s.Input}, {"output", &s.Output}, {"cache_read", &s.CacheRead}, {"cache_write_5m", &s.CacheWrite5m},
		{"cache_write_1h", &s.CacheWrite1h}, {"searches", &s.Searches},
		{"cost", (*int64)(&s.Cost)}, {"saved", (*int64)(&s.Saved)}, {"wasted", (*int64)(&s.Wasted)},
		{"unpriced", &s.Unpriced}, {"estimated", &s.Estimated},
		{"first_bytes", &s.FirstBytes}, {"first_byte_time", (*int64)(&s.FirstByteTime)}, {"time", (*int64)(&s.Time)},
		{"swapped", &s.OtherModel}, {"warm", &s.Warm}, {"cold", &s.Cold}, {"guessed", &s.Estimable}, {"inflated", &s.FarFromEstimate},
	}
}

// HitRate returns the part of all prompt tokens that was read from caches, 0 to 1.
func (s *Sums) HitRate() float64 {
	if all := s.Input + s.CacheRead + s.CacheWrite5m + s.CacheWrite1h; all > 0 {
		return float64(s.CacheRead) / float64(all)
	}
	return 0
}

// MeanFirstByte returns the mean time to the first byte, 0 without a response.
func (s *Sums) MeanFirstByte() time.Duration {
	if s.FirstBytes == 0 {
		return 0
	}
	return s.FirstByteTime / time.Duration(s.FirstBytes)
}

// Share is the server and model under which a part of an entry counts.
type Share struct {
	Server string // "" without an attempt
	Model  string
}

// Shares yields what the entry adds to the sums of each server and model. The request counts at the server that gave the
// final response, and each attempt at its own server, both under the model in the request. Calls of further models within a
// response count under their own model.
func (e *Entry) Shares() iter.Seq2[Share, Sums] {
	return func(yield func(Share, Sums) bool) {
		if !yield(Share{e.Server(), e.Model}, e.own()) {
			return
		}
		for i := range e.Attempts {
			a := &e.Attempts[i]
			if !yield(Share{a.Server, e.Model}, a.sums(e)) {
				return
			}
			for k := range a.Extra {
				if x := &a.Extra[k]; !yield(Share{a.Server, x.Model}, x.sums()) {
					return
				}
			}
		}
	}
}

// own returns the part that belongs to the request as a whole.
func (e *Entry) own() Sums {
	s := Sums{Requests: 1, Time: e.Duration}
	if e.Outcome == Failed || e.Outcome == Truncated || e.Status >= http.StatusBadRequest {
		s.Errors = 1
	}
	if e.Outcome == Refused {
		s.Refused = 1
	}
	if e.TimeToFirstByte > 0 {
		s.FirstBytes, s.FirstByteTime = 1, e.TimeToFirstByte
	}
	return s
}

const (
	// minEstimable is the prompt size, in tokens, from which an estimate is reliable.
	minEstimable = 4000
	// farOff is the factor between estimate and report that is suspicious: texts differ, but not
	// that much.
	farOff = 2
)

func (a *Attempt) sums(e *Entry) Sums {
	s := Sums{Attempts: 1}
	if !a.Served {
		s.Failures = 1
	}
	if !a.Known() {
		return s
	}
	u := a.Answer.Usage
	s.use(u)
	s.Cost, s.Saved, s.Wasted = a.Cost.Sum, a.Cost.Saved, a.Cost.Wasted
	for i := range a.Extra {
		s.Cost -= a.Extra[i].Sum
	}
	s.Unpriced, s.Estimated = one(!a.Cost.Known), one(a.Estimated)
	if a.Answer.Model != "" && e.Model != "" && !a.Answer.FellBack() {
		s.OtherModel = one(!claude.SameModel(e.Model, a.Answer.Model))
	}
	if a.ExpectedCached >= minEstimable {
		s.Warm, s.Cold = 1, one(u.CacheReadTokens == 0)
	}
	if total := u.TotalInputTokens(); a.EstimatedInput >= minEstimable && total > 0 {
		s.Estimable, s.FarFromEstimate = 1, one(total > farOff*a.EstimatedInput || a.EstimatedInput > farOff*total)
	}
	return s
}

func (s *Sums) use(u claude.Usage) {
	s.Input, s.Output, s.CacheRead = u.InputTokens, u.OutputTokens, u.CacheReadTokens
	s.CacheWrite5m, s.CacheWrite1h, s.Searches = u.CacheCreation5mTokens, u.CacheCreation1hTokens, u.WebSearchRequests
}

func (x *Extra) sums() Sums {
	s := Sums{Cost: x.Sum}
	s.use(x.Usage)
	return s
}

func one(yes bool) int64 {
	if yes {
		return 1
	}
	return 0
}
