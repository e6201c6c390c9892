package admin

import (
	"time"

	"github.com/9bingyin/claude-code-lb/internal/ledger"
	"github.com/9bingyin/claude-code-lb/internal/store"
)

// logDetail is the JSON form of one request with its attempts.
type logDetail struct {
	logEntry
	SentBytes     int64        `json:"request_bytes"`
	ReceivedBytes int64        `json:"answer_bytes"`
	Each          []logAttempt `json:"each_attempt"`
	Steps         []logStep    `json:"steps"`
}

// logStep is the JSON form of one step on the way to a response.
type logStep struct {
	Kind       string         `json:"kind"`
	At         float64        `json:"at_seconds"` // since the request began
	Took       float64        `json:"took_seconds,omitempty"`
	Server     string         `json:"server,omitempty"`
	State      string         `json:"state,omitempty"`
	Ready      float64        `json:"ready_seconds,omitempty"`
	Reason     string         `json:"reason,omitempty"`
	Candidates []logCandidate `json:"candidates,omitempty"`
}

// logCandidate is the JSON form of a server that a choice considered.
type logCandidate struct {
	Server string  `json:"server"`
	Result string  `json:"result"`
	State  string  `json:"state,omitempty"`
	Cached int64   `json:"cached_tokens"`
	Score  float64 `json:"score"`
}

func stepsOf(list []ledger.Step) []logStep {
	out := make([]logStep, len(list))
	for i, s := range list {
		out[i] = logStep{Kind: string(s.Kind), At: seconds(s.At), Took: seconds(s.Took), Server: s.Server, State: s.State, Ready: seconds(s.Ready), Reason: s.Reason}
		for _, c := range s.Candidates {
			out[i].Candidates = append(out[i].Candidates, logCandidate(c))
		}
	}
	return out
}

// logAttempt is the JSON form of one attempt.
type logAttempt struct {
	Server      string    `json:"server"`
	Start       time.Time `json:"start"`
	Status      int       `json:"status"`
	Scope       string    `json:"scope"`
	Reason      string    `json:"reason,omitempty"`
	RequestID   string    `json:"upstream_request_id,omitempty"`
	ToOutcome   float64   `json:"time_to_outcome_seconds"`
	Duration    float64   `json:"duration_seconds"`
	Served      bool      `json:"served"`
	Model       string    `json:"model,omitempty"`
	StopReason  string    `json:"stop_reason,omitempty"`
	ServiceTier string    `json:"service_tier,omitempty"`
	Speed       string    `json:"speed,omitempty"`
	Input       int64     `json:"input_tokens"`
	Output      int64     `json:"output_tokens"`
	CacheRead   int64     `json:"cache_read_tokens"`
	CacheWrite  int64     `json:"cache_creation_tokens"`
	Expected    int64     `json:"expected_cached_tokens"` // that the account was expected to have cached
	MaxExpected int64     `json:"max_expected_cached_tokens"`
	Known       bool      `json:"usage_known"`
	Estimated   bool      `json:"estimated,omitempty"`
	Cost        string    `json:"cost_usd,omitempty"` // "" if unknown
	Saved       string    `json:"saved_usd"`
	Wasted      string    `json:"wasted_usd"`
	Unpriced    string    `json:"unpriced,omitempty"`
}

func detailOf(row *store.LogRow) logDetail {
	e := row.Entry
	out := logDetail{logEntry: logEntryOf(row), SentBytes: e.Sent, ReceivedBytes: e.Bytes, Each: make([]logAttempt, len(e.Attempts)), Steps: stepsOf(e.Steps)}
	for i := range e.Attempts {
		out.Each[i] = attemptOf(&e.Attempts[i])
	}
	return out
}

func attemptOf(a *ledger.Attempt) logAttempt {
	u := a.Usage()
	out := logAttempt{
		Server: a.Server, Start: a.Start.UTC(), Status: a.Status, Scope: a.Scope, Reason: a.Reason, RequestID: a.RequestID,
		ToOutcome: seconds(a.TimeToOutcome), Duration: seconds(a.Duration), Served: a.Served,
		Model: a.Answer.Model, StopReason: a.Answer.StopReason, ServiceTier: u.ServiceTier, Speed: u.Speed,
		Input: u.InputTokens, Output: u.OutputTokens, CacheRead: u.CacheReadTokens, CacheWrite: u.CacheCreationTokens(),
		Expected: a.ExpectedCached, MaxExpected: a.MaxExpectedCached, Known: a.Known(), Estimated: a.Estimated,
		Saved: a.Cost.Saved.Exact(), Wasted: a.Cost.Wasted.Exact(), Unpriced: a.Cost.Unpriced,
	}
	if a.Cost.Known {
		out.Cost = a.Cost.Sum.Exact()
	}
	return out
}
