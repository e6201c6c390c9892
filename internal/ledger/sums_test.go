package ledger

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/9bingyin/claude-code-lb/internal/claude"
)

func TestSharesCountEverythingOnce(t *testing.T) {
	told := func(model string, u claude.Usage) claude.Message {
		return claude.Message{Started: true, Delta: true, Model: model, Usage: u}
	}
	e := Entry{
		Model: "claude-opus-4-5", Outcome: Answered, Status: 200, Duration: 3 * time.Second, TimeToFirstByte: time.Second,
		Attempts: []Attempt{
			{Server: "a", Reason: "broken connection"},
			{Server: "b", Reason: "another upstream was faster", Answer: claude.Message{Started: true, Model: "claude-opus-4-5", Usage: claude.Usage{InputTokens: 7}}, Estimated: true},
			{
				Server: "a", Served: true, ExpectedCached: 5000, EstimatedInput: 9000, Cost: Cost{Sum: 8, Saved: 2, Wasted: 1, Known: true},
				Extra:  []Extra{{Type: "advisor_message", Model: "claude-opus-4-8", Usage: claude.Usage{InputTokens: 1000, OutputTokens: 2}, Sum: 5}},
				Answer: told("claude-haiku-5", claude.Usage{InputTokens: 100, OutputTokens: 20, CacheCreation5mTokens: 30, CacheCreation1hTokens: 40, WebSearchRequests: 2}),
			},
		},
	}
	got := map[string]Sums{}
	advised := Sums{Input: 1000, Output: 2, Cost: 5}
	var total Sums
	for at, s := range e.Shares() {
		if total.Add(s); at == (Share{"a", "claude-opus-4-8"}) {
			if s != advised {
				t.Errorf("%+v", s)
			}
			continue
		}
		sums := got[at.Server]
		sums.Add(s)
		got[at.Server] = sums
	}
	want := map[string]Sums{
		"a": {
			Requests: 1, Attempts: 2, Failures: 1, Input: 100, Output: 20, CacheWrite5m: 30, CacheWrite1h: 40, Searches: 2, Cost: 3, Saved: 2, Wasted: 1,
			FirstBytes: 1, FirstByteTime: time.Second, Time: 3 * time.Second, OtherModel: 1, Warm: 1, Cold: 1, Estimable: 1, FarFromEstimate: 1,
		},
		"b": {Attempts: 1, Failures: 1, Input: 7, Unpriced: 1, Estimated: 1},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if total.Requests != 1 || total.Attempts != 3 || total.Input != 1107 || total.Cost != 8 {
		t.Errorf("%+v", total)
	}
	if c := e.Cost(); c.Known || c.Sum != 8 {
		t.Errorf("a cost that lacks an attempt is known: %+v", c)
	}
}

func TestAddLeavesNoFigureOut(t *testing.T) {
	var one, sums Sums
	for i, f := range one.Fields() {
		*f.Value = int64(i + 1)
	}
	sums.Add(one)
	sums.Add(one)
	for i, f := range sums.Fields() {
		if *f.Value != 2*int64(i+1) {
			t.Errorf("%s is %d", f.Name, *f.Value)
		}
	}
}

func TestErrorsAreWhatClientsSee(t *testing.T) {
	f := func(e Entry, errors, refused int64) {
		t.Helper()
		for _, s := range e.Shares() {
			if s.Errors != errors || s.Refused != refused {
				t.Errorf("%+v: %+v", e, s)
			}
		}
	}
	f(Entry{Outcome: Answered, Status: 200}, 0, 0)
	f(Entry{Outcome: Answered, Status: 400}, 1, 0)
	f(Entry{Outcome: Failed, Status: 200}, 1, 0) // reported inside the stream
	f(Entry{Outcome: Truncated, Status: 200}, 1, 0)
	f(Entry{Outcome: ClientGone}, 0, 0)
	f(Entry{Outcome: Refused, Status: 429}, 1, 1)
}

func TestHitRate(t *testing.T) {
	s := Sums{Input: 10, CacheRead: 60, CacheWrite5m: 10, CacheWrite1h: 20}
	if s.HitRate() != 0.6 || new(Sums).HitRate() != 0 {
		t.Error(s.HitRate())
	}
}
