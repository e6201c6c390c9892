package proxy

import (
	"time"

	"github.com/9bingyin/claude-code-lb/internal/ledger"
	"github.com/9bingyin/claude-code-lb/internal/routing"
	"github.com/9bingyin/claude-code-lb/internal/upstream"
	"github.com/9bingyin/claude-code-lb/internal/verdict"
)

const (
	// maxKeptSteps, maxKeptCandidates and maxKeptReason bound what the ledger keeps of a trail, to
	// about 1 KB per request.
	maxKeptSteps      = 8
	maxKeptCandidates = 10
	maxKeptReason     = 60
)

// addPlacement adds the servers among which a conversation was placed.
func (t *trail) addPlacement(considered []routing.Considered, now time.Time) {
	if len(considered) < 2 {
		return
	}
	var candidates []ledger.Candidate
	for i := range considered {
		c := &considered[i]
		if len(candidates) == maxKeptCandidates && c.Reason != routing.Chosen {
			continue
		}
		one := ledger.Candidate{Server: c.Endpoint.Name(), Result: c.Reason.String(), Cached: c.Cached, Score: c.Score}
		if c.Reason == routing.Unfit {
			one.State = c.View.Unfit.String()
		}
		candidates = append(candidates, one)
	}
	t.add(step{at: now, candidates: candidates})
}

// kept returns the steps that the ledger keeps of a request that began at start: none if its first
// attempt was a success at the conversation's home.
func (t *trail) kept(start time.Time) []ledger.Step {
	if len(t.steps) == 1 && t.steps[0].outcome != nil && t.steps[0].outcome.Scope == verdict.ScopeNone {
		return nil
	}
	var out []ledger.Step
	for _, s := range t.steps {
		if len(out) == maxKeptSteps {
			break
		}
		out = append(out, s.kept(start))
	}
	return out
}

func (s step) kept(start time.Time) ledger.Step {
	out := ledger.Step{At: max(s.at.Sub(start), 0), Took: s.duration, Server: s.server}
	switch {
	case s.candidates != nil:
		out.Kind, out.Candidates = ledger.StepChoice, s.candidates
	case s.view != nil:
		out.Kind, out.State, out.Reason = ledger.StepSkipped, s.view.Unfit.String(), bounded(s.view.Reason)
		if s.view.Unfit < upstream.LowBalance && s.view.ReadyAt.After(s.at) {
			out.Ready = s.view.ReadyAt.Sub(start)
		}
	case s.isWait():
		out.Kind = ledger.StepWait
	default:
		out.Kind, out.Reason = ledger.StepAttempt, bounded(s.outcome.Reason)
	}
	return out
}

func bounded(s string) string {
	if len(s) > maxKeptReason {
		return s[:maxKeptReason]
	}
	return s
}
