package proxy

import (
	"strings"
	"testing"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/ledger"
	"github.com/9bingyin/claude-code-lb/internal/upstream"
	"github.com/9bingyin/claude-code-lb/internal/verdict"
)

// TestKeptSteps checks what the ledger keeps of a trail: nothing of the usual way, and a bounded part
// of any other.
func TestKeptSteps(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	after := func(seconds int) time.Time { return start.Add(time.Duration(seconds) * time.Second) }
	success := step{at: start, server: "a", outcome: &verdict.Outcome{}, duration: time.Second}
	failure := step{at: start, server: "a", outcome: &verdict.Outcome{Scope: verdict.ScopeEndpoint, Reason: strings.Repeat("r", 500)}}
	skipped := step{at: after(1), server: "b", view: &upstream.View{Unfit: upstream.RateLimited, ReadyAt: after(9), Reason: "status 429"}}
	choice := step{at: start, candidates: []ledger.Candidate{{Server: "a", Result: "chosen"}, {Server: "b", Result: "outscored"}}}

	usual := trail{steps: []step{success}}
	if got := usual.kept(start); got != nil {
		t.Errorf("%+v", got)
	}
	long := trail{steps: []step{failure, skipped, {at: after(2), duration: time.Minute}, choice, success}}
	for range 20 {
		long.add(skipped)
	}
	got := long.kept(start)
	if len(got) != maxKeptSteps || len(got[0].Reason) != maxKeptReason {
		t.Fatalf("%+v", got)
	}
	if s := got[1]; s.Kind != ledger.StepSkipped || s.State != "rate_limited" || s.At != time.Second || s.Ready != 9*time.Second {
		t.Errorf("%+v", s)
	}
	if got[2].Kind != ledger.StepWait || got[2].Took != time.Minute || got[3].Kind != ledger.StepChoice || len(got[3].Candidates) != 2 || got[4].Kind != ledger.StepAttempt {
		t.Errorf("%+v", got)
	}
	if text := long.String(); strings.Contains(text, "outscored") {
		t.Errorf("the text has the candidates: %s", text)
	}
}
